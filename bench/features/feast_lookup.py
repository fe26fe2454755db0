"""The lookup with Feast's DuckDB offline store, in Feast's own environment. Defining and applying the views is not timed."""

from __future__ import annotations

import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

from bench.harness.measured import report

WEATHER = ("temp", "dewp", "humid", "wind_speed", "precip", "visib")


def store(folder: Path, weather: Path) -> FeatureStore:
    """Return a store in `folder` with one view: the weather of an airport, at most two days old."""
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / "registry.db"),
        repo_path=folder,
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        offline_store={"type": "duckdb"},
        entity_key_serialization_version=3,
    )
    airport = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)
    view = FeatureView(
        name="weather",
        entities=[airport],
        ttl=timedelta(days=2),
        schema=[Field(name=name, dtype=Float64) for name in WEATHER],
        source=FileSource(path=str(weather), timestamp_field="wts"),
    )
    found = FeatureStore(config=config)
    found.apply([airport, view])
    return found


def main() -> None:
    """Run: feast_lookup.py <flights> <weather> <empty folder> <result>."""
    warnings.simplefilter("ignore")
    flights, weather, folder, result = (Path(name) for name in sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    features = store(folder, weather.resolve())
    requests = pd.read_parquet(flights, columns=["flight_id", "origin", "ts"]).rename(columns={"ts": "event_timestamp"})
    begin = time.perf_counter()
    found = features.get_historical_features(entity_df=requests, features=[f"weather:{name}" for name in WEATHER]).to_df()
    report(seconds=time.perf_counter() - begin)
    found.sort_values("flight_id")[["flight_id", *WEATHER]].to_parquet(result, index=False)


if __name__ == "__main__":
    main()
