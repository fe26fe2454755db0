"""Time as whole microseconds since 1970-01-01 UTC. Only clocks read the system time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from gateline.kernel.errors import InvalidInput

Instant = int

SECOND: Instant = 1_000_000
MINUTE: Instant = 60 * SECOND
HOUR: Instant = 60 * MINUTE
DAY: Instant = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Something that knows the time."""

    def now(self) -> Instant:
        """Return the current time in UTC microseconds."""
        ...


class SystemClock:
    """The machine's clock. It may jump; records therefore also carry a sequence."""

    def now(self) -> Instant:
        """Return the current time in UTC microseconds."""
        return time.time_ns() // 1000


class SimulatedClock:
    """A clock that moves only when told to.

    >>> clock = SimulatedClock(start=0)
    >>> clock.advance(seconds=1.5)
    >>> clock.now()
    1500000
    """

    def __init__(self, start: Instant = 1_356_998_400 * SECOND) -> None:
        self._now = start

    def now(self) -> Instant:
        """Return the simulated time in UTC microseconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock by `seconds`, which may be negative: clocks lie."""
        self._now += round(seconds * SECOND)


def iso(instant: Instant) -> str:
    """Return the instant as RFC 3339 text in UTC with microseconds.

    >>> iso(1_356_998_400_000_000)
    '2013-01-01T00:00:00.000000Z'
    """
    return (_EPOCH + timedelta(microseconds=instant)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_iso(text: str) -> Instant:
    """Return the instant of an ISO 8601 text that carries an offset or `Z`.

    >>> parse_iso("2013-01-01T00:00:00Z")
    1356998400000000

    Raises:
        InvalidInput: the text is no timestamp, says no offset, or lies outside the years 1 to 9999 in UTC.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"'{text}' is not an ISO 8601 timestamp.", next_step="Write it as 2013-01-01T05:00:00Z.") from error
    if moment.tzinfo is None:
        raise InvalidInput(f"The timestamp '{text}' names no offset.", next_step="Add Z or an offset such as -05:00.")
    try:
        return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
    except OverflowError as error:
        raise InvalidInput(f"The timestamp '{text}' lies outside the years 1 to 9999 in UTC.", next_step="Write another one.") from error
