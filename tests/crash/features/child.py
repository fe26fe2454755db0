"""What is killed: a process that takes in events, and one that materialises a view. Each says what it has acknowledged."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from gateline.features import Aggregation, EventSource, LatestView, SqliteOnlineStore, WindowView
from gateline.features.engine.expressions import source_rows
from gateline.features.online.views import OnlineView, OnlineViews
from gateline.kernel.clock import DAY, HOUR, SimulatedClock
from gateline.kernel.records import Records
from gateline.ledger import Ledger, SigningKey

KEYS = 7
BATCH_ROWS = 50
START = datetime(2013, 1, 1, tzinfo=UTC)
SOURCE = EventSource(
    name="events", dataset="events", columns={name: name for name in ("id", "key", "amount", "at")}, event_time="at", available_at="at",
    event_id=("id",), lateness_seconds=60,
)  # fmt: skip
TOTALS = OnlineView(
    view=WindowView(
        name="totals", source=SOURCE, entity="key", windows=("30d",), hop="1h",
        aggregations=(Aggregation("count"), Aggregation("sum", "amount")),
    )
)  # fmt: skip
NEWEST = OnlineView(view=LatestView(name="newest", source=SOURCE, entity="key", features=("amount",), max_age="30d"))
NOW = int(START.timestamp()) * 1_000_000 + 20 * DAY


def batch(number: int) -> pl.DataFrame:
    """Return the rows of a batch; every batch spans two minutes and all keys."""
    places = range(number * BATCH_ROWS, (number + 1) * BATCH_ROWS)
    frame = pl.DataFrame(
        {
            "id": list(places),
            "key": [f"key {place % KEYS}" for place in places],
            "amount": [place % 1000 for place in places],
            "at": [START + timedelta(seconds=120 * number + place % BATCH_ROWS) for place in places],
        },
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )
    return source_rows(SOURCE, frame.lazy()).collect()


def ingest(home: Path, first: int) -> None:
    """Take in one batch after the other, and say the number of each when it is acknowledged."""
    online = OnlineViews(SqliteOnlineStore(home / "online.db"))
    number = first
    while True:
        online.take_in([TOTALS, NEWEST], batch(number), NOW)
        print(number, flush=True)
        number += 1


def backfill(home: Path) -> None:
    """Materialise the view of the shop by the minute, and say how many intervals are done."""
    from tests.unit.features.online.conftest import Shop

    ledger = Ledger(Records(f"sqlite:///{home / 'only.db'}"), SimulatedClock(), SigningKey.load_or_create(home / "keys"))
    ledger.clock.advance(12 * HOUR / 1_000_000)
    Shop(ledger, home).materialisation.run(
        "developer", "spending", interval_seconds=60, progress=lambda state: print(state.done, flush=True)
    )


if __name__ == "__main__":
    if sys.argv[1] == "ingest":
        ingest(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        backfill(Path(sys.argv[2]))
