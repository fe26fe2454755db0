"""What a view gives at a time, said a second time in the plainest way: from all rows, without state. See `features.declarations.plan`."""

from __future__ import annotations

import math
import statistics
from typing import Any

from gateline.features.declarations.plan import Aggregate, Latest, Window
from gateline.kernel.clock import SECOND

Row = dict[str, Any]


def expected(part: Any, rows: list[Row], t: int) -> Row:
    """Return the features of a part over the rows of one key; instants are UTC microseconds."""
    source = part.source
    if isinstance(part, Window):
        end = t - part.offset_seconds * SECOND
        start = end - part.window_seconds * SECOND
        if part.hop_seconds:
            start = start // (part.hop_seconds * SECOND) * part.hop_seconds * SECOND
        inside = [row for row in rows if start < row[source.available_at] <= end]
        inside.sort(key=lambda row: order(row, [source.available_at, source.event_time, *source.tie_breaker, *rest(part)]))
        return {part.name: aggregate(part, inside)}
    cut = t - (part.offset_seconds * SECOND if isinstance(part, Latest) else 0)
    known = [row for row in rows if row[source.available_at] <= cut]
    newest = max(
        known, key=lambda row: order(row, [source.event_time, source.available_at, *source.tie_breaker, *rest(part)]), default=None
    )
    if newest and isinstance(part, Latest) and cut - newest[source.event_time] > part.max_age_seconds * SECOND:
        newest = None
    return {name: newest[alias] if newest else None for name, alias in part.outputs.items()}


def rest(part: Any) -> list[str]:
    return sorted(set(part.source.columns) - set(part.keys))


def order(row: Row, aliases: list[str]) -> list[tuple[bool, Any]]:
    return [(row[alias] is not None, 0 if row[alias] is None else row[alias]) for alias in aliases]


def aggregate(part: Window, rows: list[Row]) -> Any:  # noqa: PLR0911 - one return for each aggregate
    if part.aggregate == Aggregate.RATIO:
        both = [row for row in rows if row[part.column] is not None and row[part.denominator] is not None]
        below = math.fsum(row[part.denominator] for row in both)
        return math.fsum(row[part.column] for row in both) / below if below else None
    values = [row[part.column] for row in rows if row[part.column] is not None]
    match Aggregate(part.aggregate):
        case Aggregate.COUNT:
            return len(values)
        case Aggregate.APPROX_DISTINCT:
            return len(set(values))
        case Aggregate.VAR:
            return float(statistics.variance(values)) if len(values) > 1 else None
        case Aggregate.STD:
            return float(statistics.stdev(values)) if len(values) > 1 else None
        case Aggregate.LAST_K:
            return values[-part.position] if len(values) >= part.position else None
    if not values:
        return None
    match Aggregate(part.aggregate):
        case Aggregate.SUM:
            return sum(values) if isinstance(values[0], int) else math.fsum(values)
        case Aggregate.MEAN:
            return math.fsum(values) / len(values)
        case Aggregate.MIN:
            return min(values)
        case Aggregate.MAX:
            return max(values)
        case Aggregate.FIRST:
            return values[0]
        case Aggregate.LAST:
            return values[-1]


def same(one: Any, other: Any) -> bool:
    """Whether two feature values agree: whole numbers exactly, fractions to 1e-9 of their size (the tests keep sums below 1e9)."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)
    return one == other and type(one) is type(other)
