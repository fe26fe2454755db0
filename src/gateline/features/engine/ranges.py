"""Reducing many ranges of one sequence, each in logarithmic time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Columns: TypeAlias = tuple[npt.NDArray[Any], ...]
    Merge: TypeAlias = Callable[[Columns, Columns], Columns]


def range_reduce(
    values: npt.NDArray[Any],
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
    operation: Callable[..., npt.NDArray[Any]],
    identity: float,
    base: int = 0,
) -> npt.NDArray[Any]:
    """Return `operation` over `values[low:high]` for each pair, and `identity` for empty ranges.

    Nothing is ever subtracted, so the rounding error of a sum of n fractions is at most about 2·log2(n) units in the last place of the
    sum of their absolute values.

    Args:
        values: n values.
        low: m positions, `base` to `base` + n.
        high: m positions, `low` to `base` + n.
        operation: A commutative, associative NumPy ufunc.
        identity: Its neutral element.
        base: Position of the first value; see `range_fold`.

    >>> range_reduce(np.array([1.0, 2.0, 4.0, 8.0]), np.array([0, 1, 2]), np.array([4, 3, 2]), np.add, 0.0).tolist()
    [15.0, 6.0, 0.0]
    """
    return range_fold((values,), low, high, lambda one, other: (operation(one[0], other[0]),), (identity,), base)[0]


def range_fold(
    values: Columns, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64], merge: Merge, identity: tuple[float, ...], base: int = 0
) -> Columns:
    """Return what the elements `low` to `high` (exclusive) merge to, for each pair; an element is one value of each column.

    Partial results of 2, 4, 8, … neighbours are merged from the bottom up (an implicit segment tree). Neighbours are told by position, not
    by place in `values`: a part of a longer sequence, with the position of its first value as `base`, gives the same bits as the whole.

    Args:
        values: Columns of n values.
        low: m positions, `base` to `base` + n.
        high: m positions, `low` to `base` + n.
        merge: Joins two sets of elements one by one; commutative and associative.
        identity: What merges with everything to that thing itself.
        base: Position of the first value.
    """
    result = tuple(np.full(len(low), neutral, dtype=column.dtype) for column, neutral in zip(values, identity, strict=True))
    active = np.flatnonzero(low < high)
    start, end, level = low[active].copy(), high[active].copy(), values

    def take(which: npt.NDArray[np.int64], position: npt.NDArray[np.int64]) -> None:
        place, rows = position - base, active[which]
        merged = merge(tuple(column[rows] for column in result), tuple(column[place] for column in level))
        for column, fresh in zip(result, merged, strict=True):
            column[rows] = fresh

    while len(active):
        odd = np.flatnonzero(start & 1)
        take(odd, start[odd])
        start[odd] += 1
        odd = np.flatnonzero((end & 1) & (start < end))
        end[odd] -= 1
        take(odd, end[odd])
        keep = start < end
        active, start, end = active[keep], start[keep] >> 1, end[keep] >> 1
        level = _halved(level, merge, identity, base & 1)
        base = (base + 1) >> 1
    return result


def _halved(level: Columns, merge: Merge, identity: tuple[float, ...], skipped: int) -> Columns:
    """Return the next level; a pair whose first half lies before the values is skipped, for no range holds all of it."""
    level = tuple(column[skipped:] for column in level)
    if len(level[0]) % 2:
        level = tuple(np.append(column, np.asarray([neutral], dtype=column.dtype)) for column, neutral in zip(level, identity, strict=True))
    return merge(tuple(column[0::2] for column in level), tuple(column[1::2] for column in level))


NO_MOMENTS = (0.0, 0.0, 0.0)


def merged_moments(one: Columns, other: Columns) -> Columns:
    """Return count, mean and sum of squared deviations of two samples together, without the cancellation of sums of squares.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979, eq. 2.1.

    >>> [float(column[0]) for column in merged_moments(*((np.array([1.0]), np.array([x]), np.array([0.0])) for x in (2.0, 4.0)))]
    [2.0, 3.0, 2.0]
    """
    (count, mean, squares), (more, its_mean, its_squares) = one, other
    both = count + more
    share = np.divide(more, both, out=np.zeros_like(both), where=both > 0)
    apart = its_mean - mean
    return both, mean + apart * share, squares + its_squares + apart * apart * count * share
