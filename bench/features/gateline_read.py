"""The read of online features as users reach it, service and HTTP. Arguments: an empty folder."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from bench.features.online_case import KEYS, NAMES, values
from bench.harness.measured import report
from gateline.features import EventSource, FeatureSet, LatestView
from gateline.sdk.client import Client
from gateline.sdk.data import register_dataset
from gateline.sdk.features import register_feature_set
from gateline.sdk.online import materialise, online_features

ENTITIES = 1_000
REPEATS = 300
scratch = Path(sys.argv[1]).resolve()
home = scratch / "home"


def prepared() -> None:
    """Register 1,000 entities with 20 fractions each, and bring them online."""
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    content = values()[:ENTITIES]
    rows = pl.DataFrame({"k": KEYS[:ENTITIES], "at": [at] * ENTITIES, **{name: content[:, place] for place, name in enumerate(NAMES)}})
    rows.write_parquet(scratch / "rows.parquet")
    rows.select(pl.int_range(pl.len()).alias("id"), "k", "at").write_parquet(scratch / "asked.parquet")
    source = EventSource(
        name="rows", dataset="rows", columns={name: name for name in ("k", "at", *NAMES)}, event_time="at", available_at="at",
        event_id=("k", "at"),
    )  # fmt: skip
    spine = EventSource(name="asked", dataset="asked", columns={"id": "id", "k": "k", "at": "at"}, event_time="at", available_at="at")
    view = LatestView(name="newest", source=source, entity="k", features=tuple(NAMES), max_age="1d")
    with Client(home=home) as client:
        for name in ("rows", "asked"):
            register_dataset(client, name, scratch / f"{name}.parquet", source="drawn at random", licence="CC0-1.0")
        register_feature_set(client, FeatureSet(name="bench", spine=spine, entity="id", time="at", views=(view,)))
        materialise(client, "newest")


def timed(client: Client, entities: int) -> float:
    """Return the median time of reading so many entities, in microseconds."""
    asked = [{"k": key} for key in KEYS[:entities]]
    for _ in range(20):
        answer = online_features(client, ["newest"], asked)
    if not all(row["views"]["newest"]["state"] == "ok" for row in answer["rows"]):
        raise SystemExit(f"Values are missing: {answer['rows'][0]}")
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        online_features(client, ["newest"], asked)
        found.append((time.perf_counter() - started) * 1e6)
    return statistics.median(found)


def both(where: str, client: Client) -> dict[str, float]:
    """Return the medians of one and of a hundred entities."""
    return {f"{where}_one_us_p50": timed(client, 1), f"{where}_hundred_us_p50": timed(client, 100)}


def served(read: Callable[[Client], dict[str, float]]) -> dict[str, float]:
    """Return what is read from `gateline up`."""
    command = [sys.executable, "-m", "gateline", "up", "--port", "0"]
    environment = {**os.environ, "GATELINE_HOME": str(home), "GATELINE_WORKERS": "0", "GATELINE_SERVING_PORT": "0"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        if process.stdout is None or not process.stdout.readline():
            raise SystemExit("gateline up did not start")
        with Client(home=home) as client:
            return read(client)
    finally:
        process.terminate()
        process.communicate()


os.environ["GATELINE_MLFLOW"] = "false"
prepared()
with Client(home=home) as local:
    result = both("process", local)
report(**result, **served(lambda client: both("http", client)))
