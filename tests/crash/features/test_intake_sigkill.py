"""Processes are killed while events go into the dataset and online: nothing acknowledged is lost on either side, nothing is there twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from gateline.kernel.clock import HOUR, parse_iso
from tests.crash.features.intake_child import BATCH_ROWS, batch
from tests.support.features_oracle import same
from tests.unit.features.online.conftest import SENDER, SHOPPING, fed_shop

ROOT = Path(__file__).resolve().parents[3]
ORDERS = "id,shop,asked,amount\n" + "".join(
    f"{shop}{at},{shop},2013-01-01T{at}:00Z,3\n" for shop in "abcz" for at in ("11:59", "12:00", "12:40", "15:00")
)  # fmt: skip
NOON = parse_iso("2013-01-01T12:00:00Z")
KILLS = 4


@pytest.fixture
def shop(sqlite_ledger, home):
    found = fed_shop(sqlite_ledger, home, orders=ORDERS)
    yield found
    found.store.close()


def killed(home, *arguments: str, lines: int = 0) -> list[int]:
    """Start the child, kill it once it has said so many lines unless it ends itself, and return what it said."""
    command = [sys.executable, "-m", "tests.crash.features.intake_child", str(home), *arguments]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = []
    for line in child.stdout:
        said.append(int(line))
        if len(said) == lines:
            child.kill()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    return said


def ids(shop) -> list[int]:
    version = shop.spool.cut("developer", "payments")
    return [one for one in pl.read_parquet(shop.datasets.table_paths(version))["id"].to_list() if one >= 100]


def online(shop) -> list[dict[str, object]]:
    orders = pl.read_csv(ORDERS.encode()).to_dicts()
    return [
        shop.online.read_set(shop.version, [{"shop": one["shop"], "amount": one["amount"]}], parse_iso(one["asked"]))["rows"][0]["features"]
        for one in orders
    ]


def check_both_sides_agree(shop) -> None:
    """Both sides have the same value for every feature of every order, and a backfill over the new version changes nothing online."""
    offline, kept = shop.offline().to_dicts(), shop.kept()
    assert [
        (row["row_id"], name, row[name], found[name])
        for row, found in zip(offline, online(shop), strict=True)
        for name in SHOPPING.features
        if not same(row[name], found[name])
    ] == []
    for view in ("spending", "newest"):
        taken = shop.materialisation.run("developer", view, start=NOON - 3 * HOUR).taken
        assert (taken.taken, taken.conflicting) == (0, 0)
    assert shop.kept() == kept


STEPS = {  # owner and name of a function before whose call the process dies: on how many sides the batch is then
    ("batches", "require_rows"): 0,
    ("batches", "_refuse_others"): 0,  # inside the transaction
    ("OnlineFeatures", "take_in"): 1,
    ("SqliteOnlineStore", "commit"): 1,
    ("Taken", ""): 2,
}


@pytest.mark.parametrize("comes_back", [True, False])
@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_between_both_sides_leaves_what_a_repetition_or_a_backfill_completes(shop, home, step, comes_back):
    shop.intake.push(SENDER, "payments", batch(0))
    before = shop.kept()
    killed(home, "1", *step)
    sides = STEPS[step]
    assert len(ids(shop)) == BATCH_ROWS * (2 if sides else 1)
    assert (shop.kept() == before) is (sides < 2)
    if comes_back:
        counts = shop.intake.push(SENDER, "payments", batch(1))
        assert counts["datasets"]["payments"] == {
            "spooled": True, "appended": 0 if sides else BATCH_ROWS, "repeated": BATCH_ROWS if sides else 0,
        }  # fmt: skip
        assert counts["views"]["spending@1"]["taken"] == (BATCH_ROWS if sides < 2 else 0)
    else:
        for view in ("spending", "newest"):
            shop.materialisation.run("developer", view)
    assert ids(shop) == [row["id"] for number in range(2 if comes_back or sides else 1) for row in batch(number)]
    check_both_sides_agree(shop)


@pytest.mark.slow
def test_killing_a_sender_again_and_again_loses_no_acknowledged_event_on_either_side(shop, home):
    number = 0
    for kill in range(KILLS):
        number = killed(home, str(number), lines=5 + 4 * kill)[-1] + 1
        found = ids(shop)
        assert len(found) == len(set(found))
        assert set(found) >= {row["id"] for done in range(number) for row in batch(done)}
        assert len(found) in {number * BATCH_ROWS, (number + 1) * BATCH_ROWS}
    for again in range(max(0, number - 10), number + 1):
        shop.intake.push(SENDER, "payments", batch(again))
    assert len(ids(shop)) == (number + 1) * BATCH_ROWS
    check_both_sides_agree(shop)
