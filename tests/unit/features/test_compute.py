from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from gateline.features import Aggregate, FeatureSet, Label, Latest, Lookup, Source, Window, compute
from gateline.kernel.errors import InvalidInput, NotFound


def only(feature_set: FeatureSet, *parts) -> FeatureSet:
    return replace(feature_set, parts=parts, on_demand=())


def test_each_spine_row_comes_once_in_order_with_all_columns(feature_set, tables):
    found = compute(feature_set, tables)
    assert found.columns == [
        "row_id", "t", "id", "mean_delay", "last_delay", "size", "amount", "shop", "amount_per_size", "label", "label_available_at", "unit",
    ]  # fmt: skip
    assert found["row_id"].to_list() == ["o3", "o1", "o2"]
    assert found["mean_delay"].to_list() == [3.0, 1.0, None]  # known in (5, 20]; in (-15, 0]; no shop
    assert found["last_delay"].to_list() == [3.0, 1.0, None]  # the payment of -2 is newer than that of -3, though known before it
    assert found["size"].to_list() == [4, 4, None]
    assert found["amount_per_size"].to_list() == [7.5, 2.5, None]
    assert found["label"].to_list() == [1, None, 0]
    assert found["label_available_at"].is_null().to_list() == [False, True, False]
    assert found["unit"].to_list() == ["2013-01-01"] * 3


def test_types_are_explicit_whatever_the_data(feature_set, tables, changed, frames):
    expected = {
        "row_id": pl.String(), "t": pl.Datetime("us", "UTC"), "id": pl.String(), "mean_delay": pl.Float64(), "last_delay": pl.Float64(),
        "size": pl.Int64(), "amount": pl.Int64(), "shop": pl.String(), "amount_per_size": pl.Float64(), "label": pl.Int64(),
        "label_available_at": pl.Datetime("us", "UTC"), "unit": pl.String(),
    }  # fmt: skip
    assert dict(compute(feature_set, tables).schema) == expected
    empty = changed(payments=frames["payments"].clear(), shops=frames["shops"].clear())
    found = compute(feature_set, empty)
    assert dict(found.schema) == expected
    assert found["mean_delay"].null_count() == found["last_delay"].null_count() == found["size"].null_count() == 3
    assert compute(feature_set, changed(orders=frames["orders"].clear())).height == 0


@pytest.mark.parametrize("aggregate", list(Aggregate))
def test_a_window_is_open_at_its_begin_and_closed_at_its_end(feature_set, tables, aggregate):
    source = feature_set.parts[0].source
    window = Window(name="w", source=source, key="shop", column="delay", aggregate=aggregate, window_seconds=600)
    nothing = 0 if aggregate is Aggregate.COUNT else None
    one = 1 if aggregate is Aggregate.COUNT else 1.0
    three = 1 if aggregate is Aggregate.COUNT else 3.0
    # The order of minute 0 sees the payment known at minute 0. That of minute 20 misses the one known at minute 10 by nothing.
    assert compute(only(feature_set, window), tables)["w"].to_list() == [nothing, one, nothing]
    assert compute(only(feature_set, replace(window, window_seconds=601)), tables)["w"].to_list() == [three, one, nothing]


def test_rows_known_at_the_same_instant_all_count(feature_set, changed, frames):
    first = frames["payments"].row(0, named=True)
    payments = pl.DataFrame([first, {**first, "delay": 2.0}, {**first, "delay": 6.0}], schema=frames["payments"].schema)
    count = Window(name="n", source=feature_set.parts[0].source, key="shop", column="delay", aggregate="count", window_seconds=1)
    total = Window(name="s", source=feature_set.parts[0].source, key="shop", column="delay", aggregate="sum", window_seconds=1)
    found = compute(only(feature_set, count, total), changed(payments=payments))
    assert found.select("n", "s").rows() == [(0, None), (3, 9.0), (0, None)]


def test_a_value_older_than_its_age_limit_is_missing(feature_set, tables):
    source = feature_set.parts[0].source
    exact = Latest(name="l", source=source, key="shop", features={"l": "delay"}, max_age_seconds=20 * 60)
    assert compute(only(feature_set, exact), tables)["l"].to_list() == [
        None,
        1.0,
        None,
    ]  # paid at -20, asked at 0; at 20 the newest is of -2
    shorter = replace(exact, max_age_seconds=20 * 60 - 1)
    assert compute(only(feature_set, shorter), tables)["l"].to_list() == [None, None, None]
    longer = replace(exact, max_age_seconds=22 * 60)
    assert compute(only(feature_set, longer), tables)["l"].to_list() == [3.0, 1.0, None]


def test_an_offset_moves_the_whole_look_back(feature_set, tables):
    part = Window(
        name="w", source=feature_set.parts[0].source, key="shop", column="delay", aggregate="mean", window_seconds=600, offset_seconds=600
    )
    assert compute(only(feature_set, part), tables)["w"].to_list() == [3.0, None, None]  # (0, 10] for o3


def test_a_lookup_row_counts_only_from_when_it_was_known(feature_set, tables):
    late = replace(
        feature_set.parts[2].source, columns={**feature_set.parts[2].source.columns, "known": "CAST('2013-01-01T12:05:00Z' AS TIMESTAMPTZ)"}
    )
    part = Lookup(name="shop", source=late, key="shop", features={"size": "size"})
    assert compute(only(feature_set, part), tables)["size"].to_list() == [4, None, None]


def test_a_label_may_come_from_another_source(feature_set, tables, tmp_path):
    source = Source(name="outcomes", dataset="outcomes", columns={"id": "order_id", "at": "at"}, event_time="at", available_at="at")
    outcomes = pl.DataFrame({"order_id": ["o2", "o3"], "value": [0.5, 1.5]}).with_columns(
        at=pl.datetime(2013, 1, 2, time_unit="us", time_zone="UTC")
    )
    outcomes.write_parquet(tmp_path / "outcomes.parquet")
    labelled = replace(feature_set, label=Label(source=source, sql="value", available_at="at"))
    found = compute(labelled, {**tables, "outcomes": [tmp_path / "outcomes.parquet"]})
    assert found["label"].to_list() == [1.5, None, 0.5]


def test_several_entity_columns_make_a_stable_row_id(feature_set, tables):
    found = compute(replace(feature_set, entity=("id", "asked")), tables)
    assert found["row_id"].to_list()[0] == "o3|2013-01-01T12:20:00.000000Z"


def test_a_spine_that_repeats_an_entity_or_lacks_its_time_is_refused(feature_set, tables, changed, frames):
    orders = frames["orders"]
    with pytest.raises(InvalidInput, match=r"2 rows repeat a key that must be unique \(row_id\), for example .*'same'"):
        compute(feature_set, changed(orders=orders.with_columns(id=pl.lit("same"))))
    broken = orders.with_columns(asked=pl.when(pl.col("id") != "o1").then("asked"), id=pl.when(pl.col("id") != "o2").then("id"))
    with pytest.raises(InvalidInput) as error:
        compute(feature_set, changed(orders=broken))
    assert "1 rows have no 'asked', first row 1" in error.value.message
    assert "1 rows have no 'id', first row 2" in error.value.message


def test_a_lookup_table_that_repeats_a_key_is_refused(feature_set, changed, frames):
    with pytest.raises(InvalidInput, match=r"lookup table 'shops', 1 rows repeat a key"):
        compute(feature_set, changed(shops=pl.concat([frames["shops"], frames["shops"][:1]])))


def test_a_missing_table_is_named(feature_set, tables):
    del tables["shops"]
    with pytest.raises(NotFound, match="datasets shops of set"):
        compute(feature_set, tables)


def test_a_sum_that_could_leave_64_bits_is_refused(feature_set, tables, changed, frames):
    payments = frames["payments"].with_columns(delay=pl.lit(2**62))
    part = Window(name="w", source=feature_set.parts[0].source, key="shop", column="delay", aggregate="sum", window_seconds=60)
    with pytest.raises(InvalidInput, match="could exceed 64 bits"):
        compute(only(feature_set, part), changed(payments=payments))
