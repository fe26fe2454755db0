from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateline.features import Aggregate, EventSource, Label, Plan, compute
from gateline.features.declarations.plan import Latest, Lookup, Window
from gateline.features.engine.expressions import with_expressions
from gateline.kernel.errors import InvalidInput, NotFound


def only(plan: Plan, *parts) -> Plan:
    return replace(plan, parts=parts, on_demand=())


def test_each_spine_row_comes_once_in_order_with_all_columns(plan, tables):
    found = compute(plan, tables)
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


def test_types_are_explicit_whatever_the_data(plan, tables, changed, frames):
    expected = {
        "row_id": pl.String(), "t": pl.Datetime("us", "UTC"), "id": pl.String(), "mean_delay": pl.Float64(), "last_delay": pl.Float64(),
        "size": pl.Int64(), "amount": pl.Int64(), "shop": pl.String(), "amount_per_size": pl.Float64(), "label": pl.Int64(),
        "label_available_at": pl.Datetime("us", "UTC"), "unit": pl.String(),
    }  # fmt: skip
    assert dict(compute(plan, tables).schema) == expected
    empty = changed(payments=frames["payments"].clear(), shops=frames["shops"].clear())
    found = compute(plan, empty)
    assert dict(found.schema) == expected
    assert found["mean_delay"].null_count() == found["last_delay"].null_count() == found["size"].null_count() == 3
    assert compute(plan, changed(orders=frames["orders"].clear())).height == 0


@pytest.mark.parametrize("aggregate", list(Aggregate))
def test_a_window_is_open_at_its_begin_and_closed_at_its_end(plan, tables, aggregate):
    source = replace(plan.parts[0].source, columns={**plan.parts[0].source.columns, "half": "0.5"})
    window = Window(name="w", source=source, key="shop", column="delay", aggregate=aggregate, window_seconds=600)
    if aggregate is Aggregate.RATIO:
        window = replace(window, denominator="half")
    if aggregate is Aggregate.LAST_K:
        window = replace(window, position=1)
    counted = aggregate in {Aggregate.COUNT, Aggregate.APPROX_DISTINCT}
    nothing, one, three = (0, 1, 1) if counted else (None, 1.0, 3.0)
    if aggregate in {Aggregate.VAR, Aggregate.STD}:
        one = three = None  # one value has no spread
    if aggregate is Aggregate.RATIO:
        one, three = 2.0, 6.0
    # The order of minute 0 sees the payment known at minute 0. That of minute 20 misses the one known at minute 10 by nothing.
    assert compute(only(plan, window), tables)["w"].to_list() == [nothing, one, nothing]
    assert compute(only(plan, replace(window, window_seconds=601)), tables)["w"].to_list() == [three, one, nothing]


def test_rows_known_at_the_same_instant_all_count(plan, changed, frames):
    first = frames["payments"].row(0, named=True)
    payments = pl.DataFrame([first, {**first, "delay": 2.0}, {**first, "delay": 6.0}], schema=frames["payments"].schema)
    count = Window(name="n", source=plan.parts[0].source, key="shop", column="delay", aggregate="count", window_seconds=1)
    total = Window(name="s", source=plan.parts[0].source, key="shop", column="delay", aggregate="sum", window_seconds=1)
    found = compute(only(plan, count, total), changed(payments=payments))
    assert found.select("n", "s").rows() == [(0, None), (3, 9.0), (0, None)]


def test_a_value_older_than_its_age_limit_is_missing(plan, tables):
    source = plan.parts[0].source
    exact = Latest(name="l", source=source, key="shop", features={"l": "delay"}, max_age_seconds=20 * 60)
    assert compute(only(plan, exact), tables)["l"].to_list() == [
        None,
        1.0,
        None,
    ]  # paid at -20, asked at 0; at 20 the newest is of -2
    shorter = replace(exact, max_age_seconds=20 * 60 - 1)
    assert compute(only(plan, shorter), tables)["l"].to_list() == [None, None, None]
    longer = replace(exact, max_age_seconds=22 * 60)
    assert compute(only(plan, longer), tables)["l"].to_list() == [3.0, 1.0, None]


def test_an_offset_moves_the_whole_look_back(plan, tables):
    part = Window(
        name="w", source=plan.parts[0].source, key="shop", column="delay", aggregate="mean", window_seconds=600, offset_seconds=600
    )
    assert compute(only(plan, part), tables)["w"].to_list() == [3.0, None, None]  # (0, 10] for o3


def test_a_lookup_row_counts_only_from_when_it_was_known(plan, tables):
    late = replace(plan.parts[2].source, columns={**plan.parts[2].source.columns, "known": "CAST('2013-01-01T12:05:00Z' AS TIMESTAMPTZ)"})
    part = Lookup(name="shop", source=late, key="shop", features={"size": "size"})
    assert compute(only(plan, part), tables)["size"].to_list() == [4, None, None]


def test_a_label_may_come_from_another_source(plan, tables, tmp_path):
    source = EventSource(name="outcomes", dataset="outcomes", columns={"id": "order_id", "at": "at"}, event_time="at", available_at="at")
    outcomes = pl.DataFrame({"order_id": ["o2", "o3"], "value": [0.5, 1.5]}).with_columns(
        at=pl.datetime(2013, 1, 2, time_unit="us", time_zone="UTC")
    )
    outcomes.write_parquet(tmp_path / "outcomes.parquet")
    labelled = replace(plan, label=Label(source=source, sql="value", available_at="at"))
    found = compute(labelled, {**tables, "outcomes": [tmp_path / "outcomes.parquet"]})
    assert found["label"].to_list() == [1.5, None, 0.5]


def test_several_entity_columns_make_a_stable_row_id(plan, tables):
    found = compute(replace(plan, entity=("id", "asked")), tables)
    assert found["row_id"].to_list()[0] == "o3|2013-01-01T12:20:00.000000Z"


def test_a_spine_that_repeats_an_entity_or_lacks_its_time_is_refused(plan, tables, changed, frames):
    orders = frames["orders"]
    with pytest.raises(InvalidInput, match=r"2 rows repeat a key that must be unique \(row_id\), for example .*'same'"):
        compute(plan, changed(orders=orders.with_columns(id=pl.lit("same"))))
    broken = orders.with_columns(asked=pl.when(pl.col("id") != "o1").then("asked"), id=pl.when(pl.col("id") != "o2").then("id"))
    with pytest.raises(InvalidInput) as error:
        compute(plan, changed(orders=broken))
    assert "1 rows have no 'asked', first row 2" in error.value.message
    assert "1 rows have no 'id', first row 3" in error.value.message


def test_a_lookup_table_that_repeats_a_key_is_refused(plan, changed, frames):
    with pytest.raises(InvalidInput, match=r"lookup table 'shops', 1 rows repeat a key"):
        compute(plan, changed(shops=pl.concat([frames["shops"], frames["shops"][:1]])))


def test_a_missing_table_is_named(plan, tables):
    del tables["shops"]
    with pytest.raises(NotFound, match="datasets shops of set"):
        compute(plan, tables)


def test_a_sum_that_could_leave_64_bits_is_refused(plan, tables, changed, frames):
    payments = frames["payments"].with_columns(delay=pl.lit(2**62))
    part = Window(name="w", source=plan.parts[0].source, key="shop", column="delay", aggregate="sum", window_seconds=60)
    with pytest.raises(InvalidInput, match="could exceed 64 bits"):
        compute(only(plan, part), changed(payments=payments))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_a_row_alone_gets_the_same_bits_as_in_a_table(values):
    frame = pl.DataFrame({"x": values}).with_columns(y=pl.col("x") * 1.7 + 3)
    expressions = {"third": "x / 3", "scaled": "(x - 75.3e0) / 74.3e0", "ratio": "x / y", "wave": "SIN(x) + POW(ABS(x), 1.7e0)"}
    whole = with_expressions(frame, expressions)
    assert pl.concat([with_expressions(one, expressions) for one in frame.iter_slices(1)]).equals(whole)
    assert with_expressions(frame, {}) is frame
