"""Computing a feature set with Polars: exact, in one pass per source and key, every spine row exactly once and in order.

Where rows became available is found by as-of joins on positions in the sorted source; counts and sums of whole numbers are differences
of running totals (exact in 64 bits); sums of fractions, minima and maxima are taken over a tree of partial results, so that no large
value outside a window can blur a small one inside it. `reference.py` says the same in plain Python and is the oracle of the tests.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import polars as pl

from gateline.features.expressions import INSTANT, LABEL, LABEL_AT, ROW, source_frame, typed
from gateline.features.plan import Aggregate, EventSource, Latest, Lookup, Plan, Window
from gateline.features.ranges import range_reduce
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from gateline.features.model import FeatureSet

    Positions = npt.NDArray[np.int64]

_T = "__t"
Kind = TypeVar("Kind", Window, Latest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a set is computed from: the spine in order, with label columns, and the usable rows of every other source."""

    spine: pl.DataFrame
    sources: Mapping[str, pl.DataFrame]


def compute(declared: FeatureSet | Plan, tables: Mapping[str, Sequence[Path]]) -> pl.DataFrame:
    """Compute a set over the Parquet tables of its datasets.

    Args:
        declared: A valid set (see `FeatureSets.register`), or its plan.
        tables: Dataset name to the files of its table.

    Returns:
        One row for each spine row, in order: `row_id` (text), `t` (UTC µs), entity, features, `label` (int64 or float64, missing when it
        never became known) and `label_available_at` (UTC µs), `unit` (text), slices. A name that is entity or slice as well as feature
        appears once.

    Raises:
        NotFound: a table is missing.
        InvalidInput: rows repeat an entity, lack `t`, entity or unit, or a lookup table repeats a key.
    """
    return assemble(declared.plan, prepare(declared.plan, tables))


def prepare(plan: Plan, tables: Mapping[str, Sequence[Path]]) -> Prepared:
    """Read the spine and every source from the tables; raises as `compute` does."""
    missing = sorted(set(plan.datasets) - tables.keys())
    if missing:
        raise NotFound(f"No table is given for the datasets {', '.join(missing)} of set '{plan.name}'.", next_step="Give all tables.")
    sources = {source.name: _usable(source, tables) for source in plan.sources if any(part.source == source for part in plan.parts)}
    return Prepared(spine=_spine(plan, tables), sources=sources)


def assemble(plan: Plan, prepared: Prepared) -> pl.DataFrame:
    """Compute the features of prepared rows; the pure middle of `compute`, which `find_leaks` calls with rows taken away."""
    rows = prepared.spine.with_row_index(ROW).with_columns(pl.col(plan.time).dt.timestamp("us").alias(_T))
    ordered = rows.select(ROW, _T, *_part_keys(plan)).sort(_T, ROW)
    columns: list[pl.Series] = []
    for (name, key), windows in _grouped(plan, Window).items():
        columns += _windows(ordered, prepared.sources[name], key, windows)
    for (name, key), latest in _grouped(plan, Latest).items():
        columns += _latest(ordered, prepared.sources[name], key, latest)
    for part in plan.parts:
        if isinstance(part, Lookup):
            columns += _lookup(ordered, prepared.sources[part.source.name], part)
    features = pl.DataFrame([ordered[ROW], *columns]).sort(ROW).drop(ROW)
    full = pl.concat([rows, features], how="horizontal")
    schema = dict(full.schema)
    demanded = full.lazy().select(pl.sql_expr(one.sql).alias(one.name) for one in plan.on_demand).collect_schema() if plan.on_demand else {}
    fresh = [typed(pl.sql_expr(one.sql), demanded[one.name]).alias(one.name) for one in plan.on_demand]
    full = full.with_columns(fresh)
    return _output(plan, full, schema)


def _spine(plan: Plan, tables: Mapping[str, Sequence[Path]]) -> pl.DataFrame:
    own = plan.label is not None and plan.label.source == plan.spine
    extra = {LABEL: plan.label.sql, LABEL_AT: plan.label.available_at} if plan.label is not None and own else None
    spine = source_frame(plan.spine, tables[plan.spine.dataset], extra)
    _check_spine(plan, spine)
    if plan.label is None or own:
        return spine
    source = plan.label.source
    labels = source_frame(source, tables[source.dataset], {LABEL: plan.label.sql, LABEL_AT: plan.label.available_at})
    labels = labels.select(*plan.entities, LABEL, LABEL_AT).drop_nulls(list(plan.entities))
    _check_unique(labels, plan.entities, f"the label's source '{source.name}'")
    return spine.join(labels, on=list(plan.entities), how="left", maintain_order="left", validate="m:1")


def _check_spine(plan: Plan, spine: pl.DataFrame) -> None:
    needed = dict.fromkeys((plan.time, *plan.entities, *((plan.unit,) if plan.unit else ())))
    mistakes = [
        f"{count:,} rows have no '{alias}', first row {spine[alias].is_null().arg_max()}"
        for alias in needed
        if (count := spine[alias].null_count())
    ]
    if mistakes:
        raise InvalidInput(
            f"The spine '{plan.spine.name}' of set '{plan.name}' is incomplete: {'; '.join(mistakes)}.",
            next_step="Leave such rows out with `where`, or correct the expressions.",
        )
    ids = spine.select(row_id(plan, dict(spine.schema)).alias("row_id"))
    _check_unique(ids, ("row_id",), f"the spine '{plan.spine.name}'")


def _check_unique(frame: pl.DataFrame, key: tuple[str, ...], what: str) -> None:
    repeated = frame.height - frame.select(key).unique().height
    if repeated:
        example = frame.group_by(key).len().filter(pl.col("len") > 1).sort(key).drop("len").row(0, named=True)
        raise InvalidInput(
            f"In {what}, {repeated:,} rows repeat a key that must be unique ({', '.join(key)}), for example {example}.",
            next_step="Add columns to the key, or leave rows out with `where`.",
        )


def _usable(source: EventSource, tables: Mapping[str, Sequence[Path]]) -> pl.DataFrame:
    frame = source_frame(source, tables[source.dataset])
    return frame.drop_nulls([source.event_time, source.available_at])


def _part_keys(plan: Plan) -> list[str]:
    return list(dict.fromkeys(key for part in plan.parts for key in part.keys))


def _grouped(plan: Plan, kind: type[Kind]) -> dict[tuple[str, tuple[str, ...]], list[Kind]]:
    groups: dict[tuple[str, tuple[str, ...]], list[Kind]] = defaultdict(list)
    for part in plan.parts:
        if isinstance(part, kind):
            groups[part.source.name, part.keys].append(part)
    return groups


class _Sorted:
    """A source sorted by key and availability, which tells for any instants how many of its rows were available by then."""

    def __init__(self, frame: pl.DataFrame, source: EventSource, key: tuple[str, ...]) -> None:
        self.key = list(key)
        self.frame = frame.drop_nulls(self.key).sort(*key, source.available_at, maintain_order=True)
        self._index = self.frame.select(
            *key, pl.col(source.available_at).dt.timestamp("us").alias("__at"), pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("__end")
        ).with_columns((pl.col("__end").first().over(self.key) - 1).alias("__start"))

    def available(self, rows: pl.DataFrame, seconds_before: int) -> tuple[Positions, Positions]:
        """Return, for each row, where its key begins and the end of what was available `seconds_before` its t; ends are exclusive."""
        cut = rows.select(*self.key, (pl.col(_T) - seconds_before * SECOND).alias("__cut"))
        found = cut.join_asof(self._index, left_on="__cut", right_on="__at", by=self.key, strategy="backward", check_sortedness=False)
        return (found["__start"].fill_null(-1).to_numpy(), found["__end"].fill_null(-1).to_numpy())


def _windows(rows: pl.DataFrame, frame: pl.DataFrame, key: tuple[str, ...], windows: list[Window]) -> list[pl.Series]:
    """Return one column for each window; all of them share source and key."""
    events = _Sorted(frame, windows[0].source, key)
    known: dict[int, tuple[Positions, Positions]] = {}

    def available(seconds: int) -> tuple[Positions, Positions]:
        if seconds not in known:
            known[seconds] = events.available(rows, seconds)
        return known[seconds]

    result = []
    for window in windows:
        start, high = available(window.offset_seconds)
        _, low = available(window.offset_seconds + window.window_seconds)
        low = np.where(low < 0, start, low)  # nothing of the key was available yet when the window began
        result.append(_aggregate(window, events.frame[window.column], np.maximum(low, 0), np.maximum(high, 0)))
    return result


def _aggregate(window: Window, values: pl.Series, low: Positions, high: Positions) -> pl.Series:
    """Return the aggregate of `values[low:high]` for each pair of positions, without missing values."""
    present = values.is_not_null().to_numpy()
    running = np.concatenate([[0], np.cumsum(present, dtype=np.int64)])
    count = running[high] - running[low]
    if window.aggregate == Aggregate.COUNT:
        return pl.Series(window.name, count, dtype=pl.Int64)
    whole = values.dtype == pl.Int64
    if window.aggregate in {Aggregate.MIN, Aggregate.MAX}:
        reduced = _extreme(window, values, low, high)
    elif whole:
        _check_total(window, values)
        totals = np.concatenate([[0], np.cumsum(values.fill_null(0).to_numpy(), dtype=np.int64)])
        reduced = totals[high] - totals[low]
    else:
        reduced = range_reduce(values.fill_null(0.0).to_numpy(), low, high, np.add, 0.0)
    known = pl.Series(count > 0)
    if window.aggregate == Aggregate.MEAN:
        mean = np.divide(reduced, count, out=np.zeros(len(count)), where=count > 0)
        return _where(known, pl.Series(window.name, mean, dtype=pl.Float64))
    return _where(known, pl.Series(window.name, reduced, dtype=values.dtype))


def _extreme(window: Window, values: pl.Series, low: Positions, high: Positions) -> npt.NDArray[np.int64] | npt.NDArray[np.float64]:
    smallest = window.aggregate == Aggregate.MIN
    operation: Callable[..., npt.NDArray[np.float64]] = np.minimum if smallest else np.maximum
    if values.dtype == pl.Int64:
        limits = np.iinfo(np.int64)
        return range_reduce(
            values.fill_null(limits.max if smallest else limits.min).to_numpy(),
            low,
            high,
            operation,
            limits.max if smallest else limits.min,
        )
    identity = np.inf if smallest else -np.inf
    return range_reduce(values.fill_null(identity).to_numpy(), low, high, operation, identity)


def _check_total(window: Window, values: pl.Series) -> None:
    """Refuse whole numbers whose running total could leave 64 bits, where it would wrap silently."""
    largest = max(abs(int(values.max() or 0)), abs(int(values.min() or 0)))  # type: ignore[arg-type]
    if largest * len(values) >= 1 << 63:
        raise InvalidInput(
            f"The sum of '{window.column}' in window '{window.name}' could exceed 64 bits (values up to {largest:,}).",
            next_step="Declare the column as CAST(… AS DOUBLE).",
        )


def _where(known: pl.Series, values: pl.Series) -> pl.Series:
    return values.to_frame().select(pl.when(known).then(pl.col(values.name)).alias(values.name)).to_series()


def _latest(rows: pl.DataFrame, frame: pl.DataFrame, key: tuple[str, ...], parts: list[Latest]) -> list[pl.Series]:
    """Return the columns of all latest-value parts of one source and key."""
    source = parts[0].source
    total_order = [source.event_time, source.available_at, *source.tie_breaker, *sorted(set(frame.columns) - set(key))]
    ranked = frame.sort(list(dict.fromkeys(total_order)), nulls_last=False).with_row_index("__rank")
    events = _Sorted(ranked, source, key)
    best = events.frame.select(pl.col("__rank").cum_max().over(list(key)))["__rank"].to_numpy().astype(np.int64)
    happened = ranked[source.event_time].dt.timestamp("us").to_numpy()
    result: list[pl.Series] = []
    for part in parts:
        _, end = events.available(rows, part.offset_seconds)
        known = end > 0
        chosen = np.where(known, best[np.maximum(end - 1, 0)], 0) if len(best) else np.zeros(len(end), dtype=np.int64)
        if len(best):
            cut = rows[_T].to_numpy() - part.offset_seconds * SECOND
            known &= cut - happened[chosen] <= part.max_age_seconds * SECOND
        index = pl.Series(chosen, dtype=pl.Int64).to_frame("i").select(pl.when(pl.Series(known)).then(pl.col("i"))).to_series()
        result += [_gathered(ranked[alias], index).alias(name) for name, alias in part.outputs.items()]
    return result


def _gathered(values: pl.Series, index: pl.Series) -> pl.Series:
    """Return `values[index]`, missing where the index is."""
    if values.is_empty():
        return pl.Series([None] * len(index), dtype=values.dtype)
    return values.gather(index)


def _lookup(rows: pl.DataFrame, frame: pl.DataFrame, part: Lookup) -> list[pl.Series]:
    """Return the columns of a reference table for each row."""
    table = frame.drop_nulls(list(part.keys))
    _check_unique(table, part.keys, f"the lookup table '{part.source.name}'")
    wanted = table.select(
        *part.keys,
        pl.col(part.source.available_at).dt.timestamp("us").alias("__at"),
        *(pl.col(alias).alias(f"__out_{name}") for name, alias in part.outputs.items()),
    )
    joined = rows.select(_T, *part.keys).join(wanted, on=list(part.keys), how="left", maintain_order="left")
    known = pl.col("__at") <= pl.col(_T)
    return list(joined.select(pl.when(known).then(pl.col(f"__out_{name}")).alias(name) for name in part.outputs))


def _output(plan: Plan, full: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return the columns of the result in their order."""
    columns = {
        "row_id": row_id(plan, schema),
        "t": pl.col(plan.time),
        **{name: pl.col(name) for name in (*plan.entities, *plan.features)},
    }
    if plan.label is not None:
        columns["label"] = pl.col(LABEL).cast(pl.Int64) if schema[LABEL] == pl.Boolean else pl.col(LABEL)
        columns["label_available_at"] = pl.when(pl.col(LABEL).is_not_null()).then(pl.col(LABEL_AT))
    if plan.unit:
        columns["unit"] = pl.col(plan.unit).cast(pl.String)
    for name in plan.slices:
        columns.setdefault(name, pl.col(name))
    return full.select(expression.alias(name) for name, expression in columns.items())


def row_id(plan: Plan, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """Return the expression of the row id: the entity's values as text, joined by `|`; time stamps as 2013-01-01T10:15:00.000000Z."""
    texts = [
        pl.col(alias).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ") if schema[alias] == INSTANT else pl.col(alias).cast(pl.String)
        for alias in plan.entities
    ]
    return pl.concat_str(texts, separator="|")
