"""Calendars on Spark: clocks and holidays come from the Polars engine, as tables of the few instants and days at which they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from gateline.adapters.spark.values import DAY_MICROSECONDS, INSTANT, quoted, text_literal
from gateline.features import HOLIDAY_FACTS, WEEKDAYS, CalendarFact, day_part_names, holiday_facts
from gateline.kernel.clock import SECOND

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from gateline.features import Calendar, CalendarPart

_HOUR = 3600 * SECOND
_LOCAL, _DAY = "__local", "__day"
_HELD = ("__holiday", "__to", "__since")


def with_calendar(session: SparkSession, frame: DataFrame, spine: DataFrame, part: CalendarPart) -> DataFrame:
    """Return the frame with the features of a calendar; `spine` holds all instants that are asked about, microseconds.

    Raises:
        ConfigurationError: the calendar was declared with another version of the package `holidays` than is installed.
    """
    time, calendar = quoted(part.time), part.calendar
    (ends,) = spine.selectExpr(f"min({time}) AS first", f"max({time}) AS last").collect()
    changes = clock_changes(calendar.zone, ends["first"] or 0, ends["last"] or 0)
    local = _local(time, changes)
    kept = [quoted(name) for name in frame.columns]
    found = frame.selectExpr(*kept, f"{local} AS {_LOCAL}").selectExpr("*", f"{_floor_divided(_LOCAL, DAY_MICROSECONDS)} AS {_DAY}")
    if not HOLIDAY_FACTS.isdisjoint(part.facts.values()):
        found = found.join(_holidays(session, spine.selectExpr(f"{local} AS {_LOCAL}"), calendar), _DAY, "left")
    facts = _facts(calendar)
    return found.selectExpr(*kept, *(f"{facts[CalendarFact(fact)]} AS {quoted(name)}" for name, fact in part.outputs.items()))


def clock_changes(zone: str, first: int, last: int) -> list[tuple[int, int]]:
    """Return (from when on, how far local time is ahead) between two instants, all microseconds; the first holds from before on.

    >>> clock_changes("America/New_York", 1_362_000_000_000_000, 1_364_000_000_000_000)
    [(1361998800000000, -18000000000), (1362898800000000, -14400000000)]
    """
    begin, end = first // _HOUR * _HOUR, -(-last // _HOUR) * _HOUR
    instants = list(range(begin, end + 1, _HOUR))
    found = [(begin, _ahead(zone, [begin])[0])]
    ahead = _ahead(zone, instants)
    for place in [place for place in range(1, len(instants)) if ahead[place] != ahead[place - 1]]:
        seconds = list(range(instants[place - 1] + SECOND, instants[place] + 1, SECOND))
        for instant, now in zip(seconds, _ahead(zone, seconds), strict=True):
            if now != found[-1][1]:
                found.append((instant, now))
    return found


def _ahead(zone: str, instants: list[int]) -> list[int]:
    """Return how far the clock of a zone is ahead of UTC, microseconds."""
    utc = pl.Series(instants, dtype=pl.Int64).cast(INSTANT)
    there = utc.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    return (there.cast(pl.Int64) - utc.cast(pl.Int64)).to_list()


def _local(time: str, changes: list[tuple[int, int]]) -> str:
    """Return the local time as microseconds since 1970-01-01 local."""
    (_, earliest), *later = changes
    branches = "".join(f" WHEN {time} >= {instant}L THEN {time} + {ahead}L" for instant, ahead in reversed(later))
    plain = f"{time} + ({earliest}L)"
    return f"CASE{branches} ELSE {plain} END" if later else f"({plain})"


def _floor_divided(sql: str, divisor: int) -> str:
    return f"(({sql} - pmod({sql}, {divisor}L)) div {divisor}L)"


def _facts(calendar: Calendar) -> dict[CalendarFact, str]:
    """Return what each fact is, from the local time and day."""
    hour = f"(pmod({_LOCAL}, {DAY_MICROSECONDS}L) div {_HOUR}L)"
    weekday = f"(pmod({_DAY} + 3L, 7L) + 1L)"  # 1970-01-01 was a Thursday
    weekend = " OR ".join(f"{weekday} = {WEEKDAYS.index(name) + 1}L" for name in calendar.weekend) or f"{weekday} = 0L"
    names = ", ".join(text_literal(name) for name in day_part_names(calendar.day_parts))
    holiday, to, since = _HELD
    return {
        CalendarFact.HOUR: hour,
        CalendarFact.WEEKDAY: weekday,
        CalendarFact.MONTH: f"CAST(month(date_from_unix_date(CAST({_DAY} AS INT))) AS BIGINT)",
        CalendarFact.IS_WEEKEND: f"({weekend})",
        CalendarFact.DAY_PART: f"array({names})[CAST({hour} AS INT)]",
        CalendarFact.IS_HOLIDAY: holiday,
        CalendarFact.DAYS_TO_HOLIDAY: to,
        CalendarFact.DAYS_SINCE_HOLIDAY: since,
    }


def _holidays(session: SparkSession, locals_: DataFrame, calendar: Calendar) -> DataFrame:
    """Return the holiday facts of every local day that is asked about."""
    days = locals_.where(f"{_LOCAL} IS NOT NULL").selectExpr(f"{_floor_divided(_LOCAL, DAY_MICROSECONDS)} AS {_DAY}").distinct().collect()
    asked = pl.Series(_DAY, sorted(row[_DAY] for row in days), dtype=pl.Int64)
    facts = holiday_facts(asked.cast(pl.Int32).cast(pl.Date), calendar)
    wanted = (CalendarFact.IS_HOLIDAY, CalendarFact.DAYS_TO_HOLIDAY, CalendarFact.DAYS_SINCE_HOLIDAY)
    rows = list(zip(asked.to_list(), *(facts[fact].to_list() for fact in wanted), strict=True))
    holiday, to, since = _HELD
    return session.createDataFrame(rows, f"{_DAY} BIGINT, {holiday} BOOLEAN, {to} BIGINT, {since} BIGINT")
