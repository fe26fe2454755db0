"""Aggregates in two steps: values become a summary, and summaries of neighbouring spans become the aggregate of all their values.

Nothing is lost between the steps, nor rounded where offline features are not: whole numbers stay whole, and a sum of fractions is kept as a
few numbers whose exact sum it is (J. R. Shewchuk, Adaptive Precision Floating-Point Arithmetic, 1997), or as a whole number of small units.
So tiles give what the events themselves would give, and both give the bits of `gateline.stats.exact`; a result that leaves the range of
fractions is missing. `plan.Aggregate` says what each aggregate means.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gateline.features.declarations.plan import Aggregate
from gateline.features.engine.distinct import KEPT, distinct_count, hashed
from gateline.stats.exact import digits, grid_of, squares

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from gateline.features.declarations.plan import Window

Summary = Any
_DIGITS_EXACT = 1 << 62
_PLACES_MAX = 8  # of digits: numbers further apart than 2^256 are rare, and cost less one by one


def summary(window: Window, values: Any, denominators: Sequence[Any] = (), *, exact: bool = False) -> Summary:
    """Return what is kept of values in order of availability, without missing ones; it can be packed by msgpack.

    Args:
        window: The feature.
        values: A sequence or an array of values that are not missing.
        denominators: For a ratio, the second value of each row; only rows that have both are given.
        exact: Keep a sum of fractions exactly, for a summary that will be added to others; otherwise it may be rounded, once.
    """
    return _SUMMARIES[Aggregate(window.aggregate)](window, values, denominators, exact)


def value(window: Window, parts: Sequence[Summary]) -> Any:
    """Return the aggregate over summaries, which follow one another in time; None where it is missing."""
    try:
        return _VALUES[Aggregate(window.aggregate)](window, parts)
    except OverflowError:
        return None


def _whole(values: Sequence[Any]) -> bool:
    return not values or isinstance(values[0], int)


def _total(values: Sequence[Any], *, exact: bool = False) -> Any:
    """Return the sum: a whole number (as text beyond 63 bits), or fractions that add up to it."""
    if _whole(values):
        return _packed(sum(values))
    return _partials(values) if exact else list(values)


def _array_total(values: npt.NDArray[np.int64]) -> int | str:
    """Return the exact sum of whole numbers; 64 bits are used where they cannot overflow."""
    largest = max(int(values.max()), -int(values.min()))
    return _packed(int(values.sum()) if largest * len(values) < _DIGITS_EXACT else sum(values.tolist()))


def _packed(number: int) -> int | str:
    return number if -_DIGITS_EXACT < number < _DIGITS_EXACT else str(number)


def _partials(values: Sequence[float]) -> list[float]:
    """Return few numbers that do not overlap and whose exact sum is that of the values; all of them when a sum leaves the fractions."""
    partials: list[float] = []
    for one in values:
        carried, kept = one, 0
        for other in partials:
            large, small = (carried, other) if abs(carried) >= abs(other) else (other, carried)
            high = large + small
            low = small - (high - large)
            if low:
                partials[kept] = low
                kept += 1
            carried = high
        partials[kept:] = [carried]
    return partials if all(map(math.isfinite, partials)) else list(values)


def _sum(totals: Iterable[Any]) -> Any:
    """Return the sum of what `_total` made: a whole number, or a fraction that is rounded once.

    Raises:
        OverflowError: it leaves the range of fractions.
    """
    fractions: list[float] = []
    whole = 0
    for total in totals:
        if isinstance(total, list):
            fractions += total
        else:
            whole += int(total)
    if not fractions:
        return whole
    try:
        return math.fsum(fractions)
    except OverflowError:  # on the way, though perhaps not at its end
        units, shift = _units(fractions)
        return sum(units) / (1 << shift)


def _units(values: Sequence[float]) -> tuple[list[int], int]:
    """Return fractions as whole numbers of 2^-shift, and the shift."""
    ratios = [one.as_integer_ratio() for one in values]
    finest = max(below for _, below in ratios)
    return [above * (finest // below) for above, below in ratios], finest.bit_length() - 1


def _listed(values: Any) -> Sequence[Any]:
    return list(values.tolist()) if isinstance(values, np.ndarray) else values


def _sum_summary(_window: Window, values: Any, _below: Sequence[Any], exact: bool) -> Summary:
    if isinstance(values, np.ndarray) and values.dtype == np.int64:
        return [len(values), _array_total(values)]
    return [len(values), _total(_listed(values), exact=exact)]


def _variance_summary(_window: Window, values: Any, _below: Sequence[Any], _exact: bool) -> Summary:
    """Return the number of values, their sum and the sum of their squares, in units of 2^-shift and its square, and the shift."""
    if not len(values):
        return [0, 0, 0, 0]
    if isinstance(values, np.ndarray):
        first, places = grid_of(values.astype(np.float64), whole=values.dtype == np.int64)
        if places <= _PLACES_MAX:
            found = digits(values, first, places)
            shift = max(0, -32 * first)
            total, square = _number(found, shift + 32 * first), _number(squares(found), 2 * (shift + 32 * first))
            return [len(values), _packed(total), _packed(square), shift]
    values = _listed(values)
    units, shift = (values, 0) if _whole(values) else _units(values)
    return [len(values), _packed(sum(units)), _packed(sum(one * one for one in units)), shift]


def _number(found: npt.NDArray[np.int64], shift: int) -> int:
    """Return the sum of numbers in digits, times 2^shift."""
    return sum(one << shift + 32 * place for place, one in enumerate(found.sum(axis=1).tolist()))


def _min_summary(_window: Window, values: Any, _below: Sequence[Any], _exact: bool) -> Summary:
    if isinstance(values, np.ndarray):
        return [values.min().item()]
    return [min(values)] if values else []


def _max_summary(_window: Window, values: Any, _below: Sequence[Any], _exact: bool) -> Summary:
    if isinstance(values, np.ndarray):
        return [values.max().item()]
    return [max(values)] if values else []


def _ratio_summary(_window: Window, values: Any, below: Sequence[Any], exact: bool) -> Summary:
    return [len(values), _total(values, exact=exact), _total(below, exact=exact)]


def _sum_value(_window: Window, parts: Sequence[Summary]) -> Any:
    return _sum(part[1] for part in parts) if any(part[0] for part in parts) else None


def _mean_value(_window: Window, parts: Sequence[Summary]) -> float | None:
    count = sum(part[0] for part in parts)
    return float(_sum(part[1] for part in parts)) / count if count else None


def _std_value(window: Window, parts: Sequence[Summary]) -> float | None:
    variance = _variance(window, parts)
    return None if variance is None else math.sqrt(variance)


def _ratio_value(_window: Window, parts: Sequence[Summary]) -> float | None:
    below = float(_sum(part[2] for part in parts))
    found = float(_sum(part[1] for part in parts)) / below if below else None
    return found if found is not None and math.isfinite(found) else None


def _variance(_window: Window, parts: Sequence[Any]) -> float | None:
    """Return the variance over n - 1, as `gateline.stats.exact.variance` does: from exact sums, rounded once before it is divided."""
    count: int = sum(part[0] for part in parts)
    if count < 2:
        return None
    finest: int = max(part[3] for part in parts)
    total = sum(int(part[1]) << finest - part[3] for part in parts)
    square = sum(int(part[2]) << 2 * (finest - part[3]) for part in parts)
    deviations: float = (count * square - total * total) / (1 << 2 * finest)
    return deviations / (count * (count - 1.0))


def _kth_last(window: Window, parts: Sequence[Any]) -> Any:
    position, skipped = window.position, 0
    for part in reversed(parts):
        if skipped + len(part) >= position:
            return part[len(part) - (position - skipped)]
        skipped += len(part)
    return None


def _distinct(_window: Window, parts: Sequence[Any]) -> int:
    return distinct_count(sorted({one for part in parts for one in part}))


_SUMMARIES: Mapping[Aggregate, Callable[[Window, Any, Sequence[Any], bool], Summary]] = {
    Aggregate.COUNT: lambda _window, values, _below, _exact: len(values),
    Aggregate.SUM: _sum_summary,
    Aggregate.MEAN: _sum_summary,
    Aggregate.VAR: _variance_summary,
    Aggregate.STD: _variance_summary,
    Aggregate.MIN: _min_summary,
    Aggregate.MAX: _max_summary,
    Aggregate.FIRST: lambda _window, values, _below, _exact: list(_listed(values[:1])),
    Aggregate.LAST: lambda _window, values, _below, _exact: list(_listed(values[-1:])),
    Aggregate.LAST_K: lambda window, values, _below, _exact: list(_listed(values[-window.position :])),
    Aggregate.APPROX_DISTINCT: lambda _window, values, _below, _exact: sorted({hashed(one) for one in _listed(values)})[:KEPT],
    Aggregate.RATIO: _ratio_summary,
}
_VALUES: Mapping[Aggregate, Callable[[Window, Sequence[Summary]], Any]] = {
    Aggregate.COUNT: lambda _window, parts: sum(parts),
    Aggregate.SUM: _sum_value,
    Aggregate.MEAN: _mean_value,
    Aggregate.VAR: _variance,
    Aggregate.STD: _std_value,
    Aggregate.MIN: lambda _window, parts: min((part[0] for part in parts if part), default=None),
    Aggregate.MAX: lambda _window, parts: max((part[0] for part in parts if part), default=None),
    Aggregate.FIRST: lambda _window, parts: next((part[0] for part in parts if part), None),
    Aggregate.LAST: lambda _window, parts: next((part[-1] for part in reversed(parts) if part), None),
    Aggregate.LAST_K: _kth_last,
    Aggregate.APPROX_DISTINCT: _distinct,
    Aggregate.RATIO: _ratio_value,
}
