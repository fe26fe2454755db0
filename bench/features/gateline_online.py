"""Gateline's SQLite online store in process. Arguments: an empty folder."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from bench.features.online_case import ENTITIES, KEYS, NAMES, report_reads, values
from gateline.features import EventSource, LatestView, SqliteOnlineStore
from gateline.features.online.rows import key_text
from gateline.features.online.views import OnlineView, OnlineViews

source = EventSource(
    name="rows", dataset="rows", columns={name: name for name in ("k", "at", *NAMES)}, event_time="at", available_at="at",
    event_id=("k", "at"),
)  # fmt: skip
view = OnlineView(view=LatestView(name="bench", source=source, entity="k", features=tuple(NAMES), max_age="1d"))
now = datetime.now(UTC)
instant = int(now.timestamp() * 1e6)


def taken_in(name: str, keys: list[str]) -> tuple[SqliteOnlineStore, float]:
    """Return a store with a row of each key, and how many rows were taken in per second."""
    content = values(len(keys))
    frame = pl.DataFrame(
        {"k": keys, "at": [now - timedelta(hours=1)] * len(keys), **{name: content[:, at] for at, name in enumerate(NAMES)}},
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )
    store = SqliteOnlineStore(Path(sys.argv[1]) / name)
    started = time.perf_counter()
    OnlineViews(store).take_in([view], frame, instant)
    return store, len(keys) / (time.perf_counter() - started)


store, rate = taken_in("online.db", KEYS)
many, many_rate = taken_in("many.db", [f"M{number:06d}" for number in range(10 * ENTITIES)])
many.close()
views = OnlineViews(store)
text = {key: key_text([key]) for key in KEYS}
report_reads(
    {"rows_per_second": rate, "many_rows_per_second": many_rate},
    lambda keys: views.read(view, [text[key] for key in keys], instant),
    one=2_000,
    hundred=300,
)
store.close()
