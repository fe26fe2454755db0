"""Gateline's SQLite online store in process. Arguments: an empty folder."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from online_case import ENTITIES, KEYS, NAMES, report, values

from gateline.features import EventSource, LatestView, SqliteOnlineStore
from gateline.features.online.rows import key_text
from gateline.features.online.views import OnlineView, OnlineViews

source = EventSource(
    name="rows", dataset="rows", columns={name: name for name in ("k", "at", *NAMES)}, event_time="at", available_at="at",
    event_id=("k", "at"),
)  # fmt: skip
view = OnlineView(view=LatestView(name="bench", source=source, entity="k", features=tuple(NAMES), max_age="1d"))
now = datetime.now(UTC)
content = values()
frame = pl.DataFrame(
    {"k": KEYS, "at": [now - timedelta(hours=1)] * ENTITIES, **{name: content[:, at] for at, name in enumerate(NAMES)}},
    schema_overrides={"at": pl.Datetime("us", "UTC")},
)
store = SqliteOnlineStore(Path(sys.argv[1]) / "online.db")
views = OnlineViews(store)
instant = int(now.timestamp() * 1e6)
started = time.perf_counter()
views.take_in([view], frame, instant)
rate = ENTITIES / (time.perf_counter() - started)
text = {key: key_text([key]) for key in KEYS}
report(rate, lambda keys: views.read(view, [text[key] for key in keys], instant), one=2_000, hundred=300)
store.close()
