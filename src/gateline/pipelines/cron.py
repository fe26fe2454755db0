"""Nominal times of a cron expression in a time zone. Pure; a function of expression and zone alone, wherever one begins to look.

An expression whose minute and hour are both fixed (neither field begins with `*`) names times of day: one that does not exist, because
clocks were set forward, is due at the first instant after the gap; one that exists twice is due the first time only; several that fall
into one gap are one. Any other expression repeats with elapsed time: it is due at every instant at which the clock on the wall matches,
so not in the gap, and twice when the hour comes twice.
"""

from __future__ import annotations

import heapq
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from gateline.kernel.clock import SECOND
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

CRON_LENGTH_MAX = 200
_FIELDS = 5
_TWICE_MAX = timedelta(hours=3)
"""More than a clock was ever set back at once since time zones have had rules."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


class Cron:
    """A cron expression of five fields (minute, hour, day of month, month, day of week) in an IANA time zone.

    >>> from itertools import islice
    >>> from gateline.kernel.clock import iso, parse_iso
    >>> berlin = Cron("30 2 * * *", "Europe/Berlin")
    >>> [iso(one)[:16] for one in islice(berlin.times(parse_iso("2026-03-28T12:00:00Z")), 2)]
    ['2026-03-29T01:00', '2026-03-30T00:30']

    Raises:
        InvalidInput: the expression or the zone is not one, or the expression never comes true.
    """

    def __init__(self, expression: str, zone: str = "UTC") -> None:
        mistakes = []
        try:
            wrong = len(expression) > CRON_LENGTH_MAX or len(expression.split()) != _FIELDS
            if wrong or next(CronSim(expression, datetime(2000, 1, 1)), None) is None:  # noqa: DTZ001 - wall clock
                mistakes.append(f"'{expression[:CRON_LENGTH_MAX]}' is no cron expression that ever comes true")
        except CronSimError as error:
            mistakes.append(f"'{expression}' is no cron expression: {str(error).lower()}")
        if zone not in _zones():
            mistakes.append(f"'{zone[:100]}' is no IANA time zone")
        if mistakes:
            raise InvalidInput(
                f"{'; '.join(mistakes)}.", next_step="Write five fields, such as '30 2 * * 1-5', and a zone such as Europe/Berlin."
            )
        self.expression = expression
        self.zone = zone
        self._zone = ZoneInfo(zone)
        minute, hour = expression.split()[:2]
        self._fixed = not minute.startswith("*") and not hour.startswith("*")

    def times(self, after: int) -> Iterator[int]:
        """Yield the nominal times later than an instant (UTC microseconds), in order, none twice."""
        start = _EPOCH + timedelta(microseconds=after)
        try:
            wall = (start.astimezone(self._zone) - _TWICE_MAX).replace(tzinfo=None)
        except OverflowError:
            return
        last = after
        for moment in self._moments(wall):
            instant = (moment - _EPOCH) // timedelta(microseconds=1)
            if instant > last:
                last = instant
                yield instant

    def _moments(self, wall: datetime) -> Iterator[datetime]:
        """Yield moments in order, possibly several times the same, from a time on the wall on."""
        waiting: list[datetime] = []
        for local in CronSim(self.expression, wall):
            first = local.replace(tzinfo=self._zone).astimezone(UTC)
            exists = first.astimezone(self._zone).replace(tzinfo=None) == local
            if self._fixed:
                yield first if exists else self._after_gap(local)
            elif exists:
                while waiting and waiting[0] <= first:
                    yield heapq.heappop(waiting)
                yield first
                second = local.replace(tzinfo=self._zone, fold=1).astimezone(UTC)
                if second != first:
                    heapq.heappush(waiting, second)
        while waiting:
            yield heapq.heappop(waiting)

    def _after_gap(self, local: datetime) -> datetime:
        while True:
            local += _MINUTE
            moment = local.replace(tzinfo=self._zone).astimezone(UTC)
            if moment.astimezone(self._zone).replace(tzinfo=None) == local:
                return moment


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


@lru_cache(maxsize=256)
def cron(expression: str, zone: str) -> Cron:
    """Return the expression in its zone; it was valid before, so that reading it again is not needed each time."""
    return Cron(expression, zone)


def next_time(expression: str, zone: str, after: int) -> int | None:
    """Return the first nominal time after an instant, or None when there is none within 50 years."""
    return next(cron(expression, zone).times(after), None)


GRACE = 300 * SECOND
"""How late a nominal time may be noticed and still count as on time."""
