"""Nominal times: none lost, none twice, the same from wherever one looks, through every change of clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from gateline.kernel.clock import DAY, HOUR, MINUTE, SECOND, parse_iso
from gateline.pipelines.cron import GRACE, Cron
from gateline.pipelines.schedule_model import CatchUp
from gateline.pipelines.schedule_rules import decide_due

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHANGES = [
    ("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"), ("America/New_York", "2026-03-08"),
    ("Australia/Lord_Howe", "2026-04-05"), ("Australia/Lord_Howe", "2026-10-04"), ("America/Sao_Paulo", "2018-11-04"),
    ("Asia/Beirut", "2022-03-27"), ("Pacific/Apia", "2011-12-30"), ("Africa/Casablanca", "2026-02-15"), ("Asia/Kathmandu", "2026-01-01"),
]  # fmt: skip
MINUTES = st.sampled_from(["*", "*/7", "0", "30", "5,50", "10-20/5", "*/30"])
HOURS = st.sampled_from(["*", "*/2", "0", "1", "2", "1-3", "0,2,23"])
DAYS = st.sampled_from(["* * *", "* * 0", "* * 1-5", "L * *", "29-31 * *", "*/2 * *"])
EXPRESSIONS = st.builds(lambda minute, hour, day: f"{minute} {hour} {day}", MINUTES, HOURS, DAYS)


def instant(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def between(expression: str, zone: str, after: int, until: int) -> list[int]:
    return list(takewhile(lambda one: one <= until, Cron(expression, zone).times(after)))


def by_hand(expression: str, zone: str, after: int, until: int) -> list[int]:
    """Look at the clock on the wall at every minute; times of day that it never shows are due when it goes on."""
    place, found, shown = ZoneInfo(zone), set(), set()
    minute, hour = expression.split()[:2]
    fixed = not minute.startswith("*") and not hour.startswith("*")
    matching = set()
    start = (EPOCH + timedelta(microseconds=after - 2 * DAY)).replace(tzinfo=None)
    for local in takewhile(lambda one: one < start + timedelta(days=8), CronSim(expression, start)):
        matching.add(local)
    previous = None
    for at in range(after - DAY - after % MINUTE, until + MINUTE, MINUTE):
        wall = (EPOCH + timedelta(microseconds=at)).astimezone(place).replace(tzinfo=None)
        if fixed and previous is not None and wall - previous > timedelta(minutes=1):
            found |= {at for one in matching if previous < one < wall}
        if wall in matching and not (fixed and wall in shown):
            found.add(at)
        shown.add(wall)
        previous = wall
    return sorted(at for at in found if after < at <= until)


@given(EXPRESSIONS, st.sampled_from(CHANGES), st.integers(0, 3 * 24 * 60))
@settings(max_examples=60)
def test_times_are_those_that_the_clock_on_the_wall_shows(expression: str, change: tuple[str, str], shift: int) -> None:
    zone, day = change
    after = parse_iso(f"{day}T00:00:00Z") - 2 * DAY + shift * MINUTE
    assert between(expression, zone, after, after + 2 * DAY) == by_hand(expression, zone, after, after + 2 * DAY)


@given(EXPRESSIONS, st.sampled_from(CHANGES), st.lists(st.integers(1, 200_000), min_size=1, max_size=8))
@settings(max_examples=60)
def test_whoever_looks_in_pieces_sees_what_one_look_sees(expression: str, change: tuple[str, str], seconds: list[int]) -> None:
    zone, day = change
    begin = mark = parse_iso(f"{day}T00:00:00Z") - DAY
    pieces = []
    for one in seconds:
        pieces += between(expression, zone, mark, mark + one * SECOND)
        mark += one * SECOND
    whole = between(expression, zone, begin, mark)
    assert pieces == whole
    assert all(earlier < later for earlier, later in pairwise(whole))


@given(EXPRESSIONS, st.sampled_from(CHANGES), st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)))
@settings(max_examples=60)
def test_the_next_time_is_always_later(expression: str, change: tuple[str, str], moment: datetime) -> None:
    after = instant(moment.replace(tzinfo=UTC))
    times = list(islice(Cron(expression, change[0]).times(after), 5))
    assert len(set(times)) == 5
    assert times == sorted(times)
    assert times[0] > after


@given(
    st.lists(st.integers(1, 3 * 86_400), max_size=60), st.lists(st.integers(1, 86_400), min_size=1, max_size=12),
    st.sampled_from(CatchUp), st.integers(1, 20), st.integers(1, 30),
)  # fmt: skip
def test_each_nominal_time_is_run_or_skipped_exactly_once(
    gaps: list[int], looks: list[int], policy: CatchUp, most: int, at_once: int
) -> None:
    """Whenever somebody looks, and however few times can be looked at in one pass."""
    times = [sum(gaps[: place + 1]) * SECOND for place in range(len(gaps))]
    now, mark, run, skipped = 0, 0, [], []
    for look in [*looks, 10**9]:
        now += look * SECOND
        bound = max(at_once, most + 1)
        while True:
            due = [one for one in times if mark < one <= now]
            decided = decide_due(due[:bound], now, policy, most, complete=len(due) <= bound)
            run += decided.run
            skipped += decided.skipped
            mark = decided.done_until or mark
            if len(due) <= bound:
                break
        if policy is CatchUp.NONE:
            assert all(now - one <= GRACE for one in decided.run)
        assert len(decided.run) <= (most if policy is CatchUp.ALL else 1)
    assert sorted(run + skipped) == times


@pytest.mark.parametrize(
    ("expression", "zone", "day", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-29", [1 * HOUR]),
        ("0,30 2-3 * * *", "Europe/Berlin", "2026-03-29", [1 * HOUR, 1 * HOUR + 30 * MINUTE]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25", [30 * MINUTE]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-10-25", [0, 30 * MINUTE, HOUR, HOUR + 30 * MINUTE]),
        ("0 * * * *", "Europe/Berlin", "2026-03-29", [hour * HOUR for hour in range(24)]),
    ],
    ids=["does not exist", "several in a gap", "exists twice", "every half hour, twice", "hourly is hourly"],
)
def test_changes_of_clocks_have_the_outcome_that_is_documented(expression: str, zone: str, day: str, expected: list[int]) -> None:
    start = parse_iso(f"{day}T00:00:00Z")
    assert between(expression, zone, start - 1, start + DAY - 1) == [start + one for one in expected]
