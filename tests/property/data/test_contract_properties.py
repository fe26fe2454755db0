"""Laws of contracts: what was inferred accepts its rows, no violation goes unnoticed, and compatibility is what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateline.data import ColumnType, Compatibility, Contract, contract_from_text, contract_to_toml
from gateline.data.contracts.check import check_table
from gateline.data.contracts.infer import infer_contract
from gateline.data.contracts.model import RuleKind
from gateline.data.contracts.rules import breaks, contract_mistakes
from gateline.data.reading import POLARS_TYPES
from tests.support.contracts import column, contract_of, contracts, kept_tables, successors, tables

NOW = 1_356_998_400_000_000
_VALUES = {
    ColumnType.INT64: st.integers(-(2**63), 2**63 - 1),
    ColumnType.FLOAT64: st.floats(),
    ColumnType.STRING: st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(["x", "y"]),
    ColumnType.BOOLEAN: st.booleans(),
    ColumnType.DATE: st.dates(),
    ColumnType.DATETIME: st.datetimes(timezones=st.just(UTC)),
    ColumnType.NAIVE_DATETIME: st.datetimes(),
}


@st.composite
def any_tables(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(1, 5)) if draw(st.integers(0, 3)) else 130
    columns = {}
    for number, kind in enumerate(draw(st.lists(st.sampled_from(ColumnType), min_size=1, max_size=4))):
        pool = draw(st.lists(_VALUES[kind] | st.none(), min_size=1, max_size=5))
        columns[f"c{number}"] = pl.Series([pool[row % len(pool)] for row in range(rows)], dtype=POLARS_TYPES[kind])
    if draw(st.booleans()):
        columns["row"] = pl.Series(range(rows), dtype=pl.Int64)
    return pl.DataFrame(columns)


@given(any_tables())
def test_an_inferred_contract_accepts_the_table_it_was_inferred_from(table: pl.DataFrame):
    contract, evidence = infer_contract("people", table)
    assert contract_mistakes(contract) == []
    assert check_table(contract, table, now=NOW) == ()
    assert set(evidence) == set(table.columns)
    assert contract_from_text(contract_to_toml(contract), name="it") == contract


@given(st.data())
def test_what_one_contract_declared_is_carried_into_the_next_draft_which_still_accepts_its_table(data: st.DataObject):
    basis = data.draw(contracts())
    table = data.draw(tables(basis))
    draft, _ = infer_contract("people", table, basis=basis)
    assert contract_mistakes(draft) == []
    assert check_table(draft, table, now=NOW) == ()
    assert draft.compatibility is basis.compatibility


@given(contracts())
def test_a_contract_reads_back_from_toml_and_follows_itself(contract: Contract):
    assert contract_from_text(contract_to_toml(contract), name="it") == contract
    assert all(breaks(contract, contract, rule) == () for rule in Compatibility)


@given(contracts(), contracts())
def test_a_full_change_is_one_that_is_backward_and_forward(old: Contract, new: Contract):
    backward, forward, full = (breaks(old, new, rule) for rule in (Compatibility.BACKWARD, Compatibility.FORWARD, Compatibility.FULL))
    assert full == (*backward, *forward)
    assert [one.column for one in backward] == [one.column for one in breaks(new, old, Compatibility.FORWARD)]
    assert breaks(old, new, Compatibility.NONE) == ()


@settings(max_examples=1000)
@given(st.data())
def test_what_the_old_contract_accepts_a_backward_compatible_successor_accepts_too(data: st.DataObject):
    old = data.draw(contracts())
    new = data.draw(successors(old))
    assert contract_mistakes(new) == []
    table, before = data.draw(kept_tables(old)), data.draw(st.none() | st.integers(1, 8))
    if breaks(old, new, Compatibility.BACKWARD) or check_table(old, table, now=NOW, rows_before=before):
        return
    event("the same" if new == old else "compatible and accepted")
    assert check_table(new, table, now=NOW, rows_before=before) == ()


def _widened(contract: Contract) -> Contract:
    rules = tuple(replace(rule, nullable=True, missing_share_max=None, min=None, unique=False) for rule in contract.columns)
    return replace(contract, columns=rules, keys=(), row_count_change=None)


@given(contracts().map(lambda one: (one, _widened(one))))
def test_a_wider_contract_is_a_backward_compatible_successor(pair: tuple[Contract, Contract]):
    assert breaks(*pair, Compatibility.BACKWARD) == ()


GOOD = {
    "id": list(range(200)),
    "kind": ["x", "y"] * 100,
    "amount": [float(number % 7) for number in range(200)],
    "at": [datetime(2012, 12, 31, tzinfo=UTC) + timedelta(seconds=number) for number in range(200)],
    "note": [None if number % 2 else "n" for number in range(200)],
}
TYPES = {"id": pl.Int64, "kind": pl.String, "amount": pl.Float64, "at": pl.Datetime("us", "UTC"), "note": pl.String}


def promised() -> Contract:
    return contract_of(
        column("id", unique=True),
        column("kind", "string", categories=["x", "y"]),
        column("amount", "float64", min=0, max=6),
        column("at", "datetime", min="2012-12-30T00:00:00Z"),
        column("note", "string", nullable=True, missing_share_max=0.5),
        keys=[["at", "kind"]],
        freshness={"column": "at", "age_seconds_max": 86_400},
        row_count_change={"shrink_share_max": 0.5, "growth_share_max": 0.5},
    )


DAMAGES = {
    "a repeated id": (RuleKind.UNIQUE, ("id",), lambda _: {"id": 0}),
    "a repeated key": (RuleKind.UNIQUE, ("at", "kind"), lambda row: {"at": GOOD["at"][row - 2], "kind": GOOD["kind"][row - 2]}),
    "an unknown kind": (RuleKind.CATEGORIES, ("kind",), lambda _: {"kind": "z"}),
    "a missing kind": (RuleKind.MISSING_VALUES, ("kind",), lambda _: {"kind": None}),
    "an amount below": (RuleKind.RANGE, ("amount",), lambda _: {"amount": -1e-9}),
    "an amount above": (RuleKind.RANGE, ("amount",), lambda _: {"amount": 6.0000001}),
    "an amount that is no number": (RuleKind.RANGE, ("amount",), lambda _: {"amount": float("nan")}),
    "a time too early": (RuleKind.RANGE, ("at",), lambda _: {"at": datetime(2012, 12, 29, tzinfo=UTC)}),
    "one missing note too many": (RuleKind.MISSING_VALUES, ("note",), lambda row: {"note": None} if row % 2 == 0 else None),
}


def test_the_table_that_the_next_test_damages_is_good():
    assert check_table(promised(), pl.DataFrame(GOOD, schema=TYPES), now=NOW, rows_before=200) == ()


@pytest.mark.parametrize("name", DAMAGES)
@given(row=st.integers(2, 199))
def test_any_single_damaged_value_is_found_and_named(name: str, row: int):
    rule, columns, damage = DAMAGES[name]
    changed = damage(row)
    if changed is None:
        return
    content = {column: [*values[:row], changed.get(column, values[row]), *values[row + 1 :]] for column, values in GOOD.items()}
    (found,) = check_table(promised(), pl.DataFrame(content, schema=TYPES), now=NOW, rows_before=200)
    assert (found.rule, found.columns) == (rule, columns)
    if name == "one missing note too many":
        assert (found.count, found.rows[0]) == (101, 2)
    else:
        assert (found.count, found.rows) == (1, (row + 1,))  # of two equal values the later one is the repetition
    assert all(f"'{column}'" in found.sentence for column in columns)
