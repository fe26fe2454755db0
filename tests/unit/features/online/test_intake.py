"""Events that go into the dataset and online: on both sides once, or on neither."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from gateline.access import Permission, Principal, PrincipalKind, Role
from gateline.data import ColumnRule, ColumnType, Contract, Contracts, Provenance
from gateline.features import instant
from gateline.features.online.store import Change
from gateline.kernel.clock import parse_iso
from gateline.kernel.errors import Conflict, ContractBroken, Denied, InvalidInput, NotFound, StorageFull, Unavailable
from tests.unit.features.online.conftest import FIRST, PAYMENTS, SENDER, SHOPPING, TYPES, fed_shop, payment


@pytest.fixture
def fed(ledger, home):
    found = fed_shop(ledger, home)
    yield found
    found.store.close()


NOON = instant("2013-01-01T12:00:00Z")
NOON_US = parse_iso("2013-01-01T12:00:00Z")


def push(shop, *rows, spool=None, source="payments", principal=SENDER):
    return shop.intake.push(principal, source, list(rows), spool=spool)


def register(shop, view) -> None:
    """Register a set with one view, and bring it online."""
    shop.feature_sets.register("developer", replace(SHOPPING, name=view.name, views=(view,)))
    shop.materialise(view.name)


def ids(shop) -> list[int]:
    return pl.read_parquet(shop.datasets.table_paths(shop.spool.cut("developer", "payments")))["id"].to_list()


def total(shop, key="a") -> int:
    (row,) = shop.online.read_views(["spending"], [{"shop": key}], parse_iso("2013-01-01T12:00:00Z"))["rows"]
    return row["features"]["spending_sum_amount_4h"]


def test_an_event_is_online_and_in_the_next_version(fed):
    answer = push(fed, payment(5, "11:50", 100), payment(6, "11:55", 1000))
    assert answer["datasets"] == {"payments": {"spooled": True, "appended": 2, "repeated": 0}}
    assert answer["views"]["spending@1"]["taken"] == 2
    assert total(fed) == 1123
    assert ids(fed) == [1, 2, 3, 4, 5, 6]


def test_an_event_is_written_once_however_it_is_sent_again(fed):
    rows = [payment(5, "11:50", 100), payment(6, "11:55", 1000)]
    push(fed, *rows)
    assert push(fed, *rows)["datasets"]["payments"] == {"spooled": True, "appended": 0, "repeated": 2}
    spelled = rows[0] | {"paid": "2013-01-01T12:50:00.000+01:00"}
    again = push(fed, spelled, rows[1], rows[1], payment(7, "11:56"), payment(7, "11:56"))
    assert again["datasets"]["payments"] == {"spooled": True, "appended": 1, "repeated": 4}
    fed.spool.commit("payments")
    assert push(fed, rows[1])["datasets"]["payments"]["repeated"] == 1
    assert ids(fed) == [1, 2, 3, 4, 5, 6, 7]
    assert total(fed) == 1124


def test_an_event_that_says_otherwise_is_on_neither_side(fed):
    push(fed, payment(5, "11:50", 100))
    with pytest.raises(Conflict, match=r"holds another row with an event id that was sent \(id=5\); 1 of 2 events"):
        push(fed, payment(6, "11:51"), payment(5, "11:50", 200))
    with pytest.raises(InvalidInput, match=r"Row 3 has the event id of an earlier row \(id=7\)"):
        push(fed, payment(7, "11:51"), payment(6, "11:51"), payment(7, "11:52"))
    assert total(fed) == 123
    assert ids(fed) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (payment(5, "11:50") | {"id": None}, "have no 'id', which is part of their event id"),
        (payment(5, "11:50") | {"amount": 1.5}, "no whole number"),
        (payment(5, "11:50") | {"extra": 1}, "'extra' is no column"),
        (payment(5, "12:02"), "in the future"),
    ],
)
def test_rows_that_do_not_fit_are_on_neither_side(fed, row, message):
    with pytest.raises(InvalidInput, match=message):
        push(fed, payment(6, "11:51"), row)
    assert total(fed) == 23
    assert ids(fed) == [1, 2, 3, 4]


def promise(shop, dataset="payments", least=0) -> None:
    """Let a contract promise amounts of at least so much."""
    contracts = Contracts(shop.ledger, shop.access, shop.datasets)
    rules = [ColumnRule(name=name, dtype=kind, min=least if name == "amount" else None) for name, kind in TYPES.items()]
    draft = contracts.propose("developer", Contract(dataset=dataset, columns=tuple(rules), keys=(("id",),)))
    reviewer = Principal(name="validator", kind=PrincipalKind.PERSON, roles=frozenset({Role.VALIDATOR}))
    contracts.accept(reviewer, dataset, draft.version, "What a payment is.")


def test_rows_that_break_the_contract_are_on_neither_side(fed):
    promise(fed)
    push(fed, payment(5, "11:50", 100), payment(5, "11:50", 100))
    with pytest.raises(ContractBroken, match=r"'amount': 1 value is below 0, first in row 2"):
        push(fed, payment(6, "11:50"), payment(7, "11:51", -3))
    with pytest.raises(ContractBroken, match="below 0"):
        fed.spool.append("till", "payments", [payment(7, "11:51", -3)], key="bad")
    assert total(fed) == 123
    assert ids(fed) == [1, 2, 3, 4, 5]


def test_what_was_accepted_before_the_contract_changed_is_sent_again(fed):
    early = [payment(5, "11:50", 100), payment(6, "11:51", 3)]
    push(fed, early[0])
    fed.spool.append("till", "payments", early[1:], key="six")
    promise(fed, least=200)
    assert push(fed, early[0])["datasets"]["payments"]["repeated"] == 1
    assert fed.spool.append("till", "payments", early[1:], key="six")["repeated"]
    with pytest.raises(ContractBroken, match=r"'amount': 1 value is below 200, first in row 4"):
        push(fed, early[0], payment(7, "11:52", 300), early[0], payment(8, "11:53", 100))
    assert push(fed, early[0], payment(7, "11:52", 300))["datasets"]["payments"] == {"spooled": True, "appended": 1, "repeated": 1}


@pytest.fixture
def split(fed):
    """The shop, with payments that a second view takes into the dataset `tills` too."""
    fed.spool.open("developer", "tills", types=TYPES, provenance=Provenance(source="the till", licence="internal"))
    fed.spool.append("developer", "tills", FIRST, key="first")
    fed.spool.cut("developer", "tills")
    register(fed, replace(SHOPPING.views[0], name="tilled", source=replace(PAYMENTS, dataset="tills")))
    return fed


def counted(shop) -> tuple[int, int, int]:
    """Rows of both datasets, and what is online of shop `a`."""
    return (*(shop.spool.status(name)["batches_received"] for name in ("payments", "tills")), total(shop))


def test_a_source_of_two_datasets_is_taken_by_both_or_by_neither(split, monkeypatch):
    promise(split, "tills")
    with pytest.raises(ContractBroken, match="below 0"):
        push(split, payment(5, "11:50", -1))
    split.spool.append("till", "tills", [payment(6, "11:50")], key=key_of(split, payment(6, "11:50")))
    with pytest.raises(Conflict, match=r"Dataset 'tills' holds another row with an event id that was sent \(id=6\)"):
        push(split, payment(6, "11:50", 7))
    assert counted(split) == (1, 2, 23)
    with monkeypatch.context() as patch, pytest.raises(Unavailable):
        patch.setattr(split.store, "commit", unavailable)
        push(split, payment(7, "11:50", 100))
    assert counted(split) == (2, 3, 23)  # in both datasets, and not yet online
    answer = push(split, payment(7, "11:50", 100))
    assert {name: one["repeated"] for name, one in answer["datasets"].items()} == {"payments": 1, "tills": 1}
    assert counted(split) == (2, 3, 123)
    assert push(split, payment(7, "11:50", 100))["views"]["tilled@1"]["taken"] == 0


def unavailable(*_):
    raise Unavailable("gone")


def key_of(shop, row) -> str:
    """The key under which the intake adds a row."""
    (batch,) = shop.intake._feed(PAYMENTS, [row]).batches
    return batch.key


def test_values_of_another_type_than_is_kept_online_are_in_no_dataset(fed):
    types = {**TYPES, "amount": ColumnType.FLOAT64}
    fed.spool.open("developer", "tills", types=types, provenance=Provenance(source="the till", licence="internal"))
    fed.spool.append("developer", "tills", [row | {"shop": "z"} for row in FIRST], key="first")
    fed.spool.cut("developer", "tills")
    tills = replace(PAYMENTS, dataset="tills")
    register(fed, replace(SHOPPING.views[0], name="tilled", source=tills))
    (view,) = fed.views.reading("payments")[-1:]
    kept = fed.views.definition(view)
    state = kept.state
    event = (0, NOON_US, b"0" * 16, *(1 for _ in state.carried))
    blob, _ = state.merge(None, [event], tuple("i" for _ in state.carried), 0, None)
    assert fed.store.commit([Change(kept.fingerprint, '["y"]', None, blob)], {})
    received = fed.spool.status("tills")["batches_received"]
    with pytest.raises(Conflict, match="have another type than what is kept online"):
        push(fed, payment(9, "11:50", shop="y"))
    assert fed.spool.status("tills")["batches_received"] == received
    assert 9 not in ids(fed)


def test_a_dataset_made_of_files_takes_events_online_alone_unless_one_insists(fed):
    rows = [{"shop": "c", "size": 7}]
    with pytest.raises(Conflict, match="'shops' of source 'shops' is made of files"):
        push(fed, *rows, source="shops", spool=True)
    answer = push(fed, *rows, source="shops")
    assert answer["datasets"] == {"shops": {"spooled": False, "appended": 0, "repeated": 0}}
    assert answer["views"]["shop@1"]["taken"] == 1
    assert push(fed, payment(5, "11:50", 100), spool=False)["datasets"]["payments"]["spooled"] is False
    assert (total(fed), ids(fed)) == (123, [1, 2, 3, 4])
    with pytest.raises(NotFound, match="reads a source 'orders'"):
        push(fed, payment(5, "11:50"), source="orders", spool=True)


def test_who_may_not_add_to_the_dataset_adds_nothing_anywhere(fed):
    stranger = Principal(name="viewer", kind=PrincipalKind.PERSON, roles=frozenset({Role.VIEWER}))
    assert not fed.access.admits(stranger, Permission.DATASET_WRITE).allowed
    for wanted in (None, True):
        with pytest.raises(Denied):
            push(fed, payment(5, "11:50", 100), spool=wanted, principal=stranger)
    assert (total(fed), ids(fed)) == (23, [1, 2, 3, 4])
    assert push(fed, payment(5, "11:50", 100), spool=False, principal=stranger)["views"]["spending@1"]["taken"] == 1


def test_rows_that_the_source_leaves_out_are_in_the_dataset_alone(fed):
    paid = replace(PAYMENTS, name="paid", where="id IS NOT NULL AND amount > 0")
    register(fed, replace(SHOPPING.views[0], name="paid", source=paid))
    rows = [payment(5, "11:50", 100), payment(5, "11:50") | {"id": None}, payment(6, "11:50", 0)]
    answer = push(fed, *rows, source="paid")
    assert (answer["views"]["paid@1"]["taken"], answer["datasets"]["payments"]["appended"]) == (1, 3)
    assert push(fed, *rows, source="paid")["datasets"]["payments"]["repeated"] == 3
    assert ids(fed) == [1, 2, 3, 4, 5, None, 6]


def test_the_event_of_two_sources_over_one_dataset_is_one_row(fed):
    other = replace(PAYMENTS, name="other", columns={name: PAYMENTS.columns[name] for name in ("id", "shop", "paid", "known")})
    register(fed, replace(SHOPPING.views[1], name="newest_id", source=other, features=("id",)))
    push(fed, payment(5, "11:50", 100))
    assert push(fed, payment(5, "11:50", 100), source="other")["datasets"]["payments"]["repeated"] == 1
    assert ids(fed) == [1, 2, 3, 4, 5]


def test_a_row_that_was_appended_otherwise_and_is_pushed_too_counts_once_on_both_sides(fed):
    assert push(fed, FIRST[3])["datasets"]["payments"]["appended"] == 1
    assert ids(fed) == [1, 2, 3, 4, 4]
    assert total(fed) == 23
    offline = fed.offline(replace(SHOPPING, spine=replace(SHOPPING.spine, columns={**SHOPPING.spine.columns, "asked": NOON})))
    assert offline["spending_sum_amount_4h"].to_list() == [23, 9, None]


def test_after_a_full_disk_on_either_side_the_same_batch_is_sent_again(fed, monkeypatch):
    rows = [payment(5, "11:50", 100)]

    def full(*_):
        raise StorageFull("no room")

    with monkeypatch.context() as patch, pytest.raises(StorageFull):
        patch.setattr("gateline.data.batches.insert", full)
        push(fed, *rows)
    assert (total(fed), ids(fed)) == (23, [1, 2, 3, 4])
    with monkeypatch.context() as patch, pytest.raises(StorageFull):
        patch.setattr(fed.store, "commit", full)
        push(fed, *rows)
    assert (total(fed), ids(fed)) == (23, [1, 2, 3, 4, 5])
    assert push(fed, *rows)["datasets"]["payments"] == {"spooled": True, "appended": 0, "repeated": 1}
    assert (total(fed), ids(fed)) == (123, [1, 2, 3, 4, 5])


def test_ten_thousand_events_are_one_file(fed):
    rows = [payment(100 + number, "11:50") for number in range(10_000)]
    assert push(fed, *rows)["datasets"]["payments"]["appended"] == 10_000
    assert fed.spool.commit("payments") == 10_000
    assert fed.spool.status("payments")["files"] == 2
    assert len(ids(fed)) == 10_004
