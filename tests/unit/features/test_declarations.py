from __future__ import annotations

from dataclasses import replace

import pytest

from gateline.data import ColumnType
from gateline.features import KnownAt, Label, instant
from gateline.features.declarations.plan import Latest, OnDemand, Window
from gateline.features.engine.checking import check_plan
from gateline.features.rules import expression_mistakes, plan_mistakes
from gateline.kernel.errors import InvalidInput

SCHEMAS = {
    "orders": {
        "id": ColumnType.STRING, "shop": ColumnType.STRING, "asked": ColumnType.DATETIME, "amount": ColumnType.INT64,
        "late": ColumnType.BOOLEAN, "settled": ColumnType.DATETIME, "local": ColumnType.NAIVE_DATETIME,
    },
    "payments": {"shop": ColumnType.STRING, "delay": ColumnType.FLOAT64, "paid": ColumnType.DATETIME, "known": ColumnType.DATETIME},
    "shops": {"shop": ColumnType.STRING, "size": ColumnType.INT64},
}  # fmt: skip


def mistakes(plan) -> list[str]:
    with pytest.raises(InvalidInput) as error:
        check_plan(plan, SCHEMAS)
    assert all(one in error.value.message for one in error.value.facts["mistakes"])
    return error.value.facts["mistakes"]


def test_the_features_of_a_set_are_typed_in_order(plan):
    assert [(one.name, one.dtype, one.kind.value) for one in check_plan(plan, SCHEMAS)] == [
        ("mean_delay", "float64", "numeric"),
        ("last_delay", "float64", "numeric"),
        ("size", "int64", "numeric"),
        ("amount", "int64", "numeric"),
        ("shop", "string", "categorical"),
        ("amount_per_size", "float64", "numeric"),
    ]


def test_a_source_without_availability_is_refused(plan):
    late = replace(plan, spine=replace(plan.spine, available_at=""), label=None)
    assert "source 'orders' has no available_at; say from when on its rows could be known" in plan_mistakes(late)


def test_unknown_names_are_all_reported_with_suggestions(plan):
    payments = replace(plan.parts[0].source, columns={**plan.parts[0].source.columns, "delay": "dealy"})
    broken = replace(
        plan,
        parts=(replace(plan.parts[0], source=payments), replace(plan.parts[1], source=payments), plan.parts[2]),
        on_demand=(OnDemand(name="amount_per_size", sql="amuont / size"),),
        label=replace(plan.label, sql="lates"),
        known_at=(KnownAt(dataset="ordres", columns=("late",), sql="settled"), KnownAt(dataset="orders", columns=("lat",), sql="settled")),
    )
    found = mistakes(broken)
    assert "source 'payments', column 'delay': column 'dealy' is not in dataset 'payments' (did you mean 'delay'?)" in found
    assert any("column 'amuont' is not in the spine or the features of parts (did you mean 'amount'?)" in one for one in found)
    assert any("column 'lates' is not in dataset 'orders' (did you mean 'late'?)" in one for one in found)
    assert any("no such dataset in the set (did you mean 'orders'?)" in one for one in found)
    assert any("column 'lat' is not in it (did you mean 'late'?)" in one for one in found)


def test_aliases_that_do_not_exist_are_reported_before_any_data_is_read(plan):
    broken = replace(
        plan,
        time="ask",
        unit="days",
        slices=("shops",),
        categorical=("nothing",),
        columns=("amount", "colour"),
        parts=(replace(plan.parts[0], key="shp", column="dly"), plan.parts[1], plan.parts[2]),
    )
    found = plan_mistakes(broken)
    for name in ("ask", "days", "shops", "nothing", "colour", "shp", "dly"):
        assert any(f"'{name}' is not among the" in one for one in found), name


def test_outputs_must_be_unique_and_free(plan):
    broken = replace(
        plan,
        parts=(
            *plan.parts,
            replace(plan.parts[0], name="size"),
            replace(plan.parts[1], features={"unit": "delay", "id": "delay"}),
        ),
    )
    found = plan_mistakes(broken)
    assert "feature 'size' is declared 2 times" in found
    assert any("feature 'unit' has a reserved name" in one for one in found)
    assert any("feature 'id' has the name of a spine column" in one for one in found)
    assert "2 parts are called 'last'" in found


def test_numbers_out_of_range_are_reported(plan):
    broken = replace(
        plan,
        parts=(
            Window(
                name="w",
                source=plan.parts[0].source,
                key="shop",
                column="delay",
                aggregate="median",
                window_seconds=0,
                offset_seconds=-1,
            ),
            Latest(name="l", source=plan.parts[0].source, key="shop", features={"x": "delay"}, max_age_seconds=0),
        ),
        on_demand=(),
    )
    text = "; ".join(plan_mistakes(broken))
    for words in ("'median' is no aggregate", "the window must be positive", "would look into the future", "max_age_seconds must be"):
        assert words in text


def test_types_that_do_not_fit_are_reported(plan):
    orders = replace(plan.spine, columns={**plan.spine.columns, "asked": "local", "shop": "amount"}, where="amount + 1")
    broken = replace(plan, spine=orders, label=Label(source=orders, sql="id", available_at="amount"))
    text = "; ".join(mistakes(broken))
    for words in (
        "event_time 'asked' is a time stamp without a zone",
        "part 'mean_delay': key 'shop' is Int64 in the spine, but String in 'payments'",
        "where is Int64, not true or false",
        "label is String, not a number or a boolean",
        "label, available_at is Int64, not a UTC time stamp",
    ):
        assert words in text


def test_a_mean_of_texts_and_a_time_as_feature_are_refused(plan):
    broken = replace(plan, parts=(replace(plan.parts[0], column="shop"),), columns=("asked",), on_demand=(), categorical=())
    text = "; ".join(mistakes(broken))
    assert "mean of 'shop' needs numbers, not String" in text
    assert "feature 'asked' is Datetime" in text


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("", "empty"),
        ("NOW()", "NOW"),
        ("CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP"),
        ("SUM(amount)", "sum()"),
        ("AVG(amount) OVER ()", "OVER"),
        ("(SELECT 1)", "SELECT"),
        ("amount -- note", "'--'"),
        ("amount; amount", "';'"),
        ("RANDOM ( )", "RANDOM"),
        ("a" * 10_001, "longer"),
    ],
)
def test_an_expression_looks_at_one_row_and_no_clock(sql, words):
    assert any(words in one for one in expression_mistakes(sql))


@pytest.mark.parametrize(
    "sql", ["'now()'", "amount IN (1, 2)", "CASE WHEN (amount > 1) THEN 'over' END", '"select" + 1', "CAST(x AS DECIMAL(10, 2))"]
)
def test_words_in_texts_and_quoted_names_are_no_calls(sql):
    assert expression_mistakes(sql) == []


@pytest.mark.parametrize("sql", ["amount +", "amount, amount", "upper(amount, 1, 2)", "shop + 1", "date(shop, 1)"])
def test_wrong_sql_is_refused_in_words(plan, sql):
    found = mistakes(replace(plan, on_demand=(OnDemand(name="amount_per_size", sql=sql),)))
    assert len(found) == 1
    assert found[0].startswith("on-demand feature 'amount_per_size'")


def test_a_fixed_instant_needs_an_offset():
    assert instant("2013-01-01T01:00:00+01:00") == instant("2013-01-01T00:00:00Z")
    with pytest.raises(InvalidInput):
        instant("2013-01-01")
