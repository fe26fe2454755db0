"""Aggregates over windows, for all windows of one source and key at once; `plan.Aggregate` says what each of them means.

Counts and sums are differences of running totals: of whole numbers in 64 bits, of fractions and of squares in digits that lose nothing
(`gateline.stats.exact`), so that no large value outside a window can blur a small one inside it, and no order of rows changes a bit.
Minima and maxima are taken over a tree of partial results. First, last and the k-th last are found by position; distinct values are
counted while two marks move along the rows.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from gateline.features.declarations.plan import Aggregate
from gateline.features.engine.distinct import KEPT, distinct_count, hashed
from gateline.features.engine.ranges import range_reduce
from gateline.kernel.errors import InvalidInput
from gateline.stats.exact import digits, grid_of, squares, total, variance

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateline.features.declarations.plan import Window
    from gateline.features.engine.alignment import Aligned, Positions
    from gateline.stats.exact import Digits

    Numbers: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.float64]
    Flags: TypeAlias = npt.NDArray[np.bool_]

ORDERED = frozenset({Aggregate.FIRST, Aggregate.LAST, Aggregate.LAST_K})
"""Aggregates that need rows of one availability in their total order."""


def window_columns(aligned: Aligned, frame: pl.DataFrame, windows: list[Window], partition_rows: int) -> list[pl.Series]:
    """Return one column for each window, in the order of the spine; all windows read the rows that `aligned` orders."""
    for window in windows:
        _check_total(window, frame)
    pieces: list[list[pl.Series]] = [[] for _ in windows]
    for part in aligned.partitions(partition_rows):
        available = cache(lambda before, hop, part=part: aligned.available(part, aligned.cut(part, before, hop)))
        bounds = []
        for window in windows:
            high = available(window.offset_seconds, 0)
            low = available(window.offset_seconds + window.window_seconds, window.hop_seconds)
            bounds.append((low, high))
        piece = _Piece(aligned, frame, min(int(low[0]) for low, _ in bounds), max(int(high[-1]) for _, high in bounds))
        for found, window, (low, high) in zip(pieces, windows, bounds, strict=True):
            found.append(_AGGREGATES[Aggregate(window.aggregate)](piece, window, low, high).alias(window.name))
    empty = [pl.Series(window.name, [], dtype=window_type(window, frame.schema[window.column])) for window in windows]
    return [aligned.restored([none, *found]) for none, found in zip(empty, pieces, strict=True)]


def window_type(window: Window, dtype: pl.DataType) -> pl.DataType:
    """Return the type of a window over a column of the given type."""
    match Aggregate(window.aggregate):
        case Aggregate.COUNT | Aggregate.APPROX_DISTINCT:
            return pl.Int64()
        case Aggregate.MEAN | Aggregate.VAR | Aggregate.STD | Aggregate.RATIO:
            return pl.Float64()
        case _:
            return dtype


class _Piece:
    """The rows of the source that one partition of the spine looks at, with what its windows share."""

    def __init__(self, aligned: Aligned, frame: pl.DataFrame, begin: int, end: int) -> None:
        self.base = begin
        self._rows = aligned.events[begin:end]
        self._frame = frame
        self.column = cache(self._column)
        self.present = cache(self._present)
        self.running = cache(self._running)
        self.filled = cache(self._filled)
        self.totals = cache(self._totals)
        self.digits = cache(self._digits)
        self.digit_totals = cache(self._digit_totals)
        self.square_totals = cache(self._square_totals)

    def _column(self, alias: str) -> pl.Series:
        return self._frame[alias].gather(self._rows)

    def _present(self, alias: str, other: str = "") -> Flags:
        """Whether the rows have a value; of a ratio, both."""
        found: Flags = self.column(alias).is_not_null().to_numpy()
        return found & self.column(other).is_not_null().to_numpy() if other else found

    def _running(self, alias: str, other: str = "") -> Positions:
        return _running_total(self.present(alias, other).view(np.int8))

    def _filled(self, alias: str, other: str = "") -> Numbers:
        """Return the numbers of a column, 0 for those that do not count."""
        values: Numbers = self.column(alias).fill_null(0).to_numpy()
        return np.where(self.present(alias, other), values, 0) if other else values

    def _totals(self, alias: str, other: str = "") -> Positions:
        return _running_total(self.filled(alias, other))

    def _digits(self, alias: str, other: str = "") -> tuple[int, Digits]:
        """Return the digits of a column, and the place of the first."""
        values = self.filled(alias, other)
        first, count = grid_of(values.astype(np.float64), whole=values.dtype == np.int64)
        return first, digits(values, first, count)

    def _digit_totals(self, alias: str, other: str = "") -> Digits:
        return _running_total(self.digits(alias, other)[1])

    def _square_totals(self, alias: str) -> Digits:
        return _running_total(squares(self.digits(alias)[1]))

    def count(self, low: Positions, high: Positions, alias: str, other: str = "") -> Positions:
        if not other and not self.column(alias).null_count():
            return high - low
        running = self.running(alias, other)
        return running[high - self.base] - running[low - self.base]

    def sum(self, low: Positions, high: Positions, alias: str, other: str = "") -> Numbers:
        """Return sums; 0 where nothing counts."""
        if self.column(alias).dtype == pl.Int64:
            totals = self.totals(alias, other)
            return totals[high - self.base] - totals[low - self.base]
        first, _ = self.digits(alias, other)
        return total(self._between(self.digit_totals(alias, other), low, high), first)

    def variance(self, low: Positions, high: Positions, alias: str) -> npt.NDArray[np.float64]:
        """Return variances; they mean nothing for fewer than two values."""
        first, _ = self.digits(alias)
        sums, square_sums = (self._between(totals, low, high) for totals in (self.digit_totals(alias), self.square_totals(alias)))
        return variance(self.count(low, high, alias), sums, square_sums, first)

    def _between(self, totals: Digits, low: Positions, high: Positions) -> Digits:
        return totals[:, high - self.base] - totals[:, low - self.base]


def _running_total(values: Numbers | npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """Return running totals along the last axis, from 0."""
    totals = np.zeros((*values.shape[:-1], values.shape[-1] + 1), dtype=np.int64)
    np.cumsum(values, axis=-1, dtype=np.int64, out=totals[..., 1:])
    return totals


def _finite(values: Numbers, known: Flags) -> pl.Series:
    """Return fractions, missing where they are not known or overflowed."""
    values[~(known & np.isfinite(values))] = np.nan
    return pl.Series(values).fill_nan(None)


def _known(values: Numbers, known: Flags) -> pl.Series:
    if values.dtype == np.float64:
        return _finite(values, known)
    return pl.DataFrame({"values": values, "known": known}).select(pl.when("known").then("values")).to_series()


def _count(piece: _Piece, window: Window, low: Positions, high: Positions) -> pl.Series:
    return pl.Series(piece.count(low, high, window.column))


def _sum(piece: _Piece, window: Window, low: Positions, high: Positions) -> pl.Series:
    return _known(piece.sum(low, high, window.column), piece.count(low, high, window.column) > 0)


def _mean(piece: _Piece, window: Window, low: Positions, high: Positions) -> pl.Series:
    count = piece.count(low, high, window.column)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _finite(piece.sum(low, high, window.column) / count, count > 0)


def _ratio(piece: _Piece, window: Window, low: Positions, high: Positions) -> pl.Series:
    above = piece.sum(low, high, window.column, window.denominator)
    below = piece.sum(low, high, window.denominator, window.column)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return _finite(above / below, (below != 0) & np.isfinite(below))


def _spread(piece: _Piece, window: Window, low: Positions, high: Positions) -> pl.Series:
    found = piece.variance(low, high, window.column)
    known = piece.count(low, high, window.column) > 1
    with np.errstate(invalid="ignore"):
        return _finite(np.sqrt(found) if window.aggregate == Aggregate.STD else found, known)


def _extreme(piece: _Piece, window: Window, low: Positions, high: Positions) -> pl.Series:
    values, smallest = piece.column(window.column), window.aggregate == Aggregate.MIN
    operation: Callable[..., Numbers] = np.minimum if smallest else np.maximum
    if values.dtype == pl.Int64:
        limits = np.iinfo(np.int64)
        identity: float = limits.max if smallest else limits.min
    else:
        identity = np.inf if smallest else -np.inf
    found = range_reduce(values.fill_null(identity).to_numpy(), low, high, operation, identity, piece.base)
    return _known(found, piece.count(low, high, window.column) > 0)


def _placed(piece: _Piece, window: Window, low: Positions, high: Positions) -> pl.Series:
    """Return the first, last or k-th last value."""
    values, running = piece.column(window.column), piece.running(window.column)
    places = np.flatnonzero(piece.present(window.column))
    begin, end = running[low - piece.base], running[high - piece.base]
    wanted = begin if window.aggregate == Aggregate.FIRST else end - max(window.position, 1)
    held = (wanted >= begin) & (wanted < end)
    index = np.append(places, 0)[np.where(held, wanted, len(places))]
    return gathered(values, index, held)


def _distinct(piece: _Piece, window: Window, low: Positions, high: Positions) -> pl.Series:
    """Return counts of distinct values: `window_hashes` is what the window holds, each hash once, ascending."""
    values = piece.column(window.column)
    unique = values.drop_nulls().unique()
    hashes = pl.DataFrame({"value": unique, "hash": pl.Series([hashed(value) for value in unique.to_list()], dtype=pl.UInt64)})
    rows = values.to_frame("value").join(hashes, on="value", how="left", maintain_order="left")["hash"].to_list()
    held: dict[int, int] = {}
    window_hashes: list[int] = []
    result = np.zeros(len(low), dtype=np.int64)
    begin = end = 0
    for place, (start, stop) in enumerate(zip((low - piece.base).tolist(), (high - piece.base).tolist(), strict=True)):
        for one in rows[end:stop]:
            if one is not None:
                held[one] = held.get(one, 0) + 1
                if held[one] == 1:
                    insort(window_hashes, one)
        for one in rows[begin:start]:
            if one is not None:
                held[one] -= 1
                if not held[one]:
                    del held[one], window_hashes[bisect_left(window_hashes, one)]
        begin, end = max(begin, start), max(end, stop)
        result[place] = distinct_count(window_hashes[:KEPT])
    return pl.Series(result)


_AGGREGATES: dict[Aggregate, Callable[[_Piece, Window, Positions, Positions], pl.Series]] = {
    Aggregate.COUNT: _count,
    Aggregate.SUM: _sum,
    Aggregate.MEAN: _mean,
    Aggregate.VAR: _spread,
    Aggregate.STD: _spread,
    Aggregate.MIN: _extreme,
    Aggregate.MAX: _extreme,
    Aggregate.FIRST: _placed,
    Aggregate.LAST: _placed,
    Aggregate.LAST_K: _placed,
    Aggregate.APPROX_DISTINCT: _distinct,
    Aggregate.RATIO: _ratio,
}


def gathered(values: pl.Series, index: Positions, held: Flags) -> pl.Series:
    """Return `values[index]`, missing where nothing is held."""
    if values.is_empty():
        return pl.Series([None] * len(index), dtype=values.dtype)
    found = values.gather(index)
    return pl.DataFrame({"found": found, "held": held}).select(pl.when("held").then("found")).to_series()


def _check_total(window: Window, frame: pl.DataFrame) -> None:
    """Refuse whole numbers whose running total could leave 64 bits, where it would wrap silently."""
    if window.aggregate not in {Aggregate.SUM, Aggregate.MEAN, Aggregate.RATIO}:
        return
    for alias in filter(None, (window.column, window.denominator)):
        values = frame[alias]
        if values.dtype != pl.Int64 or not len(values):
            continue
        largest = max(abs(int(values.max() or 0)), abs(int(values.min() or 0)))  # type: ignore[arg-type]
        if largest * len(values) >= 1 << 63:
            raise InvalidInput(
                f"The sum of '{alias}' in window '{window.name}' could exceed 64 bits (values up to {largest:,}).",
                next_step="Declare the column as CAST(… AS DOUBLE).",
            )
