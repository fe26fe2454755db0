"""The meaning of a feature set in plain Python, row by row: slow, short, and the oracle that the fast computation is tested against."""

from __future__ import annotations

import math
import statistics
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gateline.features.declarations.plan import Aggregate, Latest, Lookup, Plan, Window
from gateline.features.engine.distinct import distinct_count, hashed

if TYPE_CHECKING:
    from gateline.features.declarations.plan import Part
    from gateline.features.engine.point_in_time import Prepared

    Record = dict[str, Any]


def reference_features(plan: Plan, prepared: Prepared) -> list[Record]:
    """Return, for each spine row in order, the features of all parts by name. Time is rows × source rows."""
    sources = {name: frame.to_dicts() for name, frame in prepared.sources.items()}
    result = []
    for row in prepared.spine.iter_rows(named=True):
        values: Record = {}
        for part in plan.parts:
            matching = [event for event in sources[part.source.name] if _matches(event, row, part.keys)]
            values |= _part(part, matching, row[plan.time])
        result.append(values)
    return result


def _matches(event: Record, row: Record, key: tuple[str, ...]) -> bool:
    return all(row[alias] is not None and event[alias] == row[alias] for alias in key)


def _part(part: Part, events: list[Record], t: datetime) -> Record:
    available_at = part.source.available_at
    newest: Record | None = None
    match part:
        case Window():
            end = t - timedelta(seconds=part.offset_seconds)
            start = _begin(part, end)
            return {part.name: _aggregate(part, [event for event in events if start < event[available_at] <= end])}
        case Latest():
            cut = t - timedelta(seconds=part.offset_seconds)
            known = [event for event in events if event[available_at] <= cut]
            times = (part.source.event_time, available_at)
            newest = max(known, key=lambda event: _order(part, event, times), default=None)
            if newest is not None and cut - newest[part.source.event_time] > timedelta(seconds=part.max_age_seconds):
                newest = None
        case Lookup():
            newest = next((event for event in events if event[available_at] <= t), None)
    return {name: None if newest is None else newest[alias] for name, alias in part.outputs.items()}


def _begin(window: Window, end: datetime) -> datetime:
    """Return the open beginning of a window; with a hop, its last multiple since 1970-01-01 UTC at or before."""
    begin = end - timedelta(seconds=window.window_seconds)
    if window.hop_seconds:
        begin -= (begin - datetime(1970, 1, 1, tzinfo=UTC)) % timedelta(seconds=window.hop_seconds)
    return begin


def _aggregate(window: Window, events: list[Record]) -> Any:
    """Return the aggregate of the rows of a window; see `plan.Aggregate`."""
    source, column = window.source, window.column
    events = [event for event in events if event[column] is not None]
    if window.aggregate == Aggregate.RATIO:
        events = [event for event in events if event[window.denominator] is not None]
    events.sort(key=lambda event: _order(window, event, (source.available_at, source.event_time)))
    known = [event[column] for event in events]
    match Aggregate(window.aggregate):
        case Aggregate.COUNT:
            return len(known)
        case Aggregate.APPROX_DISTINCT:
            return distinct_count(sorted({hashed(value) for value in known}))
        case Aggregate.SUM | Aggregate.MEAN | Aggregate.VAR | Aggregate.STD | Aggregate.RATIO:
            return _moment(window, known, [event[window.denominator] for event in events] if window.denominator else [])
        case Aggregate.MIN:
            return min(known, default=None)
        case Aggregate.MAX:
            return max(known, default=None)
        case Aggregate.FIRST:
            return known[0] if known else None
        case Aggregate.LAST:
            return known[-1] if known else None
        case Aggregate.LAST_K:
            return known[-window.position] if len(known) >= window.position else None


def _moment(window: Window, known: list[Any], below: list[Any]) -> Any:
    """Return the aggregates that add numbers up."""
    if len(known) < (2 if window.aggregate in {Aggregate.VAR, Aggregate.STD} else 1):
        return None
    total = sum(known) if isinstance(known[0], int) else math.fsum(known)
    match Aggregate(window.aggregate):
        case Aggregate.SUM:
            return total
        case Aggregate.RATIO:
            divisor = sum(below) if isinstance(below[0], int) else math.fsum(below)
            return total / divisor if divisor else None
        case Aggregate.VAR:
            return float(statistics.variance(known))
        case Aggregate.STD:
            return float(statistics.stdev(known))
        case _:
            return total / len(known)


def _order(part: Part, event: Record, first: tuple[str, str]) -> list[tuple[bool, Any]]:
    """Return the place of an event in the total order: two times, tie-breaker, then all values by name; missing first."""
    aliases = dict.fromkeys([*first, *part.source.tie_breaker, *sorted(event)])
    return [(event[alias] is not None, 0 if event[alias] is None else event[alias]) for alias in aliases]
