"""Features that need the request and other features alone: calendars and on-demand expressions, for one row and for a table alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateline.features.declarations.calendars import calendar_columns
from gateline.features.engine.expressions import roots, with_expressions

if TYPE_CHECKING:
    import polars as pl

    from gateline.features.declarations.plan import Plan


def aliases_needed(plan: Plan) -> list[str]:
    """Return the spine aliases that a request must bring, besides the keys of its views: own features, and what others are made of."""
    computed = {name for part in (*plan.parts, *plan.calendars) for name in part.outputs}
    read = {alias for one in plan.on_demand for alias in roots(one.sql)} | {part.time for part in plan.calendars}
    return list(dict.fromkeys([*plan.columns, *sorted(read - computed)]))


def with_derived(plan: Plan, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows that hold spine aliases and the features of parts, with the features of calendars and on demand added."""
    for part in plan.calendars:
        rows = rows.with_columns(calendar_columns(rows[part.time], part))
    return with_expressions(rows, {one.name: one.sql for one in plan.on_demand})
