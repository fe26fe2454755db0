from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from gateline.data import Compatibility
from gateline.data.contracts.check import check_table
from gateline.data.contracts.infer import infer_contract
from gateline.data.contracts.rules import breaks
from tests.support.contracts import column, contract_of

NOW = 1_356_998_400_000_000


def sentences(contract, table, **facts):
    return [one.sentence for one in check_table(contract, table, now=NOW, **facts)]


def test_every_broken_promise_is_told_with_count_and_first_rows():
    contract = contract_of(
        column("id", unique=True),
        column("age", min=0, max=120),
        column("kind", "string", categories=["a", "b"]),
        column("gone", "string"),
        column("size", "float64"),
        column("when", "date", max="2013-01-01"),
    )
    table = pl.DataFrame(
        {
            "id": [1, 1, 2, 1, 3, 1, 1, 1],
            "age": [-1, 5, None, 130, 5, 5, 5, 5],
            "kind": ["a", "b", None, "c", "a", "a", "a", "a"],
            "size": ["1"] * 8,
            "when": [date(2013, 1, 2)] + [date(2013, 1, 1)] * 7,
            "extra": [1] * 8,
        }
    )
    assert sentences(contract, table) == [
        "column 'gone' is missing",
        "column 'extra' is not in the contract",
        "column 'size' is string and not float64",
        "column 'id': 5 values are repeated, but must be unique, first in rows 2, 4, 6, 7, 8 (1; 1; 1; 1; 1)",
        "column 'age': 1 value is missing, first in row 3",
        "column 'age': 2 values are outside 0 to 120, first in rows 1, 4 (-1; 130)",
        "column 'kind': 1 value is missing, first in row 3",
        "column 'kind': 1 value is not among the 2 allowed categories, first in row 4 (c)",
        "column 'when': 1 value is above 2013-01-01, first in row 1 (2013-01-02)",
    ]


def test_values_of_personal_columns_are_never_shown():
    contract = contract_of(column("name", "string", categories=["x"], personal={"kind": "identifier"}), column("n"), keys=[["n", "name"]])
    found = sentences(contract, pl.DataFrame({"name": ["Ann", "Ann"], "n": [1, 1]}))
    assert found == [
        "column 'name': 2 values are not among the 1 allowed categories, first in rows 1, 2",
        "columns 'n', 'name': 1 row is repeated, but must be unique, first in row 2",
    ]


def test_long_texts_and_long_lists_are_cut():
    contract = contract_of(column("s", "string", categories=["x"]))
    (found,) = sentences(contract, pl.DataFrame({"s": ["y" * 500] * 9}))
    shown = "; ".join(["y" * 60 + "…"] * 5)
    assert found == f"column 's': 9 values are not among the 1 allowed categories, first in rows 1, 2, 3, 4, 5 … ({shown}; …)"


def test_rows_with_a_missing_value_in_a_key_are_not_compared():
    contract = contract_of(column("a", nullable=True, unique=True), column("b"), keys=[["a", "b"]])
    assert sentences(contract, pl.DataFrame({"a": [None, None, 1], "b": [1, 1, 1]})) == []


def test_a_column_that_may_be_absent_is_checked_when_it_is_there():
    contract = contract_of(column("a"), column("b", required=False, min=0))
    assert sentences(contract, pl.DataFrame({"a": [1]})) == []
    assert sentences(contract, pl.DataFrame({"a": [1], "b": [-1]})) == ["column 'b': 1 value is below 0, first in row 1 (-1)"]


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ([-3600], None),
        ([-3600, 10**8], None),
        ([-3601], "the newest value, 2012-12-31T22:59:59.000000Z, is 3,601 seconds old; at most 3,600 are allowed"),
        ([-3601, 1], "is 3,601 seconds old"),
        ([1], "no value lies before now"),
    ],
)
def test_freshness_looks_at_the_newest_value_that_is_not_in_the_future(offsets, words):
    contract = contract_of(column("at", "datetime"), freshness={"column": "at", "age_seconds_max": 3600})
    start = datetime(2013, 1, 1, tzinfo=UTC)
    found = sentences(contract, pl.DataFrame({"at": [start + timedelta(seconds=one) for one in offsets]}))
    assert found == [] if words is None else words in found[0]


def test_a_day_is_as_old_as_its_begin():
    contract = contract_of(column("day", "date"), freshness={"column": "day", "age_seconds_max": 86_400})
    assert sentences(contract, pl.DataFrame({"day": [date(2012, 12, 31)]})) == []
    assert "is 172,800 seconds old" in sentences(contract, pl.DataFrame({"day": [date(2012, 12, 30)]}))[0]


def test_the_number_of_rows_may_move_as_far_as_promised():
    contract = contract_of(column("a"), row_count_change={"shrink_share_max": 0.1, "growth_share_max": 0.5})

    def told(rows, before):
        return sentences(contract, pl.DataFrame({"a": range(rows)}), rows_before=before)

    assert told(90, 100) == told(150, 100) == told(1, None) == []
    assert told(89, 100) == ["the version before has 100 rows and this one 89; at most 0.1 of them may go"]
    assert told(151, 100) == ["the version before has 100 rows and this one 151; at most 0.5 times as many may come"]


def test_bounds_are_inferred_with_their_evidence():
    rows = 400
    table = pl.DataFrame(
        {
            "id": range(1000, 1000 + rows),
            "month": [1 + row % 12 for row in range(rows)],
            "delay": [float(row - 100) for row in range(rows)],
            "distance": [100.0 + row for row in range(rows)],
            "carrier": ["AA", "UA"] * 200,
            "note": [f"n{row}" if row < 10 else "n" for row in range(rows)],
            "tail": [None if row % 40 == 0 else f"N{row}" for row in range(rows)],
            "odd": [float("nan")] + [1.0] * (rows - 1),
            "none": pl.Series([None] * rows, dtype=pl.Int64),
            "at": [datetime(2013, 1, 1, tzinfo=UTC) + timedelta(hours=row // 2) for row in range(rows)],
        }
    )
    contract, evidence = infer_contract("flights", table)
    rules = contract.rules
    assert (rules["id"].min, rules["id"].max, rules["id"].unique) == (601, 1798, True)
    assert (rules["month"].min, rules["month"].max) == (1, 12)
    assert (rules["delay"].min, rules["delay"].max, rules["delay"].unique) == (-499.0, 698.0, False)
    assert (rules["distance"].min, rules["distance"].max) == (0, 898.0)
    assert rules["carrier"].categories == ("AA", "UA")
    assert rules["note"].categories is None
    assert (rules["tail"].nullable, rules["tail"].missing_share_max, rules["tail"].unique) == (True, 0.05, False)
    assert rules["odd"].min is rules["odd"].max is None
    assert rules["none"].missing_share_max == 1.0
    assert (rules["at"].min, rules["at"].max, rules["at"].unique) == ("2013-01-01T00:00:00.000000Z", None, False)
    assert "the rarest 200 times" in evidence["carrier"]
    assert "seen only once" in evidence["note"]
    assert evidence["tail"].startswith("10 of 400 values are missing")
    assert sentences(contract, table) == []


def test_what_people_declared_is_carried_into_the_next_draft():
    basis = contract_of(
        column("a", description="an id", personal={"kind": "identifier"}), column("b", protected=True), column("at", "datetime"),
        keys=[["a", "b"], ["a", "at"]], freshness={"column": "at", "age_seconds_max": 60}, row_count_change={"shrink_share_max": 0.5},
        compatibility="full", description="people",
    )  # fmt: skip
    table = pl.DataFrame({"a": [1, 1, 2], "b": [1, 2, 1], "c": [1, 2, 3], "at": [1, 1, 2]})
    draft, evidence = infer_contract("people", table, basis=basis)
    assert draft.rules["a"].min is draft.rules["a"].max is None  # no value of a personal column enters a draft
    assert evidence["a"] == "0 of 3 values are missing; bounds would tell values of a personal column"
    assert draft.rules["c"].max is not None
    assert draft.rules["a"].personal == basis.rules["a"].personal
    assert draft.rules["a"].description == "an id"
    assert draft.rules["b"].protected
    assert draft.keys == (("a", "b"),)  # a and at together repeat here
    assert draft.freshness is None  # at is no time any more
    assert (draft.compatibility, draft.description, draft.row_count_change) == (Compatibility.FULL, "people", basis.row_count_change)


def test_breaks_say_what_breaks_whom():
    old = contract_of(
        column("a", min=0, max=9, nullable=True, missing_share_max=0.5, personal={"kind": "contact"}),
        column("b", "string", categories=["x", "y"]),
        column("c", required=False),
        keys=[["a", "b"]],
    )
    new = contract_of(
        column("a", min=1, max=8),
        column("b", "string", categories=["x"], unique=True),
        column("c"),
        column("d"),
        row_count_change={"shrink_share_max": 0.1},
    )
    assert [one.sentence for one in breaks(old, new, Compatibility.BACKWARD)] == [
        "breaks suppliers of data: column 'a': a share of 0.5 missing values passes one contract, the other allows 0",
        "breaks suppliers of data: column 'a': values from 0 pass one contract, the other begins at 1",
        "breaks suppliers of data: column 'a': values up to 9 pass one contract, the other ends at 8",
        "breaks suppliers of data: column 'b': the categories 'y' pass one contract and not the other",
        "breaks suppliers of data: column 'c': one contract lets it be absent, the other requires it",
        "breaks suppliers of data: column 'd': it is required by one contract and unknown to the other",
        "breaks suppliers of data: column 'b': values of 'b' may repeat under one contract and not under the other",
        "breaks suppliers of data: shrink_share_max is open in one contract and 0.1 in the other",
    ]
    assert [one.sentence for one in breaks(old, new, Compatibility.FORWARD)] == [
        "breaks readers of the data: column 'd': it has no place in the other contract, which allows no extra columns",
        "breaks readers of the data: column 'a': the mark 'personal' is dropped",
    ]
    assert breaks(old, new, Compatibility.NONE) == ()
