"""What a local calendar says about an instant: hour, weekday, weekend, holidays, part of the day.

One computation serves one row and a table. Local time comes from the time zone data inside Polars, holidays (movable feasts too) from the
package `holidays`, whose version is written into the calendar: another version may know other days, and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from gateline.kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAY_PARTS = {"night": 0, "morning": 6, "afternoon": 12, "evening": 18}
_YEARS_AROUND = 2


class CalendarFact(StrEnum):
    """What can be asked of a calendar; every answer is about the local date or time, and missing where the instant is.

    Holiday facts are missing for years of which the calendar knows nothing. `days_to_holiday` and `days_since_holiday` are whole days and
    0 on a holiday; they are missing when there is none within two calendar years.
    """

    HOUR = "hour"
    WEEKDAY = "weekday"
    MONTH = "month"
    IS_WEEKEND = "is_weekend"
    IS_HOLIDAY = "is_holiday"
    DAYS_TO_HOLIDAY = "days_to_holiday"
    DAYS_SINCE_HOLIDAY = "days_since_holiday"
    DAY_PART = "day_part"


HOLIDAY_FACTS = frozenset({CalendarFact.IS_HOLIDAY, CalendarFact.DAYS_TO_HOLIDAY, CalendarFact.DAYS_SINCE_HOLIDAY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The calendar of a project: declared once, used by every calendar view.

    Attributes:
        zone: IANA time zone, such as `America/New_York`.
        country: ISO 3166 code of the country whose public holidays count; empty for none.
        subdivision: Code of its state or province, such as `NY`.
        weekend: Names of the days of the weekend, such as `("friday", "saturday")`.
        day_parts: Name to the first local hour of each part of the day; before the first of them it is still the last one.
        holidays_version: Version of the package `holidays`; by default the installed one.
    """

    zone: str
    country: str = ""
    subdivision: str = ""
    weekend: tuple[str, ...] = ("saturday", "sunday")
    day_parts: Mapping[str, int] = field(default_factory=lambda: dict(DAY_PARTS))
    holidays_version: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "weekend", tuple(sorted(self.weekend)))
        object.__setattr__(self, "day_parts", dict(self.day_parts))
        if self.country and not self.holidays_version:
            object.__setattr__(self, "holidays_version", version("holidays"))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "zone": self.zone, "country": self.country, "subdivision": self.subdivision, "weekend": list(self.weekend),
            "day_parts": dict(sorted(self.day_parts.items())), "holidays_version": self.holidays_version,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarPart:
    """Features of the local calendar at an instant of the spine.

    Attributes:
        name: Unique within the set.
        calendar: The calendar.
        time: Spine alias of the instant.
        facts: Feature name to what it says.
    """

    name: str
    calendar: Calendar
    time: str
    facts: Mapping[str, CalendarFact | str]

    @property
    def outputs(self) -> Mapping[str, CalendarFact | str]:
        """Feature name to what it says, by name."""
        return dict(sorted(self.facts.items()))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        facts = {name: str(fact) for name, fact in self.outputs.items()}
        return {"kind": "calendar", "name": self.name, "calendar": self.calendar.as_dict(), "time": self.time, "facts": facts}


def facts_of(view: str, features: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    """Return feature name to fact; facts that are only listed give features called `<view>_<fact>`."""
    named = features if isinstance(features, Mapping) else {f"{view}_{fact}": fact for fact in features}
    return {name: str(fact) for name, fact in sorted(named.items())}


def calendar_mistakes(part: CalendarPart) -> Iterator[str]:
    """Yield what is wrong with a calendar part, whatever the data."""
    where, calendar = f"calendar '{part.name}'", part.calendar
    for name, fact in part.outputs.items():
        if fact not in list(CalendarFact):
            yield f"{where}, feature '{name}': '{fact}' is no fact; use one of {', '.join(CalendarFact)}"
        elif fact in HOLIDAY_FACTS and not calendar.country:
            yield f"{where}, feature '{name}': {fact} needs the country of the calendar"
    if not part.outputs:
        yield f"{where} has no features"
    if not _is_zone(calendar.zone):
        yield f"{where}: '{calendar.zone}' is no IANA time zone, such as America/New_York"
    if unknown := sorted(set(calendar.weekend) - set(WEEKDAYS)):
        yield f"{where}: {', '.join(unknown)} is no weekday; use {', '.join(WEEKDAYS)}"
    hours = list(calendar.day_parts.values())
    if not hours or len(set(hours)) < len(hours) or not all(0 <= hour <= 23 for hour in hours):
        yield f"{where}: parts of the day need different first hours from 0 to 23, not {hours}"
    if calendar.country and (mistake := _unknown_place(calendar.country, calendar.subdivision)):
        yield f"{where}: {mistake}"
    if calendar.subdivision and not calendar.country:
        yield f"{where}: subdivision '{calendar.subdivision}' has no country"


def calendar_columns(instants: pl.Series, part: CalendarPart) -> list[pl.Series]:
    """Return the features of a part for instants (UTC µs), for one row as for a table.

    Raises:
        ConfigurationError: the calendar was declared with another version of the package `holidays` than is installed.
    """
    import polars as pl

    calendar = part.calendar
    local = instants.dt.convert_time_zone(calendar.zone)
    hour, weekday = local.dt.hour().cast(pl.Int64), local.dt.weekday().cast(pl.Int64)
    days_off = [WEEKDAYS.index(name) + 1 for name in calendar.weekend]
    facts: dict[CalendarFact, pl.Series] = {
        CalendarFact.HOUR: hour,
        CalendarFact.WEEKDAY: weekday,
        CalendarFact.MONTH: local.dt.month().cast(pl.Int64),
        CalendarFact.IS_WEEKEND: weekday.is_in(days_off),
        CalendarFact.DAY_PART: _day_part(hour, calendar.day_parts),
    }
    if any(fact in HOLIDAY_FACTS for fact in part.facts.values()):
        facts |= holiday_facts(local.dt.date(), calendar)
    return [facts[CalendarFact(fact)].alias(name) for name, fact in part.outputs.items()]


def _day_part(hour: pl.Series, parts: Mapping[str, int]) -> pl.Series:
    import polars as pl

    return pl.Series(day_part_names(parts), dtype=pl.String).gather(hour)


def day_part_names(parts: Mapping[str, int]) -> list[str]:
    """Return the part of the day of each of the 24 local hours."""
    begins = sorted((first, name) for name, first in parts.items())
    return [max(((first, name) for first, name in begins if first <= one), default=begins[-1])[1] for one in range(24)]


def holiday_facts(dates: pl.Series, calendar: Calendar) -> dict[CalendarFact, pl.Series]:
    """Return the facts about holidays for local dates; raises as `calendar_columns` does."""
    import numpy as np
    import polars as pl

    if (installed := version("holidays")) != calendar.holidays_version:
        raise ConfigurationError(
            f"The calendar of {calendar.country} was declared with holidays {calendar.holidays_version}, but {installed} is installed, "
            "which may know other days.",
            next_step="Install that version, or register the feature set again.",
        )
    known = sorted({date.year for date in dates.drop_nulls().unique().to_list()})
    years = sorted({year + step for year in known for step in range(-_YEARS_AROUND, _YEARS_AROUND + 1)})
    found = [day for year in years for day in _holidays(calendar.country, calendar.subdivision, year) or ()]
    days = np.array(sorted(found), dtype=np.int64)
    unknown = [year for year in known if _holidays(calendar.country, calendar.subdivision, year) is None]
    today = dates.to_physical().cast(pl.Int64)
    at = today.fill_null(0).to_numpy()
    following, before = np.searchsorted(days, at, side="left"), np.searchsorted(days, at, side="right") - 1
    padded = np.append(days, 0)  # never read: what lies beyond the last holiday is missing
    told = dates.is_not_null() & ~dates.dt.year().is_in(unknown)
    frame = pl.DataFrame({
        "told": told, "to": padded[following] - at, "since": at - padded[before], "next": following < len(days), "last": before >= 0,
    })  # fmt: skip
    to, since = pl.when(pl.col("told") & pl.col("next")).then("to"), pl.when(pl.col("told") & pl.col("last")).then("since")
    facts = frame.select(to=to, since=since, holiday=pl.when("told").then(to.eq(0).fill_null(value=False)))
    return {
        CalendarFact.IS_HOLIDAY: facts["holiday"],
        CalendarFact.DAYS_TO_HOLIDAY: facts["to"],
        CalendarFact.DAYS_SINCE_HOLIDAY: facts["since"],
    }


@lru_cache(maxsize=4096)
def _holidays(country: str, subdivision: str, year: int) -> tuple[int, ...] | None:
    """Return the holidays of a year as days since 1970-01-01; None for a year of which the package knows nothing."""
    from datetime import date

    import holidays

    found = holidays.country_holidays(country, subdiv=subdivision or None, years=year, expand=False)
    if not found.start_year <= year <= found.end_year:
        return None
    epoch = date(1970, 1, 1)
    return tuple(sorted({(day - epoch).days for day in found if day.year == year}))


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, no key at all, or a folder of zones
        return False
    return True


def _unknown_place(country: str, subdivision: str) -> str:
    import holidays

    known = holidays.list_supported_countries(include_aliases=False)
    if country not in known:
        return f"'{country}' is no country whose holidays are known; use its ISO 3166 code, such as US"
    if subdivision and subdivision not in known[country]:
        return f"'{subdivision}' is no subdivision of {country}; use one of {', '.join(known[country]) or 'none'}"
    return ""
