from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from gateline.features import compute
from gateline.features.online.views import OnlineViews
from gateline.kernel.clock import parse_iso
from gateline.kernel.errors import Conflict, InvalidInput, NotFound, StorageFull, TooLarge
from tests.unit.features.online.conftest import PAYMENTS, SHOPPING, payment, variant

NOON = parse_iso("2013-01-01T12:00:00Z")


def read(shop, view, key="a", at=None):
    (row,) = shop.online.read_views([view], [{"shop": key}], at and parse_iso(f"2013-01-01T{at}:00Z"))["rows"]
    return row


def test_a_set_read_online_gives_what_the_offline_join_gives(online_shop):
    offline = compute(SHOPPING, online_shop.feature_sets.tables(online_shop.version)).to_dicts()
    entities = [{"shop": "a", "amount": 6}, {"shop": "b", "amount": 18}, {"shop": "c", "amount": 1}]
    for row, entity in zip(offline[1:], entities[1:], strict=True):
        (found,) = online_shop.online.read_set(online_shop.version, [entity], parse_iso("2013-01-01T11:30:00Z"))["rows"]
        assert found["features"] == {name: row[name] for name in SHOPPING.features}


def test_each_view_says_whether_a_value_is_there_stale_or_missing(online_shop):
    assert read(online_shop, "newest", at="12:30") | {"features": 0} == {
        "features": 0,
        "views": {
            "newest": {
                "state": "ok", "age_seconds": 70 * 60.0, "event_time": parse_iso("2013-01-01T11:20:00Z"),
                "available_at": parse_iso("2013-01-01T11:20:00Z"),
            }
        },
    }  # fmt: skip
    stale = read(online_shop, "newest", at="13:21")
    assert stale["features"] == {"last_amount": None}
    assert stale["views"]["newest"]["state"] == "stale"
    missing = read(online_shop, "newest", key="nowhere")
    assert missing["features"] == {"last_amount": None}
    assert missing["views"]["newest"] == {"state": "missing", "age_seconds": None, "event_time": None, "available_at": None}
    assert read(online_shop, "spending", key="nowhere")["features"]["spending_count_1h"] == 0
    assert read(online_shop, "spending", key=None)["features"]["spending_count_1h"] == 0


def test_events_count_at_once_and_once(online_shop):
    assert read(online_shop, "spending", at="12:00")["features"]["spending_sum_amount_1h"] == 20 - 9
    rows = [payment(5, "11:50", 100), payment(6, "11:55", 1000, shop="z")]
    counts = online_shop.push("payments", rows)["views"]
    assert counts["spending@1"]["taken"] == counts["newest@1"]["taken"] == 2
    again = online_shop.push("payments", [*rows, rows[0]])["views"]
    assert again["spending@1"] == {"taken": 0, "known": 3, "conflicting": 0, "expired": 0, "late": 0}
    assert read(online_shop, "spending")["features"]["spending_sum_amount_1h"] == 111
    assert read(online_shop, "spending", at="11:49")["features"]["spending_sum_amount_1h"] == 11  # known later: not seen earlier
    assert read(online_shop, "newest", key="z")["features"] == {"last_amount": 1000}


def test_of_two_events_with_one_id_the_one_available_first_counts(online_shop):
    online_shop.push("payments", [payment(5, "11:50", 100)])
    counts = online_shop.push("payments", [payment(5, "11:58", 700)])["views"]["spending@1"]
    assert (counts["conflicting"], counts["taken"]) == (1, 0)
    assert read(online_shop, "spending")["features"]["spending_sum_amount_1h"] == 111
    online_shop.push("payments", [payment(5, "11:45", 3)])
    assert read(online_shop, "spending")["features"]["spending_sum_amount_1h"] == 14


def test_a_time_that_is_no_longer_answered_is_refused(online_shop):
    online_shop.push("payments", [payment(5, "11:50")])
    read(online_shop, "spending", at="11:40")
    for key in ("a", "nowhere"):
        with pytest.raises(InvalidInput, match=r"answers from 2013-01-01T11:40:00.000000Z on"):
            read(online_shop, "spending", key=key, at="11:39")


def test_an_event_from_the_future_is_refused_so_that_a_wrong_clock_drops_nothing(online_shop):
    with pytest.raises(InvalidInput, match="in the future"):
        online_shop.push("payments", [payment(5, "12:02")])
    online_shop.push("payments", [payment(5, "12:01")])
    assert read(online_shop, "spending")["features"]["spending_sum_amount_1h"] == 11
    assert read(online_shop, "spending", at="11:50")["features"]["spending_sum_amount_1h"] == 11


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**payment(5, "11:50"), "extra": 1}, "'extra' is no column"),
        ({"id": 5}, "has no 'amount'"),
        (payment(5, "11:50") | {"amount": 1.5}, "no whole number"),
        (payment(5, "11:50") | {"amount": True}, "no whole number"),
        (payment(5, "11:50") | {"amount": 1 << 63}, "no whole number"),
        (payment(5, "11:50") | {"shop": 1}, "no text"),
        (payment(5, "11:50") | {"known": "2013-01-01T11:50:00"}, "names no offset"),
        (payment(5, "11:50") | {"known": 5}, "is no time"),
        (payment(5, "11:50") | {"id": None}, "have no 'id', which is part of their event id"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_of_the_batch_counts(online_shop, row, message):
    with pytest.raises(InvalidInput, match=message):
        online_shop.push("payments", [payment(7, "11:55"), row])
    assert read(online_shop, "spending")["features"]["spending_sum_amount_1h"] == 11


def test_rows_without_time_or_key_are_used_nowhere(online_shop):
    rows = [payment(5, "11:50") | {"known": None}, payment(6, "11:50") | {"shop": None}]
    assert online_shop.push("payments", rows)["views"]["spending@1"]["taken"] == 0


def test_what_cannot_be_served_says_why(shop):
    with pytest.raises(NotFound, match="reads a source 'payments'"):
        shop.push("payments", [payment(5, "11:50")])
    with pytest.raises(Conflict, match="not kept online"):
        shop.online.read_views(["spending"], [{"shop": "a"}])
    with pytest.raises(NotFound, match="no feature view 'none'"):
        shop.online.read_views(["none"], [{"shop": "a"}])
    shop.materialise("spending")
    with pytest.raises(InvalidInput, match="has no 'shop'"):
        shop.online.read_views(["spending"], [{}])
    with pytest.raises(InvalidInput, match="no text"):
        shop.online.read_views(["spending"], [{"shop": 5}])
    with pytest.raises(TooLarge):
        shop.online.read_views(["spending"], [{"shop": "a"}] * 10_001)
    with pytest.raises(TooLarge):
        shop.push("payments", [payment(5, "11:50")] * 10_001)


def test_a_source_without_event_id_cannot_feed_the_online_store(shop):
    nameless = variant(SHOPPING.views[0], source=replace(PAYMENTS, name="nameless", event_id=()))
    shop.feature_sets.register("developer", replace(nameless, name="nameless"))
    with pytest.raises(InvalidInput, match="names no event_id"):
        shop.materialise("spending@2")


def test_a_full_disk_is_one_clear_error_and_nothing_is_half_written(online_shop):
    connection = online_shop.store._connection()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    rows = [payment(100 + number, "11:50", shop=f"shop {number}") for number in range(2_000)]
    with pytest.raises(StorageFull, match="nothing was written"):
        online_shop.push("payments", rows)
    assert {read(online_shop, "spending", key=f"shop {number}")["features"]["spending_count_1h"] for number in (0, 999, 1_999)} == {0}
    connection.execute("PRAGMA max_page_count = 1000000")
    online_shop.push("payments", rows)
    assert read(online_shop, "spending", key="shop 1999")["features"]["spending_count_1h"] == 1


def test_a_file_that_is_no_store_is_said_so(tmp_path):
    from gateline.features import SqliteOnlineStore
    from gateline.kernel.errors import IntegrityFailure

    (tmp_path / "text.db").write_text("no database" * 1000, encoding="utf-8")
    with pytest.raises(IntegrityFailure, match="is broken"):
        SqliteOnlineStore(tmp_path / "text.db")
    with sqlite3.connect(tmp_path / "newer.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(IntegrityFailure, match="layout 99"):
        SqliteOnlineStore(tmp_path / "newer.db")


def test_freshness_tells_how_far_each_view_lags_behind(online_shop):
    found = {one["view"]: one for one in online_shop.online.freshness()}
    assert found["spending@1"]["lag_seconds"] == 40 * 60
    assert found["shop@1"]["watermark"] == parse_iso("2013-01-01T00:00:00Z")


def test_quiet_entities_forget_what_no_time_needs(online_shop):
    before = online_shop.store.extent(online_shop.views.get("spending").fingerprint)
    online_shop.clock.advance(24 * 3600)
    rows = [payment(5, "11:50") | {"known": "2013-01-02T11:50:00Z", "paid": "2013-01-02T11:50:00Z", "shop": "z"}]
    online_shop.push("payments", rows)
    assert online_shop.online.prune() > 0
    after = online_shop.store.extent(online_shop.views.get("spending").fingerprint)
    assert after.size_bytes < before.size_bytes
    assert read(online_shop, "spending")["features"]["spending_count_4h"] == 0
    assert online_shop.online.prune() == 0


def test_writers_in_two_stores_never_lose_each_others_events(online_shop, home, monkeypatch):
    view = online_shop.views.definition(online_shop.views.get("spending"))
    commit, meanwhile = online_shop.store.commit, [payment(6, "11:52", 1000)]

    def overtaken(changes, marks):
        if meanwhile:
            online_shop.push("payments", [meanwhile.pop()])
        return commit(changes, marks)

    monkeypatch.setattr(online_shop.store, "commit", overtaken)
    online_shop.push("payments", [payment(5, "11:50", 100)])
    assert read(online_shop, "spending")["features"]["spending_sum_amount_1h"] == 1111
    assert OnlineViews(online_shop.store).missing_shares(view, NOON)["spending_sum_amount_1h"] == 0
