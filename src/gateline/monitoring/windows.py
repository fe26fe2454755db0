"""Windows of event time: where they begin, and when one may be closed. Pure arithmetic on microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from gateline.kernel.clock import SECOND, Instant
from gateline.monitoring.model import Analysis, MonitorPlan

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def first_start(event_time: Instant, timezone: str) -> Instant:
    """Return the midnight, in the zone, at or before the first event: where an endpoint's first window begins.

    >>> first_start(1_364_815_800_000_000, "UTC")  # 2013-04-01T11:30:00Z
    1364774400000000
    >>> first_start(1_364_815_800_000_000, "America/New_York")
    1364788800000000
    """
    zone = ZoneInfo(timezone)
    local = (_EPOCH + timedelta(microseconds=event_time)).astimezone(zone)
    midnight = datetime.combine(local.date(), time(0), tzinfo=zone)
    return (midnight.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def margin(plan: MonitorPlan, analysis: Analysis) -> int:
    """Return how far, in microseconds, the watermark must pass a window's end before this analysis may close it."""
    return SECOND * (plan.lateness_seconds if analysis is Analysis.DRIFT else plan.label_allowance_seconds)


def closes(end: Instant, plan: MonitorPlan, analysis: Analysis, watermark: Instant) -> bool:
    """Return whether the watermark allows a window that ends at `end` to be closed."""
    return watermark >= end + margin(plan, analysis)


def containing(origin: Instant, length: int, event_time: Instant) -> Instant:
    """Return the start of the window of `length` microseconds that holds the event.

    >>> containing(100, 10, 117)
    110
    """
    return origin + (event_time - origin) // length * length


def silent_end(start: Instant, plan: MonitorPlan, *, next_event: Instant | None, watermark: Instant) -> Instant:
    """Return the end of the silence that begins at `start`: whole windows without a prediction, closed together.

    The silence ends where the window of the next prediction begins, or at the last window end that the watermark allows to close.

    Args:
        start: Start of a window that holds no prediction and may be closed.
        plan: Gives the window's length.
        next_event: Event time of the first later prediction; None when there is none.
        watermark: The endpoint's watermark.
    """
    length = plan.window_seconds * SECOND
    complete = start + (watermark - margin(plan, Analysis.DRIFT) - start) // length * length
    end = complete if next_event is None else min(complete, containing(start, length, next_event))
    return max(end, start + length)
