"""However events are pushed, repeated, cut off between both sides and cut into versions: offline equals online, and each is one row."""

from __future__ import annotations

import shutil
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateline.features import Aggregation, WindowView
from gateline.kernel.clock import HOUR, MINUTE, SimulatedClock, parse_iso
from gateline.kernel.errors import Unavailable
from gateline.kernel.records import Records
from gateline.ledger import Ledger, SigningKey
from tests.support.features_oracle import same
from tests.unit.features.online.conftest import FIRST, PAYMENTS, SENDER, SHOPPING, FedShop, fed_shop, payment

NOON = parse_iso("2013-01-01T12:00:00Z")
RHYTHM = WindowView(
    name="rhythm", source=PAYMENTS, entity="shop", windows=("1h",), hop="10m",
    aggregations=(Aggregation("mean", "amount"), Aggregation("max", "amount"), Aggregation("last", "amount"), Aggregation("count")),
)  # fmt: skip
DECLARED = replace(SHOPPING, views=(*SHOPPING.views, RHYTHM))
ASKED = ["11:55", "12:00", "12:07", "13:00", "15:00"]
ORDERS = "id,shop,asked,amount\n" + "".join(
    f"{shop}{place},{shop},2013-01-01T{at}:00Z,{place + 1}\n" for shop in "abcz" for place, at in enumerate(ASKED)
)
OUTCOMES = ["all", "all", "dataset", "none"]  # of a push: both sides have the batch, the dataset alone, or nobody
LATE = PAYMENTS.lateness_seconds // 60

minutes = st.integers(0, 120)  # of availability, from 10:00; the last of them is noon
payments = st.lists(
    st.tuples(minutes, st.integers(0, 30), st.integers(-1000, 1000), st.sampled_from("abc"), st.integers(0, LATE)), min_size=1, max_size=25
)
acts = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(OUTCOMES), st.booleans()), min_size=8, max_size=8)


def written(place: int, drawn: tuple[int, int, int, str, int]) -> dict[str, object]:
    """Return a payment; its number is beyond those of the table."""
    known, before, amount, shop, _ = drawn
    happened = max(0, known - before)
    return payment(
        100 + place, f"{10 + known // 60}:{known % 60:02}", amount, shop=shop, paid=f"{10 + happened // 60}:{happened % 60:02}"
    )  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, sqlite_template):
    """A folder with the shop at noon."""
    home = tmp_path_factory.mktemp("prepared") / "home"
    home.mkdir()
    shutil.copyfile(sqlite_template, home / "records.db")
    shop = fed_shop(ledger_of(home), home, DECLARED, ORDERS)
    shop.store.close()
    shop.ledger.records.close()
    return home


def ledger_of(home) -> Ledger:
    return Ledger(Records(f"sqlite:///{home / 'records.db'}"), SimulatedClock(), SigningKey.load_or_create(home / "keys"))


def online(shop) -> dict[str, dict[str, object]]:
    """Return the features of each order as they are read online."""
    version, orders = shop.feature_sets.get("shopping"), pl.read_csv(ORDERS.encode()).to_dicts()
    found = {}
    for at in dict.fromkeys(order["asked"] for order in orders):
        asked = [order for order in orders if order["asked"] == at]
        answer = shop.online.read_set(version, [{"shop": one["shop"], "amount": one["amount"]} for one in asked], parse_iso(at))
        found |= {one["id"]: row["features"] for one, row in zip(asked, answer["rows"], strict=True)}
    return found


class Cut:
    """A store whose commits can be made to fail: what is pushed then is in the dataset alone."""

    def __init__(self, store) -> None:
        self._commit = store.commit
        self.fails = False
        store.commit = self

    def __call__(self, changes, marks):
        if self.fails:
            raise Unavailable("The process died here.")
        return self._commit(changes, marks)


def deliver(shop, cut: Cut, batch: list[dict[str, object]], *, fails: bool) -> None:
    cut.fails = fails
    try:
        if batch:
            shop.intake.push(SENDER, "payments", batch)
    except Unavailable:
        assert fails
    cut.fails = False


@settings(max_examples=20)
@given(payments, acts, st.data())
def test_pushed_events_are_the_same_offline_and_online_whatever_fails(prepared, tmp_path_factory, drawn, acts, data):
    home = shutil.copytree(prepared, tmp_path_factory.mktemp("example") / "home")
    ledger = ledger_of(home)
    ledger.clock.advance(12 * HOUR / 1_000_000)
    shop = FedShop(ledger, home)
    cut = Cut(shop.store)
    rows = [written(place, one) for place, one in enumerate(drawn)]
    order = sorted(range(len(rows)), key=lambda place: drawn[place][0] + drawn[place][4])  # late within what the source allows
    waiting, sent = [rows[place] for place in order], list(FIRST)
    abandoned = False
    for size, outcome, cutting in acts:
        batch, waiting = waiting[:size], waiting[size:]
        batch = [*batch, *data.draw(st.lists(st.sampled_from([*sent, *batch]), max_size=3))]
        batch = [row for row in batch if row["id"] >= 100]
        if outcome != "none":
            deliver(shop, cut, batch, fails=outcome == "dataset")
        if outcome == "none" or (outcome == "dataset" and data.draw(st.booleans())):
            waiting = [*batch, *waiting]  # the sender got no answer, and sends them again
        else:
            abandoned |= outcome == "dataset"  # the next backfill finds them
        sent += batch
        if cutting:
            shop.spool.cut("developer", "payments")
    deliver(shop, cut, waiting, fails=False)
    offline = shop.offline(DECLARED)
    ids = pl.read_parquet(shop.datasets.table_paths(shop.datasets.get("payments")))["id"].to_list()
    assert sorted(ids) == [1, 2, 3, 4, *(row["id"] for row in rows)]
    first = {name: shop.materialisation.run("developer", name) for name in ("spending", "newest", "rhythm")}
    assert all(one.taken.conflicting == 0 for one in first.values())
    found = online(shop)
    # A backfill brings what was cut off later than the source's lateness: tiles may be closed by then, which `late` says.
    exact = [name for name in DECLARED.features if not name.startswith("rhythm")]
    differences = [
        (row["row_id"], name, row[name], found[row["row_id"]][name])
        for row in offline.to_dicts()
        for name in (exact if abandoned else DECLARED.features)
        if not same(row[name], found[row["row_id"]][name])
    ]
    assert differences == []
    kept = shop.kept()
    shop.intake.push(SENDER, "payments", rows)
    for name in ("spending", "newest", "rhythm"):
        again = shop.materialisation.run("developer", name, start=NOON - 3 * HOUR, interval_seconds=MINUTE // 1_000_000 * 17)
        assert (again.taken.taken, again.taken.conflicting) == (0, 0)
    assert shop.kept() == kept
    shop.store.close()
    ledger.records.close()
