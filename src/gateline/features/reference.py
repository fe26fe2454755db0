"""The meaning of a feature set in plain Python, row by row: slow, short, and the oracle that the fast computation is tested against."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gateline.features.plan import Aggregate, Latest, Lookup, Plan, Window

if TYPE_CHECKING:
    from datetime import datetime

    from gateline.features.plan import Part
    from gateline.features.point_in_time import Prepared

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
            start = end - timedelta(seconds=part.window_seconds)
            return {part.name: _aggregate(part, [event[part.column] for event in events if start < event[available_at] <= end])}
        case Latest():
            cut = t - timedelta(seconds=part.offset_seconds)
            known = [event for event in events if event[available_at] <= cut]
            newest = max(known, key=lambda event: _order(part, event), default=None)
            if newest is not None and cut - newest[part.source.event_time] > timedelta(seconds=part.max_age_seconds):
                newest = None
        case Lookup():
            newest = next((event for event in events if event[available_at] <= t), None)
    return {name: None if newest is None else newest[alias] for name, alias in part.outputs.items()}


def _aggregate(window: Window, values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    if not known and window.aggregate != Aggregate.COUNT:
        return None
    match Aggregate(window.aggregate):
        case Aggregate.MEAN:
            return math.fsum(known) / len(known)
        case Aggregate.SUM:
            return sum(known) if isinstance(known[0], int) else math.fsum(known)
        case Aggregate.MIN:
            return min(known)
        case Aggregate.MAX:
            return max(known)
        case Aggregate.COUNT:
            return len(known)


def _order(part: Latest, event: Record) -> list[tuple[bool, Any]]:
    """Return the place of an event in the total order: event time, availability, tie-breaker, then all values by name; missing first."""
    source = part.source
    rest = sorted(event.keys() - set(part.keys))
    aliases = dict.fromkeys([source.event_time, source.available_at, *source.tie_breaker, *rest])
    return [(event[alias] is not None, 0 if event[alias] is None else event[alias]) for alias in aliases]
