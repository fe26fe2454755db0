"""All features of a set online: what offline computation gives, with local times too, and from definitions that are read only once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from gateline.features import Calendar, CalendarFact, CalendarView, OnDemandView, compute
from gateline.features import store as set_store
from gateline.kernel.clock import DAY, SECOND, parse_iso
from gateline.kernel.errors import Conflict
from tests.unit.features.online.conftest import PAYMENTS, SHOPPING, SPENDING, Shop, variant

LONGER = variant(SPENDING, windows=("1h", "8h"))
CHANGES = {
    "America/New_York": ("2013-03-10T07:00", "2013-11-03T06:00"),
    "Europe/Berlin": ("2013-03-31T01:00", "2013-10-27T01:00"),
    "Australia/Lord_Howe": ("2013-04-06T15:00", "2013-10-05T15:30"),  # by half an hour
    "Asia/Kolkata": ("2013-03-31T18:30", "2013-12-31T18:30"),  # never: midnights instead, half an hour off
}
"""Zone to the instants, in UTC, at which its clocks change in 2013."""
STEPS = [timedelta(minutes=minutes) for minutes in (-65, -30, -1, 0, 1, 29, 30, 59, 60, 90)]


def calendar_set(zone: str):
    """Return the shop's set with local time in a zone, and what only both together can give."""
    payments = replace(PAYMENTS, lateness_seconds=400 * DAY // SECOND)
    calendar = Calendar(zone=zone, country="US" if zone.startswith("America") else "")
    facts = [fact for fact in CalendarFact if calendar.country or "holiday" not in fact]
    return replace(
        SHOPPING,
        name="local",
        views=(
            replace(SPENDING, source=payments),
            CalendarView(name="local", calendar=calendar, features=tuple(facts)),
            OnDemandView(
                name="both",
                expressions={
                    "per_hour": "CAST(spending_sum_amount_4h AS DOUBLE) / (local_hour + 1)",
                    "late_spending": "CASE WHEN local_day_part = 'night' THEN spending_sum_amount_1h + amount ELSE 0 END",
                },
            ),
        ),
    )


def at_changes(shop: Shop, zone: str) -> list[datetime]:
    """Give the shop payments and orders around the changes of a zone's clocks; return when was ordered."""
    shop.clock.advance(365 * DAY // SECOND)
    changes = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in CHANGES[zone]]
    asked = [change + step for change in changes for step in STEPS]
    paid = [change + step for change in changes for step in STEPS[::3]]
    shop.add("orders", "id,shop,asked,amount\n" + "".join(f"{n},{'ab'[n % 2]},{_text(at)},{n}\n" for n, at in enumerate(asked)))
    rows = (f"{n},{'ab'[n // 2 % 2]},{10 + n},{_text(at)},{_text(at)}\n" for n, at in enumerate(paid))
    shop.add("payments", "id,shop,amount,paid,known\n" + "".join(rows))
    return asked


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}Z"


@pytest.mark.parametrize("zone", CHANGES)
def test_local_times_online_are_those_offline_where_clocks_change(shop, zone):
    asked, declared = at_changes(shop, zone), calendar_set(zone)
    version = shop.feature_sets.register("developer", declared)
    shop.materialise(shop.views.of_set(version)[0][0].id)
    offline = compute(declared, shop.feature_sets.tables(version)).to_dicts()
    assert len(offline) == len(asked)
    hours = set()
    for number, (at, wanted) in enumerate(zip(asked, offline, strict=True)):
        entity = {"shop": "ab"[number % 2], "amount": number, "asked": _text(at)}
        (found,) = shop.online.read_set(version, [entity], parse_iso(_text(at)))["rows"]
        assert found["features"] == {name: wanted[name] for name in declared.features}
        hours.add((found["features"]["local_hour"], found["features"]["spending_sum_amount_1h"]))
    assert len({hour for hour, _ in hours}) >= 3
    assert len({spent for _, spent in hours}) >= 3


def test_requests_of_many_times_at_once_get_what_each_gets_alone(shop):
    asked = at_changes(shop, "America/New_York")
    version = shop.feature_sets.register("developer", calendar_set("America/New_York"))
    shop.materialise(shop.views.of_set(version)[0][0].id)
    offsets = ("Z", "+05:30", "-04:00")
    entities = [{"shop": "ab"[n % 2], "amount": n, "asked": at.isoformat()[:19] + offsets[n % 3]} for n, at in enumerate(asked)]
    t = parse_iso(_text(asked[-1]))
    together = [row["features"] for row in shop.online.read_set(version, entities, t)["rows"]]
    alone = [shop.online.read_set(version, [entity], t)["rows"][0]["features"] for entity in entities]
    assert together == alone
    instants = pl.Series([entity["asked"].replace("Z", "+00:00") for entity in entities]).str.to_datetime(time_zone="UTC")
    assert [row["local_hour"] for row in together] == instants.dt.convert_time_zone("America/New_York").dt.hour().to_list()
    (nowhen,) = shop.online.read_set(version, [entities[0] | {"asked": None}], t)["rows"]
    assert {name for name, value in nowhen["features"].items() if value is None} >= {"local_hour", "local_is_holiday", "per_hour"}


def test_reads_load_no_definition_and_no_dataset_again(online_shop, monkeypatch):
    shop = online_shop
    entities = [{"shop": "a", "amount": 6}]

    def read():
        found = shop.online.read_set(shop.feature_sets.get("shopping"), entities)
        return found | shop.online.read_views(["spending", "newest@1"], entities)

    before = read()

    def refuse(*_):
        raise AssertionError("a definition was loaded again")

    monkeypatch.setattr(set_store, "to_version", refuse)
    monkeypatch.setattr(type(shop.datasets), "get", refuse)
    assert read() == before
    assert shop.push("payments", [])["views"]["spending@1"]["taken"] == 0


def test_what_another_control_plane_changes_counts_at_the_next_read(online_shop, home):
    shop, other = online_shop, Shop(online_shop.ledger, home)
    entities = [{"shop": "a", "amount": 6}]

    def read():
        views = shop.online.read_views(["spending"], entities)
        found = shop.online.read_set(shop.feature_sets.get("shopping"), entities)
        return views["views"], found["feature_set"], found["views"]["spending"], views["warnings"], found["warnings"]

    assert read() == ({"spending": "spending@1"}, "shopping@1", "spending@1", [], [])
    other.feature_sets.register("developer", LONGER)
    with pytest.raises(Conflict, match="spending@2 are not kept online"):
        read()  # the newest set now declares a view that nobody has materialised
    other.materialise("spending@2")
    other.views.promote("developer", "spending@2")
    assert read() == ({"spending": "spending@2"}, "shopping@2", "spending@2", [], [])
    other.views.deprecate("developer", "spending", reason="it is wrong")
    assert read()[3] == read()[4] == ["Feature view 'spending' is deprecated: it is wrong."]
    shop.online.read_views(["spending@1"], entities)
    other.views.remove("developer", "spending@1")
    with pytest.raises(Conflict, match="spending@1 are not kept online"):
        shop.online.read_views(["spending@1"], entities)
    other.store.close()
