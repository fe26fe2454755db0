"""Local time, weekends and holidays: known days of several countries, and the same for one row as for a table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateline.data import ColumnType
from gateline.features import Calendar, CalendarFact, CalendarView, KnownAt, LeakKind, compute, find_leaks
from gateline.features.declarations import calendars
from gateline.features.declarations.calendars import CalendarPart, calendar_columns
from gateline.features.declarations.request_views import OnDemandView
from gateline.features.declarations.views import view_fingerprint
from gateline.features.engine.checking import check_plan
from gateline.features.model import FeatureSet
from gateline.features.rules import set_mistakes
from gateline.kernel.errors import ConfigurationError
from tests.unit.features.conftest import SET

NEW_YORK = Calendar(zone="America/New_York", country="US", subdivision="NY")
RIYADH = Calendar(zone="Asia/Riyadh", country="SA", weekend=("friday", "saturday"))
INSTANT = pl.Datetime("us", "UTC")
VIEW = CalendarView(name="local", calendar=NEW_YORK, features=tuple(CalendarFact))


def told(calendar: Calendar, *instants: datetime | None) -> list[dict]:
    part = CalendarPart(name="local", calendar=calendar, time="t", facts={fact.value: fact for fact in CalendarFact})
    return pl.DataFrame(calendar_columns(pl.Series(instants, dtype=INSTANT), part)).to_dicts()


def test_the_facts_of_independence_day_in_new_york():
    assert told(NEW_YORK, datetime(2013, 7, 4, 16, 30, tzinfo=UTC)) == [
        {
            "day_part": "afternoon", "days_since_holiday": 0, "days_to_holiday": 0, "hour": 12, "is_holiday": True, "is_weekend": False,
            "month": 7, "weekday": 4,
        }
    ]  # fmt: skip


def test_the_day_is_the_local_one():
    late, early = told(NEW_YORK, datetime(2013, 7, 5, 3, 59, tzinfo=UTC), datetime(2013, 7, 5, 4, tzinfo=UTC))
    assert (late["hour"], late["is_holiday"], late["weekday"]) == (23, True, 4)
    assert (early["hour"], early["is_holiday"], early["weekday"]) == (0, False, 5)
    assert (early["days_since_holiday"], early["days_to_holiday"]) == (1, 59)  # Labor Day is on 2 September


@pytest.mark.parametrize(
    ("instant", "hour"),
    [
        (datetime(2013, 3, 10, 6, 59, tzinfo=UTC), 1),
        (datetime(2013, 3, 10, 7, 0, tzinfo=UTC), 3),  # 2 o'clock does not exist
        (datetime(2013, 11, 3, 5, 30, tzinfo=UTC), 1),
        (datetime(2013, 11, 3, 6, 30, tzinfo=UTC), 1),  # 1 o'clock comes twice
        (datetime(2013, 11, 3, 7, 30, tzinfo=UTC), 2),
    ],
)
def test_the_hour_follows_daylight_saving(instant, hour):
    assert told(NEW_YORK, instant)[0]["hour"] == hour


def test_a_weekend_may_be_friday_and_saturday():
    days = [datetime(2026, 6, day, 9, tzinfo=UTC) for day in range(1, 8)]  # Monday to Sunday
    assert [one["is_weekend"] for one in told(RIYADH, *days)] == [False, False, False, False, True, True, False]
    assert [one["is_weekend"] for one in told(NEW_YORK, *days)] == [False] * 5 + [True, True]


@pytest.mark.parametrize(
    ("calendar", "day", "holiday"),
    [
        (NEW_YORK, datetime(2013, 11, 28, 17, tzinfo=UTC), True),  # Thanksgiving: the fourth Thursday
        (NEW_YORK, datetime(2013, 11, 21, 17, tzinfo=UTC), False),
        (RIYADH, datetime(2026, 3, 20, 9, tzinfo=UTC), True),  # Eid al-Fitr moves by eleven days a year
        (RIYADH, datetime(2025, 3, 30, 9, tzinfo=UTC), True),
        (RIYADH, datetime(2026, 3, 30, 9, tzinfo=UTC), False),
        (Calendar(zone="Europe/Berlin", country="DE"), datetime(2024, 3, 29, 9, tzinfo=UTC), True),  # Good Friday
        (Calendar(zone="Europe/Berlin", country="DE"), datetime(2025, 4, 18, 9, tzinfo=UTC), True),
        (Calendar(zone="Europe/Berlin", country="DE", subdivision="BY"), datetime(2025, 1, 6, 9, tzinfo=UTC), True),
        (Calendar(zone="Europe/Berlin", country="DE", subdivision="BE"), datetime(2025, 1, 6, 9, tzinfo=UTC), False),
    ],
)
def test_movable_feasts_and_regions_are_known(calendar, day, holiday):
    assert told(calendar, day)[0]["is_holiday"] is holiday


def test_holidays_of_years_around_are_seen():
    (found,) = told(NEW_YORK, datetime(2013, 12, 31, 17, tzinfo=UTC))
    assert (found["days_to_holiday"], found["days_since_holiday"]) == (1, 6)


def test_parts_of_the_day_go_around_the_clock():
    calendar = replace(NEW_YORK, zone="UTC", day_parts={"day": 7, "night": 22})
    hours = [told(calendar, datetime(2013, 1, 1, hour, tzinfo=UTC))[0]["day_part"] for hour in (0, 6, 7, 21, 22, 23)]
    assert hours == ["night", "night", "day", "day", "night", "night"]


def test_a_missing_instant_and_a_year_without_calendar_have_no_holidays():
    missing, early = told(replace(RIYADH, zone="UTC"), None, datetime(1, 6, 1, tzinfo=UTC))
    assert set(missing.values()) == {None}
    assert {early[fact] for fact in ("is_holiday", "days_to_holiday")} <= {None, False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calendars, "_holidays", lambda country, subdivision, year: None if year == 2013 else ())
        unknown, none = told(NEW_YORK, datetime(2013, 7, 4, 16, tzinfo=UTC), datetime(2016, 7, 4, 16, tzinfo=UTC))
    assert [unknown[fact] for fact in ("is_holiday", "days_to_holiday", "days_since_holiday")] == [None] * 3
    assert [none[fact] for fact in ("is_holiday", "days_to_holiday", "days_since_holiday")] == [False, None, None]


@given(st.lists(st.one_of(st.none(), st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))), max_size=30))
def test_one_row_is_computed_as_a_table_is(instants):
    for calendar in (NEW_YORK, RIYADH):
        assert told(calendar, *instants) == [row for instant in instants for row in told(calendar, instant)]


@given(st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))
def test_distances_lead_to_holidays(instant):
    (found,) = told(NEW_YORK, instant)
    ahead, back = (told(NEW_YORK, instant_in(days, instant))[0] for days in (found["days_to_holiday"], -found["days_since_holiday"]))
    assert ahead["is_holiday"]
    assert back["is_holiday"]
    assert found["is_holiday"] == (found["days_to_holiday"] == 0) == (found["days_since_holiday"] == 0)


def instant_in(days: int, instant: datetime) -> datetime:
    """Return the same local hour some days on, where an hour more or less from daylight saving stays on the day."""
    local = instant.astimezone(ZoneInfo("America/New_York")).replace(hour=12)
    return (local + timedelta(days=days)).astimezone(UTC)


def with_calendar(**changes) -> FeatureSet:
    return replace(SET, views=(replace(VIEW, **changes),))


def test_a_set_computes_its_calendar_and_on_demand_features_may_read_it(tables):
    rush = OnDemandView(name="rush", function=lambda local_hour, amount: {"rush": (local_hour < 9) & (amount > 5)})
    asked = replace(SET, views=(*with_calendar().views, rush))
    found = compute(asked, tables)
    assert found["local_hour"].to_list() == [7, 7, 7]
    assert found["local_is_holiday"].to_list() == [True] * 3
    assert found["rush"].to_list() == [True] * 3
    schemas = {"orders": {
        "id": ColumnType.STRING, "shop": ColumnType.STRING, "asked": ColumnType.DATETIME, "amount": ColumnType.INT64,
        "late": ColumnType.BOOLEAN, "settled": ColumnType.DATETIME,
    }}  # fmt: skip
    columns = check_plan(asked.plan, schemas)
    names = {"Int64": "int64", "Boolean": "boolean", "String": "string", "Float64": "float64"}
    assert {one.name: one.dtype for one in columns} == {name: names[str(found.schema[name])] for name in asked.features}


def test_a_calendar_of_an_instant_that_is_not_yet_known_is_a_leak(tables):
    spine = replace(SET.spine, columns={**SET.spine.columns, "settled": "settled"})
    fact = KnownAt(dataset="orders", columns=("settled",), sql="settled")
    late = replace(with_calendar(time="settled", features=("hour",)), spine=spine, label=replace(SET.label, source=spine), known_at=(fact,))
    assert [(leak.kind, leak.feature) for leak in find_leaks(late, tables, seed=1)] == [(LeakKind.BEFORE_KNOWN, "local_hour")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": ("hours",)}, "'hours' is no fact; use one of hour, weekday"),
        ({"features": ()}, "has no features"),
        ({"time": "askt"}, "calendar 'local', time: 'askt' is not among the spine columns (did you mean 'asked'?)"),
        ({"calendar": Calendar(zone="America/New_Yrok")}, "'America/New_Yrok' is no IANA time zone"),
        ({"calendar": Calendar(zone="")}, "is no IANA time zone"),
        ({"calendar": Calendar(zone="UTC")}, "is_holiday needs the country of the calendar"),
        ({"calendar": Calendar(zone="UTC", country="XX")}, "'XX' is no country whose holidays are known"),
        ({"calendar": Calendar(zone="UTC", country="US", subdivision="XX")}, "'XX' is no subdivision of US"),
        ({"calendar": Calendar(zone="UTC", subdivision="NY")}, "subdivision 'NY' has no country"),
        ({"calendar": replace(NEW_YORK, weekend=("sunday", "holiday"))}, "holiday is no weekday"),
        ({"calendar": replace(NEW_YORK, day_parts={})}, "parts of the day need different first hours"),
        ({"calendar": replace(NEW_YORK, day_parts={"day": 6, "night": 24})}, "parts of the day need different first hours"),
        ({"calendar": replace(NEW_YORK, day_parts={"day": 6, "dusk": 6})}, "parts of the day need different first hours"),
    ],
)
def test_a_mistake_in_a_calendar_is_told_in_words(change, words):
    assert words in "; ".join(set_mistakes(with_calendar(**change)))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "there"},
        {"time": "asked"},
        {"features": ("hour",)},
        {"features": {"clock": "hour"}},
        *({"calendar": replace(NEW_YORK, **one)} for one in (
            {"zone": "UTC"}, {"country": "CA", "subdivision": ""}, {"subdivision": "NJ"}, {"weekend": ("friday",)},
            {"day_parts": {"day": 0}}, {"holidays_version": "0.1"},
        )),
    ],
)  # fmt: skip
def test_everything_that_decides_values_is_part_of_the_fingerprint(change):
    assert view_fingerprint(replace(VIEW, **change)) != view_fingerprint(VIEW)
    assert view_fingerprint(replace(VIEW, owner="team", description="told", tags=("time",))) == view_fingerprint(VIEW)


def test_another_version_of_the_holidays_is_refused_where_it_matters():
    other = replace(NEW_YORK, holidays_version="0.1")
    with pytest.raises(ConfigurationError, match=r"declared with holidays 0.1, but .* is installed"):
        told(other, datetime(2013, 7, 4, tzinfo=UTC))
    part = CalendarPart(name="local", calendar=other, time="t", facts={"hour": "hour"})
    assert calendar_columns(pl.Series([datetime(2013, 7, 4, 16, tzinfo=UTC)], dtype=INSTANT), part)[0].to_list() == [12]
