from __future__ import annotations

from dataclasses import replace

import pytest

from gateline.features import Materialisation
from gateline.features.records.views import backfilled
from gateline.kernel.clock import HOUR, iso, parse_iso
from gateline.kernel.errors import Conflict, InvalidInput
from tests.unit.features.online.conftest import PAID, SHOPPING, SPENDING, Shop, payment


def at(text: str) -> int:
    return parse_iso(f"2013-01-01T{text}:00Z")


def spent(shop: Shop, view: str = "spending", key: str = "a", when: str = "12:00") -> object:
    (row,) = shop.online.read_views([view], [{"shop": key}], at(when))["rows"]
    return row["features"]["spending_sum_amount_1h"]


def test_intervals_are_rows_and_a_second_run_has_nothing_left_to_do(shop):
    seen = []
    done = shop.materialisation.run("developer", "spending", interval_seconds=1800, progress=seen.append)
    assert [(iso(one.end)[11:16], one.rows) for one in seen] == [("10:30", 2), ("11:00", 2), ("11:20", 4)]
    assert (done.intervals, done.done, done.rows, done.taken.taken) == (3, 3, 4, 4)
    with shop.ledger.records.read() as session:
        assert [row.rows for row in backfilled(session, "spending@1")] == [2, 0, 2]
    again = shop.materialisation.run("developer", "spending", start=at("10:00"), interval_seconds=1800)
    assert (again.intervals, again.done, again.rows) == (3, 3, 0)
    kinds = [entry.kind for entry in shop.ledger.entries(subject="spending@1", limit=1000)]
    assert kinds.count("feature_view.interval.materialised") == 3
    assert kinds.count("feature_view.online") == 1


def test_a_backfill_of_an_old_interval_never_overwrites_newer_values(online_shop):
    online_shop.push("payments", [payment(9, "11:59", 1000)])
    online_shop.add("payments", PAID + "50,a,99,2013-01-01T09:00:00Z,2013-01-01T09:00:00Z\n")
    before = spent(online_shop)
    online_shop.materialisation.run("developer", "spending", start=at("00:00"), interval_seconds=3600)
    online_shop.materialisation.run("developer", "newest", start=at("00:00"), interval_seconds=3600)
    (row,) = online_shop.online.read_views(["newest"], [{"shop": "a"}], at("12:00"))["rows"]
    assert row["features"] == {"last_amount": 1000}
    assert spent(online_shop) == before == 1011


def test_a_new_dataset_version_is_taken_in_from_where_the_last_run_stopped_with_late_rows(online_shop):
    late = "7,a,100,2013-01-01T11:12:00Z,2013-01-01T11:12:00Z\n"  # known before the newest row, within the lateness of ten minutes
    online_shop.add("payments", PAID + late + "8,a,500,2013-01-01T11:40:00Z,2013-01-01T11:40:00Z\n")
    done = online_shop.materialisation.run("developer", "spending", interval_seconds=600)
    assert (done.start, done.dataset_version, done.taken.taken) == (at("11:10"), "payments@2", 2)
    assert spent(online_shop) == 611


def test_an_end_and_a_number_of_intervals_leave_the_rest_to_the_next_run(shop):
    first = shop.materialisation.run("developer", "spending", end=at("10:30"), interval_seconds=600, intervals_max=1)
    assert (first.done, first.intervals, first.end) == (1, 3, at("10:10"))
    assert spent(shop, when="10:40") == 5
    rest = shop.materialisation.run("developer", "spending", start=first.start, interval_seconds=600)
    assert (rest.done, rest.intervals) == (8, 8)
    assert spent(shop) == 11


def test_events_and_backfill_may_come_in_either_order(shop):
    shop.views.put_online("developer", shop.views.get("spending"))
    shop.push("payments", [payment(5, "11:50", 100), payment(4, "11:20", 11)])
    assert spent(shop) == 111
    shop.materialise("spending")
    assert spent(shop) == 111
    assert spent(shop, when="11:40") == 100 - 100 + 11


def test_a_view_with_a_hop_closes_tiles_and_refuses_what_would_come_before_them(shop):
    hopping = replace(SPENDING, name="hopping", hop="30m", source=replace(SPENDING.source, lateness_seconds=60))
    shop.feature_sets.register("developer", replace(SHOPPING, name="hopping", views=(hopping,)))
    shop.materialisation.run("developer", "hopping", start=at("10:20"), interval_seconds=600)
    exactly_from_11 = shop.online.read_views(["hopping"], [{"shop": "a"}], at("12:29"))["rows"][0]["features"]
    assert exactly_from_11["hopping_sum_amount_1h"] == 11
    with pytest.raises(Conflict, match="tiles are closed"):
        shop.materialisation.run("developer", "hopping", start=at("09:00"), interval_seconds=600)


def test_a_row_without_event_id_or_an_interval_of_nothing_is_refused(shop):
    shop.add("payments", PAID + ",a,99,2013-01-01T11:00:00Z,2013-01-01T11:00:00Z\n")
    with pytest.raises(InvalidInput, match="have no 'id'"):
        shop.materialise("spending")
    with pytest.raises(InvalidInput, match="longer than 0 s"):
        shop.materialisation.run("developer", "spending", interval_seconds=0)


def test_a_source_whose_schema_changed_is_refused(shop):
    shop.add("payments", PAID.replace("amount", "sum"))
    with pytest.raises(InvalidInput, match="do not fit source 'payments'"):
        shop.materialise("spending")


def test_a_run_that_dies_goes_on_and_counts_nothing_twice(shop, monkeypatch):
    record = Materialisation._interval

    def dies(self, *arguments):
        found = record(self, *arguments)
        raise KeyboardInterrupt(found)

    monkeypatch.setattr(Materialisation, "_interval", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            shop.materialisation.run("developer", "spending", start=at("10:00"), interval_seconds=1800)
    monkeypatch.undo()
    done = shop.materialisation.run("developer", "spending", start=at("10:00"), interval_seconds=1800)
    assert (done.done, done.rows) == (3, 2)
    assert spent(shop) == 11
    assert shop.clock.now() == at("12:00") > HOUR
