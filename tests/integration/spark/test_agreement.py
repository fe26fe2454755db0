"""Spark and Polars give the same rows by logical digest: on generated tables full of edges, and on the real flights."""

from __future__ import annotations

import datetime as dt
import math
import random
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gateline.adapters.spark import compute_on_spark
from gateline.adapters.spark.almanac import clock_changes
from gateline.data import frame_digest
from gateline.features import (
    Aggregation,
    Calendar,
    CalendarFact,
    CalendarView,
    EventSource,
    FeatureSet,
    LatestView,
    LookupView,
    OnDemandView,
    WindowView,
    compute,
    instant,
)
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import InvalidInput

BEGIN = dt.datetime(2013, 3, 10, 6, tzinfo=dt.UTC)  # an hour before clocks change in New York
CASES = 60
INSTANT = pl.Datetime("us", "UTC")
# Each case draws its fractions from one of these: what sums, squares, hashes and orders could lose.
FRACTIONS = (
    [0.1, 0.2, 0.3, -0.6],
    [0.0, -0.0, None],
    [1e16, 1.0, -1e16, 0.5],
    [math.nan, math.inf, -math.inf, 2.5, None],
    [1234567890123456.78, 0.01, -1234567890123456.78, 99.99],
    [1e300, -1e300, 3.0],
    [5e-324, -5e-324, 1e-310],
    [1000000.1, 1000000.1],
)
LARGE = [2**53, 2**53 + 1, 2**63 - 1, -(2**63), None]  # neighbours beyond 2^53 are one fraction
REQUESTS = EventSource(
    name="requests", dataset="requests", columns={name: name for name in ("id", "k", "asked", "seen")}, event_time="asked",
    available_at="asked",
)  # fmt: skip
EVENTS = EventSource(
    name="events",
    dataset="events",
    columns={name: name for name in ("k", "event", "happened", "known", "n", "m", "large", "x", "y", "word", "flag", "day")},
    event_time="happened",
    available_at="known",
    tie_breaker=("m",),
    event_id=("event",),
)
PLACES = EventSource(
    name="places", dataset="places", columns={"k": "k", "size": "size", "known": instant("2013-03-10T06:05:00Z")}, event_time="known",
    available_at="known",
)  # fmt: skip
AGGREGATIONS = (
    *(Aggregation("count", column) for column in ("n", "x", "word", "flag", "day", "k")),
    *(Aggregation(name, column) for name in ("sum", "mean", "var", "std", "min", "max") for column in ("n", "x")),
    *(Aggregation(name, column) for name in ("first", "last", "approx_distinct") for column in ("n", "x", "word", "flag")),
    *(Aggregation(name, "large") for name in ("var", "std", "min", "max")),
    Aggregation("last_k", "x", k=2), Aggregation("last_k", "word", k=3), Aggregation("ratio", "n", denominator="m"),
    Aggregation("ratio", "x", denominator="y"), Aggregation("ratio", "m", denominator="x"),
)  # fmt: skip
NEW_YORK = Calendar(zone="America/New_York", country="US", subdivision="NY")
KABUL = Calendar(zone="Asia/Kabul", weekend=("friday",), day_parts={"late": 3, "early": 13})
SMALL = FeatureSet(
    name="small",
    spine=REQUESTS,
    entity="id",
    time="asked",
    views=(
        WindowView(name="w", source=EVENTS, entity="k", aggregations=AGGREGATIONS, windows=("60s",)),
        WindowView(name="h", source=EVENTS, entity="k", aggregations=AGGREGATIONS, windows=("70s",), hop="50s", offset="20s"),
        LatestView(name="fresh", source=EVENTS, entity="k", features=("n", "x", "word", "flag"), max_age="2m"),
        LookupView(name="place", source=PLACES, entity="k", features=("size",)),
        CalendarView(name="here", calendar=NEW_YORK, time="seen", features=tuple(CalendarFact)),
        CalendarView(name="there", calendar=KABUL, time="asked", features=("hour", "weekday", "is_weekend", "day_part")),
        OnDemandView(
            name="both",
            expressions={
                "late": "here_hour > 12 AND w_count_n_1m > 0",
                "third": "h_mean_x_70s / 3",
                "minutes": "(seen - asked) / INTERVAL '7 minutes'",
            },
        ),
    ),
    slices=("seen",),
)


def moment(seconds: float) -> dt.datetime:
    return BEGIN + dt.timedelta(seconds=seconds)


def generated(case: int) -> tuple[list[dict], list[dict]]:
    """Events and requests of one case, on a coarse grid of times; its key is its own."""
    draw = random.Random(case)
    fractions = FRACTIONS[case % len(FRACTIONS)]
    events = []
    for place in range(draw.choice([0, 1, 2, 14])):
        happened = draw.randrange(0, 300, 10)
        events.append({
            "k": f"case {case}" if draw.random() < 0.95 else None, "event": f"{case}-{place}", "happened": moment(happened),
            "known": None if draw.random() < 0.03 else moment(happened + draw.choice([0, 0, 20, 100])),
            "n": draw.choice([None, -2, 0, 7, 3_000_000_000]), "m": draw.choice([None, -1, 0, 1]), "large": draw.choice(LARGE),
            "x": draw.choice(fractions), "y": draw.choice([None, 0.5, -0.5, 0.1]), "word": draw.choice([None, "", "é", "z", "Z"]),
            "flag": draw.choice([None, True, False]), "day": draw.choice([None, dt.date(2013, 3, 10)]),
        })  # fmt: skip
    twice = [event for event in events if draw.random() < 0.1]
    requests = [
        {"id": f"{case}-{place}", "k": draw.choice([f"case {case}"] * 9 + [None]), "asked": moment(draw.randrange(0, 420, 10)),
         "seen": draw.choice([None, moment(draw.randrange(-(10**7), 10**7)), moment(3600), moment(3599.999999)])}
        for place in range(6)
    ]  # fmt: skip
    return [*events, *twice], requests


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("generated")
    cases = [generated(case) for case in range(CASES)]
    events = pl.DataFrame([event for one, _ in cases for event in one], schema_overrides={"happened": INSTANT, "known": INSTANT})
    requests = pl.DataFrame([request for _, one in cases for request in one], schema_overrides={"asked": INSTANT, "seen": INSTANT})
    places = pl.DataFrame({"k": [f"case {case}" for case in range(0, CASES, 2)], "size": [None, 3, 5] * (CASES // 6)})
    for name, frame in (("events", events), ("requests", requests), ("places", places)):
        frame.write_parquet(folder / f"{name}.parquet")
    return {name: [folder / f"{name}.parquet"] for name in ("events", "requests", "places")}


def test_generated_tables_have_one_digest(spark, files):
    expected = compute(SMALL, files)
    assert all(expected[name].null_count() < expected.height for name in SMALL.plan.features)
    found = compute_on_spark(SMALL, files, session=spark)
    assert_frame_equal(found, expected, check_exact=True)
    assert frame_digest(found) == frame_digest(expected)
    in_pieces = compute(SMALL, files, partition_rows=40)  # nor does it matter in which pieces Polars computes them
    assert frame_digest(in_pieces) == frame_digest(expected)


def test_events_without_an_id_and_different_events_under_one_are_refused_by_both(spark, files):
    view = LatestView(name="fresh", source=EVENTS, entity="k", features=("n",), max_age="2m")
    case = next(case for case in range(10) if len({event["event"] for event in generated(case)[0]}) > 10)
    wrong = {f"NULLIF(event, '{case}-5')": "rows have no event id", "LEFT(event, 2)": "different rows have the same event id"}
    for event, told in wrong.items():
        source = replace(EVENTS, columns={**EVENTS.columns, "event": event}, where=f"STARTS_WITH(event, '{case}-')")
        asked = replace(SMALL, views=(replace(view, source=source),), slices=())
        for engine in (compute, lambda *given: compute_on_spark(*given, session=spark)):
            with pytest.raises(InvalidInput, match=told):
                engine(asked, files)


def test_many_distinct_values_have_the_same_estimate(spark, tmp_path):
    count = 3000
    draw = random.Random(5)
    requests = pl.DataFrame({"id": [str(one) for one in range(40)], "k": "a", "asked": [moment(one * 10) for one in range(40)]})
    requests.with_columns(pl.col("asked").alias("seen")).write_parquet(tmp_path / "requests.parquet")
    times = [moment(draw.randrange(400)) for _ in range(count)]
    events = {
        "k": ["a"] * count, "event": [str(one) for one in range(count)], "happened": times, "known": times, "n": range(count),
        "m": [place % 256 for place in range(count)], "large": range(count),
        "x": [draw.choice([0.0, -0.0, place / 7]) for place in range(count)],
        "y": [0.5] * count, "word": [f"w{place % 400}" for place in range(count)], "flag": [True] * count, "day": [None] * count,
    }  # fmt: skip
    pl.DataFrame(events, schema_overrides={"day": pl.Date}).write_parquet(tmp_path / "events.parquet")
    distinct = tuple(Aggregation("approx_distinct", column) for column in ("n", "m", "x", "word"))
    views = (
        WindowView(name="w", source=EVENTS, entity="k", aggregations=distinct, windows=("60s", "10m")),
        WindowView(name="h", source=EVENTS, entity="k", aggregations=distinct, windows=("2m",), hop="50s"),
    )
    files = {name: [tmp_path / f"{name}.parquet"] for name in ("requests", "events")}
    asked = replace(SMALL, views=views, slices=())
    expected = compute(asked, files)
    assert frame_digest(compute_on_spark(asked, files, session=spark)) == frame_digest(expected)
    last = expected.row(-1, named=True)
    assert (last["w_approx_distinct_m_10m"], 2000 < last["w_approx_distinct_n_10m"] < 4000) == (256, True)


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Monrovia", "UTC"])
def test_the_clocks_of_a_zone_are_those_of_polars(zone):
    first, last = (int(dt.datetime(year, 1, 1, tzinfo=dt.UTC).timestamp()) * SECOND for year in (1965, 2015))
    changes = clock_changes(zone, first, last)
    edges = [instant + step for instant, _ in changes[1:] for step in (-1, 0, 1)]
    draw = random.Random(3)
    for asked in [first, last, *edges, *(draw.randrange(first, last) for _ in range(300))]:
        ahead = [ahead for begin, ahead in changes if begin <= asked][-1]
        there = pl.Series([asked]).cast(INSTANT).dt.convert_time_zone(zone).dt.replace_time_zone(None).cast(pl.Int64).item()
        assert asked + ahead == there
