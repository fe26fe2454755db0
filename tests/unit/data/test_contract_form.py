from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from gateline.data import ColumnType, contract_from_dict, contract_from_text, contract_to_toml, split_contract_id
from gateline.data.contracts.form import canonical_bound
from gateline.kernel.errors import InvalidInput
from tests.support.contracts import column, contract_of

TOML = """
dataset = "flights"
compatibility = "forward"
keys = [["origin", "at"]]

[freshness]
column = "at"
age_seconds_max = 86400

[[columns]]
name = "at"
dtype = "datetime"
min = 2013-01-01T00:00:00-05:00

[[columns]]
name = "day"
dtype = "date"
max = 2013-12-31

[[columns]]
name = "origin"
dtype = "string"
categories = ["LGA", "EWR", "JFK", "JFK"]
protected = true

[[columns]]
name = "tailnum"
dtype = "string"
nullable = true
missing_share_max = 0.05
personal = { kind = "identifier", note = "leads to the owner\\u007f" }
"""


def test_a_contract_reads_from_toml_and_comes_to_its_canonical_form():
    contract = contract_from_text(TOML, name="flights.toml")
    assert contract.rules["at"].min == "2013-01-01T05:00:00.000000Z"
    assert contract.rules["day"].max == "2013-12-31"
    assert contract.rules["origin"].categories == ("EWR", "JFK", "LGA")
    assert contract.keys == (("at", "origin"),)
    assert contract.rules["tailnum"].personal.note.endswith("owner\x7f")
    assert not contract.extra_columns
    assert contract_from_text(contract_to_toml(contract), name="it") == contract
    assert contract_from_text(json.dumps(contract.as_dict()), name="it") == contract
    assert contract_from_dict(contract.as_dict()).digest == contract.digest


def test_all_mistakes_of_a_form_are_named_at_once():
    document = {
        "dataset": 7,
        "colour": "red",
        "keys": ["a"],
        "compatibility": "sideways",
        "freshness": {"column": "a", "age": 1},
        "row_count_change": [],
        "columns": [
            "a",
            {"name": "a", "dtype": "int32", "nullable": "yes"},
            {"name": "b", "dtype": "int64", "min": 1.5, "categories": ["x"], "personal": {"kind": "secret"}, "size": 1},
            {"name": "c", "dtype": "string", "min": "a", "categories": ["\ud800"]},
        ],
    }
    with pytest.raises(InvalidInput) as error:
        contract_from_dict(document)
    for mistake in (
        "'dataset' must be a text", "unknown field 'colour'", "each of 'keys' must be a list", "'sideways' is none of backward, forward",
        "freshness: unknown field 'age'", "freshness: 'age_seconds_max' is missing", "row_count_change must be an object",
        "each of 'columns' must be an object", "column 'a': 'int32' is none of int64", "column 'a': 'nullable' must be true or false",
        "column 'b': min '1.5' is no int64", "column 'b': the category 'x' is no int64", "personal, kind: 'secret' is none of identifier",
        "column 'b': unknown field 'size'", "column 'c': a string has no min", "column 'c': the category",
    ):  # fmt: skip
        assert mistake in error.value.message
    assert len(error.value.facts["mistakes"]) == 16


def test_rules_that_contradict_each_other_are_named_at_once():
    with pytest.raises(InvalidInput) as error:
        contract_of(
            column("a", missing_share_max=0.5),
            column("a", nullable=True, missing_share_max=1.5),
            column("b", min=2, max=1, required=False),
            column("c", categories=[1], min=0),
            column("d", "boolean", categories=["true"]),
            column("e", categories=[]),
            column(" "),
            dataset="Flights",
            keys=[["b"], ["z"], []],
            freshness={"column": "a", "age_seconds_max": 0},
            row_count_change={"shrink_share_max": 2, "growth_share_max": -1},
        )
    for mistake in (
        "The dataset name 'Flights' is not allowed", "column 'a' is named 2 times", "column 'a': missing_share_max is given, but",
        "missing_share_max must lie in 0 to 1, not 1.5", "column 'b': min 2 is above max 1", "column 'c': give a range or categories",
        "column 'd': a boolean has no categories", "column 'e': it has 0 categories", "the name must have 1 to 100 characters",
        "key 'b': 'b' is no required column", "key 'z': 'z' is no required column", "a key names no columns",
        "freshness: 'a' is no required column of type date or datetime", "age_seconds_max must be positive, not 0",
        "shrink_share_max must lie in 0 to 1, not 2", "growth_share_max must not be negative",
    ):  # fmt: skip
        assert mistake in error.value.message


@pytest.mark.parametrize("text", ["columns = [", "{", "[]", '{"a": 1}', "{" * 100_000])
def test_what_is_no_contract_is_refused(text):
    with pytest.raises(InvalidInput):
        contract_from_text(text, name="the file")


@pytest.mark.parametrize(
    ("value", "kind", "bound"),
    [
        (2**63, ColumnType.INT64, None),
        (True, ColumnType.INT64, None),
        (1, ColumnType.FLOAT64, 1.0),
        (float("inf"), ColumnType.FLOAT64, None),
        ("0099-01-01", ColumnType.DATE, "0099-01-01"),
        (date(2013, 1, 1), ColumnType.DATE, "2013-01-01"),
        (datetime(2013, 1, 1), ColumnType.DATE, None),
        (datetime(2013, 1, 1, tzinfo=UTC), ColumnType.DATETIME, "2013-01-01T00:00:00.000000Z"),
        ("2013-01-01T00:00:00", ColumnType.DATETIME, None),
        ("2013-01-01T00:00:00", ColumnType.NAIVE_DATETIME, "2013-01-01T00:00:00.000000"),
        ("0001-01-01T00:00:00+05:00", ColumnType.DATETIME, None),
        ("soon", ColumnType.DATE, None),
        ([], ColumnType.DATETIME, None),
    ],
)
def test_bounds_have_one_form_for_each_type(value, kind, bound):
    assert canonical_bound(value, kind) == bound


def test_the_id_of_a_dataset_version_is_not_taken_for_that_of_a_contract():
    assert split_contract_id("a/contract@12") == ("a", 12)
    for wrong in ("flights@1", "flights/contract", "flights/contract@0", "flights/contract@x", "flights/pact@1"):
        with pytest.raises(InvalidInput):
            split_contract_id(wrong)


def test_a_personal_column_cannot_carry_freshness_whose_refusal_tells_its_value():
    with pytest.raises(InvalidInput, match="freshness: 'seen' is personal"):
        contract_of(
            column("seen", "datetime", personal={"kind": "behaviour"}), freshness={"column": "seen", "age_seconds_max": 60},
        )  # fmt: skip
