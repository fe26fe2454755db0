"""Computing a feature set with Polars and NumPy: exact, every spine row exactly once and in order, cost linear in rows.

Work goes by stretches of time, each with the rows of the sources that its windows reach (`slices.py`). For each source and key, spine and
source are ordered by key and time; what became available in a window is then a range of positions in the source, found by one search
(`alignment.py`), and aggregates are taken over ranges, by partitions of the keys (`windows.py`, `newest.py`). `reference.py` says the same
in plain Python and is the oracle of the tests.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import polars as pl

from gateline.features.declarations.calendars import calendar_columns
from gateline.features.declarations.plan import EventSource, Latest, Lookup, Plan, Window
from gateline.features.engine.alignment import Aligned, Timed, total_order
from gateline.features.engine.expressions import INSTANT, LABEL, LABEL_AT, lookback_seconds, source_frame, with_expressions
from gateline.features.engine.newest import check_unique, latest_columns, lookup_columns, repeated
from gateline.features.engine.slices import Reachable, in_order, time_slices
from gateline.features.engine.windows import ORDERED, window_columns
from gateline.kernel.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.features.engine.expressions import Table
    from gateline.features.model import FeatureSet

PARTITION_ROWS = 500_000
"""Spine rows computed at a time, unless the call says otherwise."""

Kind = TypeVar("Kind", Window, Latest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a set is computed from: the spine in order, with label columns, and the usable rows of every other source."""

    spine: pl.DataFrame
    sources: Mapping[str, pl.DataFrame]


def compute(declared: FeatureSet | Plan, tables: Mapping[str, Table], *, partition_rows: int = PARTITION_ROWS) -> pl.DataFrame:
    """Compute a set over the Parquet tables of its datasets.

    Memory is that of the columns read and returned, and what one partition needs: its rows, or those of the furthest look back where
    these are more, and as many rows of the sources as reach into it.

    Args:
        declared: A valid set (see `FeatureSets.register`), or its plan.
        tables: Dataset name to the path of its table, or to the paths of its files.
        partition_rows: Spine rows computed at a time. Changes no value.

    Returns:
        One row for each spine row, in order: `row_id` (text), `t` (UTC µs), entity, features, `label` (int64 or float64, missing when it
        never became known) and `label_available_at` (UTC µs), `unit` (text), slices. A name that is entity or slice as well as feature
        appears once.

    Raises:
        NotFound: a table is missing.
        InvalidInput: rows repeat an entity, lack `t`, entity or unit; a lookup table repeats a key; different rows have one event id; a
            time stamp has no zone; a sum could leave 64 bits.
    """
    return assemble(declared.plan, prepare(declared.plan, tables), partition_rows=partition_rows)


def prepare(plan: Plan, tables: Mapping[str, Table]) -> Prepared:
    """Read the spine and every source from the tables; raises as `compute` does."""
    missing = sorted(set(plan.datasets) - tables.keys())
    if missing:
        raise NotFound(f"No table is given for the datasets {', '.join(missing)} of set '{plan.name}'.", next_step="Give all tables.")
    used = [source for source in plan.sources if any(part.source == source for part in plan.parts)]
    sources = {source.name: usable(source, _read(source, tables[source.dataset])) for source in used}
    return Prepared(spine=_spine(plan, tables), sources=sources)


def assemble(plan: Plan, prepared: Prepared, *, partition_rows: int = PARTITION_ROWS) -> pl.DataFrame:
    """Compute the features of prepared rows; the pure middle of `compute`, which `find_leaks` calls with rows taken away."""
    if partition_rows < 1:
        raise InvalidInput(f"A partition has at least 1 row, not {partition_rows}.")
    if prepared.spine.height <= partition_rows:
        return _assembled(plan, prepared, partition_rows)
    spine = Timed(prepared.spine, plan.time)
    looking = [part for part in plan.parts if not isinstance(part, Lookup)]
    reach = lookback_seconds(looking) or 0
    sources = {
        part.source.name: Reachable(Timed(prepared.sources[part.source.name], part.source.available_at), part.source.event_time)
        for part in {part.source.name: part for part in looking}.values()
    }
    pieces = []
    for stretch in time_slices(spine, partition_rows, reach):
        rows = spine.taken(stretch)
        first, last = (int(spine.at[spine.order[place]]) for place in (stretch.start, stretch.stop - 1))
        within = {name: source.rows(first, last, reach) for name, source in sources.items()}
        pieces.append(_assembled(plan, Prepared(spine=rows, sources={**prepared.sources, **within}), partition_rows))
    return in_order(spine, pieces)


def _assembled(plan: Plan, prepared: Prepared, partition_rows: int) -> pl.DataFrame:
    """Compute the features of a stretch of time."""
    spine, frames = Timed(prepared.spine, plan.time), prepared.sources
    timed: dict[str, Timed] = {}
    columns: list[pl.Series] = []
    windows, latest = _grouped(plan, Window), _grouped(plan, Latest)
    for group in dict.fromkeys((*windows, *latest)):
        name, key = group
        source = (windows.get(group) or latest[group])[0].source
        if name not in timed:
            timed[name] = Timed(frames[name], source.available_at, _tie_order(plan, source, frames))
        aligned = Aligned(spine, timed[name], key)
        if group in windows:
            columns += window_columns(aligned, frames[name], windows[group], partition_rows)
        if group in latest:
            columns += latest_columns(aligned, frames[name], latest[group], partition_rows)
    for part in plan.parts:
        if isinstance(part, Lookup):
            columns += lookup_columns(prepared.spine, plan.time, frames[part.source.name], part)
    for calendar in plan.calendars:
        columns += calendar_columns(prepared.spine[calendar.time], calendar)
    full = prepared.spine.with_columns(columns)
    schema = dict(full.schema)
    return _output(plan, with_expressions(full, {one.name: one.sql for one in plan.on_demand}), schema)


def _tie_order(plan: Plan, source: EventSource, frames: Mapping[str, pl.DataFrame]) -> tuple[str, ...]:
    """Return the aliases that order rows of one availability, where an aggregate depends on it."""
    if any(isinstance(part, Window) and part.source == source and part.aggregate in ORDERED for part in plan.parts):
        return total_order(source, frames[source.name], (source.event_time,))
    return ()


def _spine(plan: Plan, tables: Mapping[str, Table]) -> pl.DataFrame:
    own = plan.label is not None and plan.label.source == plan.spine
    extra = {LABEL: plan.label.sql, LABEL_AT: plan.label.available_at} if plan.label is not None and own else None
    spine = source_frame(plan.spine, tables[plan.spine.dataset], extra)
    _check_spine(plan, spine)
    if plan.label is None or own:
        return spine
    source = plan.label.source
    labels = source_frame(source, tables[source.dataset], {LABEL: plan.label.sql, LABEL_AT: plan.label.available_at})
    labels = labels.select(*plan.entities, LABEL, LABEL_AT).drop_nulls(list(plan.entities))
    check_unique(labels, plan.entities, f"the label's source '{source.name}'")
    return spine.join(labels, on=list(plan.entities), how="left", maintain_order="left", validate="m:1")


def _check_spine(plan: Plan, spine: pl.DataFrame) -> None:
    needed = dict.fromkeys((plan.time, *plan.entities, *((plan.unit,) if plan.unit else ())))
    mistakes = [
        f"{count:,} rows have no '{alias}', first row {(spine[alias].is_null().arg_max() or 0) + 1}"
        for alias in needed
        if (count := spine[alias].null_count())
    ]
    if mistakes:
        raise InvalidInput(
            f"The spine '{plan.spine.name}' of set '{plan.name}' is incomplete: {'; '.join(mistakes)}.",
            next_step="Leave such rows out with `where`, or correct the expressions.",
        )
    if len(plan.entities) == 1 and not repeated(spine, plan.entities):
        return  # different values have different texts
    ids = spine.select(row_id(plan, dict(spine.schema)).alias("row_id"))
    check_unique(ids, ("row_id",), f"the spine '{plan.spine.name}'")


def _read(source: EventSource, table: Table) -> pl.DataFrame:
    return source_frame(source, table, complete=(source.event_time, source.available_at))


def usable(source: EventSource, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that can be used: with event time and availability, and each event once, however often it was delivered.

    Raises:
        InvalidInput: rows lack an event id, or different rows have the same.
    """
    needed = [source.event_time, source.available_at]
    rows = frame.drop_nulls(needed) if any(frame[alias].null_count() for alias in needed) else frame
    key = list(source.event_id)
    if not key or rows.is_empty():
        return rows
    if missing := rows.height - rows.drop_nulls(key).height:
        raise InvalidInput(
            f"In source '{source.name}', {missing:,} rows have no event id ({', '.join(key)}).",
            next_step="Leave such rows out with `where`, or name other columns as event_id.",
        )
    if rows.select(key).n_unique() == rows.height:
        return rows
    once = rows.unique(maintain_order=True)
    if found := repeated(once, source.event_id):
        raise InvalidInput(
            f"In source '{source.name}', different rows have the same event id ({', '.join(key)}): {found[0]:,}, for example {found[1]}.",
            next_step="An event never changes: name columns that tell the rows apart, or leave one of them out with `where`.",
        )
    return once


def _grouped(plan: Plan, kind: type[Kind]) -> dict[tuple[str, tuple[str, ...]], list[Kind]]:
    groups: dict[tuple[str, tuple[str, ...]], list[Kind]] = defaultdict(list)
    for part in plan.parts:
        if isinstance(part, kind):
            groups[part.source.name, part.keys].append(part)
    return groups


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
