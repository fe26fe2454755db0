"""Looking for the future in features, in two ways.

By meaning: a value must not be used before it could be known. Held against each other, row by row over the whole data: a source's
`available_at` and its `event_time`; the availability of a source and what `known_at` and the label say about the columns it reads; the
availability of the spine and its own columns against `t`.

By trial (`trial.py`): for sampled rows, the source rows that became available after `t` are taken away, then altered; no feature may
move. This finds faults of the computation, whatever the declaration says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from gateline.features.declarations.plan import EventSource, KnownAt, Plan
from gateline.features.engine.expressions import INSTANT, roots, scan
from gateline.features.engine.point_in_time import Prepared, assemble, prepare
from gateline.features.model import Leak, LeakKind
from gateline.features.proofs.trial import tried_leaks
from gateline.kernel.clock import MINUTE, iso
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateline.features.engine.expressions import Table
    from gateline.features.model import FeatureSet


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """A feature, and the dataset columns of one source that it reads."""

    feature: str
    source: EventSource
    columns: frozenset[str]


def find_leaks(
    declared: FeatureSet | Plan,
    tables: Mapping[str, Table],
    *,
    seed: int,
    rows: int = 200,
    assemble_rows: Callable[[Plan, Prepared], pl.DataFrame] = assemble,
) -> list[Leak]:
    """Search a set for leaks by meaning (every row) and by trial (`rows` sampled spine rows).

    Args:
        declared: A valid set, or its plan.
        tables: Dataset name to the path of its table, or to the paths of its files.
        seed: Seed of the sample.
        rows: Number of spine rows tried; 0 searches by meaning only.
        assemble_rows: The computation under test.

    Returns:
        What was found, at most one leak for each kind and feature; nothing when no feature sees the future.
    """
    plan = declared.plan
    prepared = prepare(plan, tables)
    found = [*declared_leaks(plan, tables), *_late_requests(plan, prepared)]
    if rows:
        found += tried_leaks(plan, prepared, seed=seed, rows=rows, assemble_rows=assemble_rows)
    first: dict[tuple[LeakKind, str], Leak] = {}
    for leak in found:
        first.setdefault((leak.kind, leak.feature), leak)
    return list(first.values())


def refuse_leaks(plan: Plan, tables: Mapping[str, Table]) -> None:
    """Refuse a set that leaks by meaning.

    Raises:
        InvalidInput: it does; every leak is named with its numbers.
    """
    found = find_leaks(plan, tables, seed=0, rows=0)
    if found:
        raise InvalidInput(
            f"Feature set '{plan.name}' sees the future: {' '.join(leak.detail for leak in found)}",
            next_step="Declare `available_at` as the time from which the values could be known.",
            facts={"leaks": [leak.as_dict() for leak in found]},
        )


def declared_leaks(plan: Plan, tables: Mapping[str, Table]) -> Iterator[Leak]:
    """Yield what contradicts the declared times, over every row of the datasets."""
    for source in plan.sources:
        features = [name for part in plan.parts if part.source == source for name in part.outputs]
        if features and not source.known_ahead:
            yield from _before_event(source, features, tables)
    for use in _uses(plan):
        for fact in _facts(plan, use.source.dataset):
            if read := use.columns & set(fact.columns):
                yield from _before_known(plan, use, fact, sorted(read), tables)


def _uses(plan: Plan) -> Iterator[_Use]:
    for part in plan.parts:
        shared = frozenset[str]().union(*(roots(part.source.columns[key]) for key in part.keys))
        if part.source.where is not None:
            shared |= roots(part.source.where)
        for name, alias in part.outputs.items():
            yield _Use(feature=name, source=part.source, columns=shared | roots(part.source.columns[alias]))
    aliases = plan.spine.columns
    for name in plan.columns:
        yield _Use(feature=name, source=plan.spine, columns=roots(aliases[name]))
    for calendar in plan.calendars:
        for name in calendar.outputs:
            yield _Use(feature=name, source=plan.spine, columns=roots(aliases[calendar.time]))
    for one in plan.on_demand:
        columns = frozenset[str]().union(*(roots(aliases[alias]) for alias in roots(one.sql) if alias in aliases))
        yield _Use(feature=one.name, source=plan.spine, columns=columns)


def _facts(plan: Plan, dataset: str) -> list[KnownAt]:
    """Return what is known about the dataset's columns: declared facts, and that the label is known when it becomes available."""
    facts = [fact for fact in plan.known_at if fact.dataset == dataset]
    label = plan.label
    if label is not None and label.source.dataset == dataset:
        facts.append(KnownAt(dataset=dataset, columns=tuple(sorted(roots(label.sql))), sql=label.available_at))
    return facts


def _times(source: EventSource, tables: Mapping[str, Table], used_at: str, **expressions: str) -> pl.DataFrame:
    """Return the rows that the source keeps: row number (from 1), `used` (the given alias of the source) and further expressions."""
    rows = scan(tables[source.dataset]).with_row_index("__row", offset=1)
    if source.where is not None:
        rows = rows.filter(pl.sql_expr(source.where))
    named = {"__used": source.columns[used_at], **expressions}
    return rows.with_columns(**{name: pl.sql_expr(sql) for name, sql in named.items()}).collect()


def _before_event(source: EventSource, features: list[str], tables: Mapping[str, Table]) -> Iterator[Leak]:
    rows = _times(source, tables, source.available_at, __event=source.columns[source.event_time])
    early = rows.filter(pl.col("__used") < pl.col("__event"))
    if early.is_empty():
        return
    row, t, minutes = _worst(early.with_columns(__truth=pl.col("__event")))
    for feature in features:
        yield Leak(
            kind=LeakKind.BEFORE_EVENT, feature=feature, row=f"{source.dataset}[{row}]", t=t,
            detail=f"Feature '{feature}': source '{source.name}' declares {early.height:,} of {rows.height:,} rows available before their "
            f"own event time '{source.event_time}', by up to {minutes:,.0f} minutes (row {row}, available {iso(t)}).",
        )  # fmt: skip


def _before_known(plan: Plan, use: _Use, fact: KnownAt, read: list[str], tables: Mapping[str, Table]) -> Iterator[Leak]:
    source, spine = use.source, use.source == plan.spine
    used_at = plan.time if spine else source.available_at
    rows = _times(source, tables, used_at, __truth=fact.sql)
    present = pl.any_horizontal(pl.col(column).is_not_null() for column in read) & pl.col("__used").is_not_null()
    rows = rows.filter(present)
    early = rows.filter((pl.col("__used") < pl.col("__truth")) | pl.col("__truth").is_null())
    if early.is_empty():
        return
    row, t, minutes = _worst(early)
    when = "later, or never" if math.isinf(minutes) else f"later, by up to {minutes:,.0f} minutes"
    used = f"uses them at t = '{plan.time}'" if spine else f"declares them available at '{source.available_at}'"
    yield Leak(
        kind=LeakKind.BEFORE_KNOWN, feature=use.feature, row=f"{source.dataset}[{row}]", t=t,
        detail=f"Feature '{use.feature}' reads {', '.join(read)} of dataset '{source.dataset}', and source '{source.name}' {used}, but "
        f"{early.height:,} of {rows.height:,} rows are known only {when} (row {row}, used {iso(t)}).",
    )  # fmt: skip


def _worst(early: pl.DataFrame) -> tuple[int, int, float]:
    """Return row number, time of use and minutes too early of the row that is used furthest ahead of its time."""
    ahead = early.select(
        pl.col("__row"),
        pl.col("__used").cast(INSTANT).dt.timestamp("us"),
        (pl.col("__truth") - pl.col("__used")).dt.total_microseconds().alias("by"),
    ).sort("by", "__row", descending=[True, False], nulls_last=False)
    row, t, by = ahead.row(0)
    return int(row), int(t), math.inf if by is None else by / MINUTE


def _late_requests(plan: Plan, prepared: Prepared) -> list[Leak]:
    """Return a leak for the spine's own features when its rows are declared available only after `t`."""
    used = [*plan.columns, *(name for part in plan.calendars for name in part.outputs), *(one.name for one in plan.on_demand)]
    available = plan.spine.available_at
    rows = prepared.spine.with_row_index("__row", offset=1)
    late = rows.filter((pl.col(available) > pl.col(plan.time)) | pl.col(available).is_null())
    if late.is_empty() or not used:
        return []
    first = late.row(0, named=True)
    t = round(first[plan.time].timestamp() * 1_000_000)
    return [
        Leak(
            kind=LeakKind.REQUEST_TOO_EARLY, feature=name, row=f"{plan.spine.name}[{first['__row']}]", t=t,
            detail=f"Feature '{name}' comes with the request, but {late.height:,} of {rows.height:,} rows of the spine "
            f"'{plan.spine.name}' are available only after t = '{plan.time}' (row {first['__row']}, t {iso(t)}).",
        )
        for name in used
    ]  # fmt: skip
