"""Latest values and windows on Spark: requests and events of a key in one stream, ordered by the time of asking and of availability.

Everything that can be told from the beginning of the stream is: counts, sums and sums of squares are differences of running totals (of
fractions in digits that lose nothing), and first, last and latest values are running extremes of the total order, so that each costs one
step a row, however long the window. Only minima, maxima and distinct values walk through the rows of each window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from gateline.adapters.spark.sources import ROW, Rows
from gateline.adapters.spark.values import quoted
from gateline.features import EXACT_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import DataFrame

    from gateline.adapters.spark.parts import Asked
    from gateline.adapters.spark.workers import Grid, Workers

_AT = "__at"
_HASHES, _HALF = 1 << 64, 1 << 63


class Stream:
    """The requests and the events of one source and key.

    Args:
        spine: The requests, with the keys of the parts.
        time: Column of the spine: when the features are asked for.
        events: The usable rows of the source.
        parts: Latest values and windows over that source and key.
        grids: The digits of each alias of `fraction_totals`.
        workers: Functions that Spark lacks.
    """

    def __init__(self, spine: Rows, time: str, events: Rows, parts: list[Asked], grids: Mapping[str, Grid], workers: Workers) -> None:
        self._events = events
        self._grids, self._workers = grids, workers
        self._source, self._keys = parts[0].source, parts[0].keys
        self._parts = parts
        self._marks: dict[str, str] = {}
        self._windows: dict[str, str] = {}
        self._totals: dict[str, str] = {}
        self._partition = ", ".join(quoted(key) for key in self._keys)
        self._spine, self._time = spine, time

    def features(self) -> DataFrame:
        """Return `__row` and one column for each feature, one row for each request."""
        columns = [f"{sql} AS {quoted(name)}" for part in self._parts for name, sql in self._columns(part).items()]
        looked = (f"{sql} AS {name}" for name, sql in self._windows.items())
        told = (f"{sql} AS {name}" for name, sql in self._totals.items())
        rows = self._stream().selectExpr(ROW, _AT, *map(quoted, self._keys), *looked).where(f"{ROW} IS NOT NULL")
        return rows.selectExpr("*", *told).selectExpr(ROW, *columns)

    def _stream(self) -> DataFrame:
        """Return requests and events under each other; a request has no values, an event no row number."""
        payload = [alias for alias in self._events.types if alias not in self._keys]
        keys = [quoted(key) for key in self._keys]
        usable = self._events.frame.where(" AND ".join(f"{key} IS NOT NULL" for key in keys))
        marked = usable.selectExpr(
            "CAST(NULL AS BIGINT) AS __row", *keys, f"{quoted(self._source.available_at)} AS {_AT}", *map(quoted, payload),
            *(f"{sql} AS {name}" for name, sql in self._marks.items()),
        )  # fmt: skip
        requests = self._spine.frame.selectExpr(ROW, *keys, f"{quoted(self._time)} AS {_AT}")
        return requests.unionByName(marked, allowMissingColumns=True)

    # Frames. Offsets are microseconds; a row counts from the microsecond of its availability on.

    def _until(self, microseconds: int) -> str:
        """The rows available `microseconds` before the time of asking."""
        return f"OVER (PARTITION BY {self._partition} ORDER BY {_AT} RANGE BETWEEN UNBOUNDED PRECEDING AND {_before(microseconds)})"

    def _within(self, part: Asked) -> str:
        """The rows of the window; with a hop, of the longest it can be."""
        first = part.offset + part.window + part.hop - 1
        return f"OVER (PARTITION BY {self._partition} ORDER BY {_AT} RANGE BETWEEN {first}L PRECEDING AND {_before(part.offset)})"

    def _bucket(self, part: Asked) -> str:
        """The number of the hop whose end hides an event, and the number of the hop at which the window of a request begins."""
        hiding = f"(-({_floored(f'-{_AT}', part.hop)}) div {part.hop}L)"
        return f"CASE WHEN {ROW} IS NULL THEN {hiding} ELSE {self._begin(part)} div {part.hop}L END"

    def _gone(self, part: Asked) -> str:
        """The rows that were available already when the window began."""
        if not part.hop:
            return self._until(part.offset + part.window)
        order = f"PARTITION BY {self._partition} ORDER BY {self._bucket(part)}"
        return f"OVER ({order} RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"

    def _since(self, part: Asked) -> str:
        """The rows that became available after the window began, up to the end of time."""
        if part.hop:
            order = f"PARTITION BY {self._partition} ORDER BY -{self._bucket(part)}"
            return f"OVER ({order} RANGE BETWEEN UNBOUNDED PRECEDING AND 1L PRECEDING)"
        reach = part.offset + part.window - 1
        return f"OVER (PARTITION BY {self._partition} ORDER BY -{_AT} RANGE BETWEEN UNBOUNDED PRECEDING AND {reach}L FOLLOWING)"

    def _begin(self, part: Asked) -> str:
        """The instant at which the window of a request begins; that instant is outside."""
        exact = f"({_AT} - {part.offset + part.window}L)"
        return _floored(exact, part.hop) if part.hop else exact

    # Parts.

    def _columns(self, part: Asked) -> dict[str, str]:
        """Return feature name to expression."""
        if part.kind == "latest":
            return self._latest(part)
        return {part.name: self._window(part)}

    def _ordered(self, *first: str) -> list[str]:
        """Return the total order of events: the given aliases, the tie-breaker, then all values by name; missing first."""
        rest = sorted(alias for alias in self._events.types if alias not in self._keys)
        return list(dict.fromkeys([*first, *self._source.tie_breaker, *rest]))

    def _latest(self, part: Asked) -> dict[str, str]:
        order = self._ordered(self._source.event_time, self._source.available_at)
        fields = ", ".join(f"'{alias}', {quoted(alias)}" for alias in order)
        key = self._mark(f"named_struct({fields})")
        newest = self._over(f"max({key})", self._until(part.offset))
        age = f"({_AT} - {part.offset}L - {newest}.{quoted(self._source.event_time)})"
        columns = {}
        for name, alias in part.outputs.items():
            value = quoted(alias) if alias in self._keys else f"{newest}.{quoted(alias)}"
            columns[name] = f"CASE WHEN {age} <= {part.max_age}L THEN {value} END"
        return columns

    def _window(self, part: Asked) -> str:
        column = self._column(part.column)
        match part.aggregate:
            case "count":
                return self._total("count", column, part)
            case "sum" | "mean":
                total = self._sum(quoted(part.column), part.column, part)
                value = total if part.aggregate == "sum" else f"CAST({total} AS DOUBLE) / {self._total('count', column, part)}"
                return f"CASE WHEN {self._total('count', column, part)} > 0 THEN {value} END"
            case "var" | "std":
                return self._spread(part, column)
            case "ratio":
                return self._ratio(part)
            case "first":
                return self._first(part)
            case "last" | "last_k":
                return self._last(part)
            case "approx_distinct":
                return self._distinct(part)
            case _:
                return self._extreme(part, column)

    def _column(self, alias: str) -> str:
        """Return a column that has values in events only."""
        return self._mark(quoted(alias)) if alias in self._keys else quoted(alias)

    def _type(self, alias: str) -> pl.DataType:
        return self._events.types[alias]

    def _total(self, aggregate: str, column: str, part: Asked) -> str:
        """Return a total over the window as the difference of two running totals."""
        now, before = (self._over(f"{aggregate}({column})", frame) for frame in (self._until(part.offset), self._gone(part)))
        return f"(coalesce({now}, 0L) - coalesce({before}, 0L))"

    def _sum(self, sql: str, alias: str, part: Asked) -> str:
        """Return a sum over the window, 0 where nothing counts: of whole numbers as BIGINT, of fractions rounded once as DOUBLE."""
        if self._type(alias) == pl.Int64():
            return self._total("sum", self._column(alias) if sql == quoted(alias) else self._mark(sql), part)
        return _named(self._totals, "__total", self._workers.total(self._digit_totals(sql, alias, part), self._grids[alias]))

    def _digit_totals(self, sql: str, alias: str, part: Asked, *, squared: bool = False) -> list[str]:
        """Return the total over the window of each digit of a number, or of its square."""
        grid = self._grids[alias]
        mark = self._mark(self._workers.digits(sql, grid, squared=squared))
        return [self._total("sum", f"{mark}[{place}]", part) for place in range(grid[1] * (2 if squared else 1))]

    def _ratio(self, part: Asked) -> str:
        both = f"{quoted(part.column)} IS NOT NULL AND {quoted(part.denominator)} IS NOT NULL"
        above, below = (
            f"CAST({self._sum(f'CASE WHEN {both} THEN {quoted(alias)} END', alias, part)} AS DOUBLE)"
            for alias in (part.column, part.denominator)
        )
        return f"CASE WHEN {below} <> 0D AND abs({above} / {below}) < CAST('Infinity' AS DOUBLE) THEN {above} / {below} END"

    def _spread(self, part: Asked, column: str) -> str:
        count = self._total("count", column, part)
        sums, squares = (self._digit_totals(quoted(part.column), part.column, part, squared=squared) for squared in (False, True))
        variance = _named(self._totals, "__total", self._workers.variance(count, sums, squares, self._grids[part.column]))
        return f"CASE WHEN {count} > 1 THEN {variance if part.aggregate == 'var' else f'sqrt({variance})'} END"

    def _gathered(self, column: str, part: Asked) -> str:
        """Return the values of a window with hops as an array."""
        pairs = f"CASE WHEN {column} IS NOT NULL THEN named_struct('at', {_AT}, 'value', {column}) END"
        inside = f"filter({self._over(f'collect_list({pairs})', self._within(part))}, one -> one.at > {self._begin(part)})"
        return f"transform({inside}, one -> one.value)"

    def _extreme(self, part: Asked, column: str) -> str:
        if part.hop:
            return f"array_{part.aggregate}({self._gathered(column, part)})"
        return self._over(f"{part.aggregate}({column})", self._within(part))

    def _distinct(self, part: Asked) -> str:
        """Return the count of `features.engine.distinct`: hashes come as BIGINT, 2^63 too low."""
        mark = self._mark(self._workers.hashed(quoted(part.column)))
        if part.hop:
            found = _named(self._totals, "__total", f"array_distinct({self._gathered(mark, part)})")
        else:
            found = self._over(f"collect_set({mark})", self._within(part))
        threshold = f"(CAST(array_sort({found})[{EXACT_MAX - 1}] AS DECIMAL(20, 0)) + {_HALF + 1}BD)"
        estimate = f"({2 * (EXACT_MAX - 1) * _HASHES}BD + {threshold}) div (2BD * {threshold})"
        return f"CASE WHEN size({found}) <= {EXACT_MAX} THEN CAST(size({found}) AS BIGINT) ELSE {estimate} END"

    def _first(self, part: Asked) -> str:
        value = quoted(part.column)
        order = self._ordered(self._source.available_at, self._source.event_time)
        fields = ", ".join(f"'f{place}', {quoted(alias)}" for place, alias in enumerate(order))
        chosen = f"'at', {quoted(self._source.available_at)}, 'value', {value}"
        key = self._mark(f"CASE WHEN {value} IS NOT NULL THEN named_struct({fields}, {chosen}) END")
        oldest = self._over(f"min({key})", self._since(part))
        return f"CASE WHEN {oldest}.at <= {_AT} - {part.offset}L THEN {oldest}.value END"

    def _last(self, part: Asked) -> str:
        """Return the k-th value from the end: each event brings along what came k - 1 events before it."""
        column = quoted(part.column)
        order = self._ordered(self._source.available_at, self._source.event_time)
        chosen = f"CASE WHEN {column} IS NOT NULL THEN named_struct('at', {quoted(self._source.available_at)}, 'value', {column}) END"
        if part.position > 1:
            ordering = ", ".join(quoted(alias) for alias in order)
            chosen = f"lag({chosen}, {part.position - 1}) IGNORE NULLS OVER (PARTITION BY {self._partition} ORDER BY {ordering})"
        fields = ", ".join(f"'f{place}', {quoted(alias)}" for place, alias in enumerate(order))
        key = self._mark(f"CASE WHEN {column} IS NOT NULL THEN named_struct({fields}, 'chosen', {chosen}) END")
        newest = f"{self._over(f'max({key})', self._until(part.offset))}.chosen"
        return f"CASE WHEN {newest}.at > {self._begin(part)} THEN {newest}.value END"

    def _mark(self, sql: str) -> str:
        """Return the column under which events carry a value that is computed before requests join them."""
        return _named(self._marks, "__mark", sql)

    def _over(self, aggregate: str, frame: str) -> str:
        """Return the column under which rows carry an aggregate over a frame; each is computed once, however many features use it."""
        return _named(self._windows, "__window", f"{aggregate} {frame}")


def _named(known: dict[str, str], prefix: str, sql: str) -> str:
    """Return the name of an expression, giving it one when it is new."""
    found = next((name for name, one in known.items() if one == sql), f"{prefix}_{len(known)}")
    known[found] = sql
    return found


def _before(microseconds: int) -> str:
    return f"{microseconds}L PRECEDING" if microseconds else "CURRENT ROW"


def _floored(sql: str, step: int) -> str:
    """Return the last multiple of a step at or before an instant."""
    return f"(({sql}) - pmod({sql}, {step}L))"


def whole_totals(parts: list[Asked], types: Mapping[str, pl.DataType]) -> list[tuple[str, str]]:
    """Return (feature, alias) for every running total of whole numbers, which must not leave 64 bits."""
    summing = [part for part in parts if part.aggregate in {"sum", "mean", "ratio"}]
    pairs = [(part.name, alias) for part in summing for alias in (part.column, part.denominator) if alias]
    return [(name, alias) for name, alias in pairs if types[alias] == pl.Int64()]


def fraction_totals(parts: list[Asked], types: Mapping[str, pl.DataType]) -> list[str]:
    """Return the aliases whose totals are taken in digits: fractions that are summed, and all numbers whose squares are."""
    summing = [part for part in parts if part.aggregate in {"sum", "mean", "ratio"}]
    fractions = {alias for part in summing for alias in (part.column, part.denominator) if alias and types[alias] == pl.Float64()}
    return sorted(fractions | {part.column for part in parts if part.aggregate in {"var", "std"}})
