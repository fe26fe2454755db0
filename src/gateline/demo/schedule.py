"""In what order requests and labels reach the platform: each at its own event time, and no label before it is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateline.kernel.clock import Instant
from gateline.kernel.errors import InvalidInput

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What happens in one stretch of event time, its end excluded.

    Attributes:
        until: End of the period, in UTC microseconds.
        requests: Positions of the rows asked about in it, in order of their time.
        labels: Positions of the rows whose label becomes known in it, in order of that time.
    """

    until: Instant
    requests: NDArray[np.int64]
    labels: NDArray[np.int64]


class Schedule:
    """Walks through requests and labels in order of event time.

    A label is handed out in the first period whose end lies after the time it became known, and only if its request was handed out
    before; a row without a label time (a cancelled or diverted flight) never gets one.

    Args:
        times: Event time of each request, in UTC microseconds, shape (n,).
        label_times: When each label became known; a negative number where it never did, shape (n,).

    Raises:
        InvalidInput: a label is known before its request is made.
    """

    def __init__(self, times: NDArray[np.int64], label_times: NDArray[np.int64]) -> None:
        known = np.where(label_times < 0, _NEVER, label_times)
        if early := int(np.count_nonzero(known < times)):
            raise InvalidInput(f"{early} labels are known before their request; such rows cannot be replayed honestly.")
        self._times, self._known = times, known
        self._by_time = np.argsort(times, kind="stable")
        self._by_known = np.argsort(known, kind="stable")
        self._sorted_times = times[self._by_time]
        self._sorted_known = known[self._by_known]
        self._asked = 0
        self._labelled = 0

    @property
    def by_time(self) -> NDArray[np.int64]:
        """Positions of all rows in the order in which they are asked about, shape (n,)."""
        return self._by_time

    @property
    def exhausted(self) -> bool:
        """Whether every request was handed out."""
        return self._asked >= len(self._by_time)

    @property
    def asked(self) -> int:
        """Requests handed out so far."""
        return self._asked

    def next_time(self) -> Instant | None:
        """Return the time of the next request; None when there is none."""
        return None if self.exhausted else int(self._sorted_times[self._asked])

    def advance(self, until: Instant) -> Period:
        """Return everything from where the last period ended up to `until`, which is excluded."""
        asked = int(np.searchsorted(self._sorted_times, until, side="left"))
        labelled = int(np.searchsorted(self._sorted_known, until, side="left"))
        period = Period(
            until=until, requests=self._by_time[self._asked : asked], labels=self._by_known[self._labelled : labelled]
        )  # fmt: skip
        self._asked, self._labelled = max(asked, self._asked), max(labelled, self._labelled)
        return period

    def advance_requests(self, count: int, latest: Instant) -> Period:
        """Return the period of the next `count` requests, or up to `latest` when that comes first."""
        position = self._asked + count
        ends = int(self._sorted_times[position]) if position < len(self._sorted_times) else latest
        return self.advance(min(max(ends, int(self._sorted_times[self._asked]) + 1) if not self.exhausted else latest, latest))

    def remaining_labels(self) -> Period:
        """Return the labels that are still to come after the last request, for the end of the story."""
        known = int(np.searchsorted(self._sorted_known, _NEVER, side="left"))
        period = Period(
            until=_NEVER, requests=self._by_time[self._asked : self._asked], labels=self._by_known[self._labelled : known]
        )  # fmt: skip
        self._labelled = known
        return period
