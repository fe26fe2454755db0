"""Processes are killed while events are taken in and while a view is materialised; nothing is lost, and nothing counts twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateline.features import SqliteOnlineStore
from gateline.features.online.rows import key_text
from gateline.features.online.views import OnlineViews
from gateline.features.records.views import backfilled
from gateline.kernel.clock import parse_iso
from tests.crash.features.child import BATCH_ROWS, KEYS, NEWEST, NOW, TOTALS, batch
from tests.unit.features.online.conftest import opened

ROOT = Path(__file__).resolve().parents[3]
KILLS = 4
HEADER = "id,shop,amount,paid,known\n"


def killed_after(lines: int, *arguments: str) -> list[int]:
    """Start the child, kill it once it has said so many lines, and return all it said."""
    command = [sys.executable, "-m", "tests.crash.features.child", *arguments]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = []
    for line in child.stdout:
        said.append(int(line))
        if len(said) == lines:
            child.kill()
    child.stdout.close()
    child.wait()
    return said


def totals(store: SqliteOnlineStore) -> tuple[int, int]:
    """Return count and sum over all keys."""
    readings = OnlineViews(store).read(TOTALS, [key_text([f"key {place}"]) for place in range(KEYS)], NOW)
    return sum(one.values[0] for one in readings), sum(one.values[1] or 0 for one in readings)


@pytest.mark.slow
def test_killing_a_writer_loses_no_acknowledged_batch_and_counts_none_twice(home):
    acknowledged = 0
    for kill in range(KILLS):
        said = killed_after(5 + 3 * kill, "ingest", str(home), str(acknowledged))
        acknowledged = said[-1] + 1
        store = SqliteOnlineStore(home / "online.db")
        count, total = totals(store)
        whole, rest = divmod(count, BATCH_ROWS)
        assert rest == 0, "half a batch is in the store"
        assert whole in {acknowledged, acknowledged + 1}
        assert total == sum(place % 1000 for place in range(count))
        store.close()
    store = SqliteOnlineStore(home / "online.db")
    online = OnlineViews(store)
    for number in (0, *range(max(0, acknowledged - 20), acknowledged + 1), acknowledged, acknowledged - 1):  # the caller sends all again
        online.take_in([TOTALS, NEWEST], batch(number), NOW)
    rows = (acknowledged + 1) * BATCH_ROWS
    assert totals(store) == (rows, sum(place % 1000 for place in range(rows)))
    newest = online.read(NEWEST, [key_text([f"key {(rows - 1) % KEYS}"])], NOW)[0]
    assert newest.values == ((rows - 1) % 1000,)
    store.close()


@pytest.mark.slow
def test_killing_a_backfill_loses_no_interval_and_counts_none_twice(sqlite_ledger, home):
    shop = opened(sqlite_ledger, home)
    instants = [f"2013-01-01T{10 + place // 60:02}:{place % 60:02}:30Z" for place in range(100)]
    shop.add("payments", HEADER + "".join(f"{place},a,{place},{at},{at}\n" for place, at in enumerate(instants)))
    done = 0
    for _ in range(KILLS):
        said = killed_after(7, "backfill", str(home))
        with sqlite_ledger.records.read() as session:
            intervals = backfilled(session, "spending@1")
        assert len({(one.start, one.end) for one in intervals}) == len(intervals)
        assert len(intervals) >= done + len(said)
        done = len(intervals)
    shop.materialise("spending")
    at = parse_iso("2013-01-01T11:40:00Z")
    (row,) = shop.online.read_views(["spending"], [{"shop": "a"}], at)["rows"]
    assert row["features"] == {
        "spending_sum_amount_1h": sum(range(40, 100)), "spending_sum_amount_4h": sum(range(100)), "spending_count_1h": 60,
        "spending_count_4h": 100,
    }  # fmt: skip
    shop.store.close()
