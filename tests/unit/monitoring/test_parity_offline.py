"""Recomputing requests equals the offline join, whatever the aliases of a set are called and whatever else it declares."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from gateline.features import Aggregation, EventSource, FeatureSet, Label, LookupView, OnDemandView, WindowView, compute, instant
from gateline.kernel.clock import DAY, HOUR
from gateline.kernel.errors import InvalidInput
from gateline.monitoring.parity_offline import Offline
from tests.support.parity import SHOPS, orders, readings

SPINE = EventSource(
    name="orders", dataset="orders",
    columns={"entity": "id", "row_id": "shop", "event_time": "asked", "day": "STRFTIME(asked, '%Y-%m-%d')", "amount": "size"},
    event_time="event_time", available_at="event_time",
)  # fmt: skip
READINGS = EventSource(
    name="readings", dataset="readings", columns={"row_id": "shop", "level": "level", "at": "at", "known": "known"}, event_time="at",
    available_at="known",
)  # fmt: skip
REGIONS = EventSource(
    name="regions", dataset="regions", columns={"row_id": "shop", "region": "region", "known": instant("2013-01-01T00:00:00Z")},
    event_time="known", available_at="known",
)  # fmt: skip
OUTCOMES = EventSource(
    name="outcomes", dataset="outcomes", columns={"entity": "id", "event_time": "asked", "known": "asked"}, event_time="known",
    available_at="known",
)  # fmt: skip
RICH = FeatureSet(
    name="rich", spine=SPINE, entity=("entity", "event_time"), time="event_time", columns=("amount",), unit="day", slices=("day",),
    label=Label(source=OUTCOMES, sql="size", available_at="asked"),
    views=(
        WindowView(
            name="recent", source=READINGS, entity="row_id", windows=("1h", "6h"),
            aggregations=(Aggregation("sum", "level"), Aggregation("count", "level")),
        ),
        WindowView(
            name="own", source=SPINE, entity="row_id", windows=("1d",), aggregations=(Aggregation("sum", "amount", feature="shop_amount"),)
        ),
        LookupView(name="region", source=REGIONS, entity="row_id", features=("region",)),
        OnDemandView(name="ratio", expressions={"share": "amount / shop_amount", "hour": "EXTRACT(HOUR FROM event_time)"}),
    ),
)  # fmt: skip


@pytest.fixture
def tables(tmp_path):
    frames = {"orders": orders(2, 150), "readings": readings(2), "regions": pl.DataFrame({"shop": SHOPS[:2], "region": ["n", "s"]})}
    found = {}
    for name, frame in (frames | {"outcomes": frames["orders"]}).items():
        found[name] = [tmp_path / f"{name}.parquet"]
        frame.write_parquet(found[name][0])
    return found


def asked(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(pl.col("row_id").alias("entity"), pl.col("t").dt.timestamp("us").alias("event_time"))


def test_requests_at_their_spine_time_get_what_the_offline_join_gives(tables):
    whole = compute(RICH, tables)
    offline = Offline(RICH.plan, tables)
    assert offline.at(asked(whole))[0].equals(whole.select(RICH.features))
    shuffled = whole.sample(fraction=0.5, shuffle=True, with_replacement=True, seed=4)
    assert offline.at(asked(shuffled))[0].equals(shuffled.select(RICH.features)), "any order, and as often as asked"
    assert offline.known(pl.Series([whole["row_id"][3], "nobody", ""])).to_list() == [True, False, False]


def test_an_earlier_instant_is_what_a_set_computes_whose_requests_came_earlier(tables):
    whole = compute(RICH, tables)
    columns = {**SPINE.columns, "event_time": "asked - INTERVAL '1 hour'"}
    spine = replace(SPINE, columns={**columns, "asked": "asked"}, event_time="asked", available_at="event_time")
    views = (RICH.views[0], RICH.views[2])
    earlier = replace(RICH, spine=spine, views=views, entity="entity", label=None)
    found = Offline(RICH.plan, tables).at(asked(whole), seconds_before=(0, 3_600))
    names = [name for view in views for part in view.parts for name in part.outputs]
    assert found[3_600].select(names).equals(compute(earlier, tables).select(names))
    assert not found[3_600].equals(found[0])
    assert found[0].equals(whole.select(RICH.features))


def test_a_request_later_than_its_spine_row_sees_what_became_known_in_between(tables):
    first = asked(compute(RICH, tables)).head(1)
    offline = Offline(RICH.plan, tables)
    later = first.with_columns(pl.col("event_time") + 3 * HOUR)
    assert offline.at(later, seconds_before=(10_800,))[10_800].equals(offline.at(first)[0])
    far = first.with_columns(pl.col("event_time") + 30 * DAY)
    assert offline.at(far)[0]["recent_count_level_1h"].item() == 0


def test_tables_that_no_longer_fit_are_one_clear_error(tables):
    pl.read_parquet(tables["orders"][0]).rename({"size": "weight"}).write_parquet(tables["orders"][0])
    with pytest.raises(InvalidInput, match="Feature set 'rich' cannot be computed over the newest dataset versions"):
        Offline(RICH.plan, tables)
