"""How far event time has come in the prediction log, read once per segment."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateline.serving import Serving


class EventTimes:
    """First and newest event time of each endpoint's predictions. Segments never change, so each is looked at once."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._lock = Lock()
        self._seen: dict[str, tuple[int, int, int]] = {}

    def span(self, endpoint: str) -> tuple[int, int] | None:
        """Return first and newest event time in microseconds; None without predictions. The newest never falls."""
        with self._lock:
            seen = self._seen.get(endpoint)
            if self._serving.last_segment(endpoint) > (0 if seen is None else seen[0]):
                for segment in self._serving.segments(endpoint, after=None if seen is None else seen[0]):
                    first, newest = (segment.min_event_time, segment.max_event_time) if seen is None else seen[1:]
                    seen = segment.id, min(first, segment.min_event_time), max(newest, segment.max_event_time)
                if seen is not None:
                    self._seen[endpoint] = seen
            return None if seen is None else seen[1:]
