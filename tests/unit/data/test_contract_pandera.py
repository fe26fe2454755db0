"""Contracts from pandera schemas; pandera itself is the oracle of what they mean."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateline.data import ColumnType, contract_from_pandera
from gateline.data.contracts.check import check_table
from gateline.kernel.errors import InvalidInput
from tests.support.pandera import pandas_schemas, schemas


class People(schemas.DataFrameModel):
    """Who came."""

    name: str = schemas.Field(unique=True, metadata={"gateline": {"personal": {"kind": "identifier"}, "protected": True}})
    age: pl.UInt8 = schemas.Field(lt=120, nullable=True, description="in years")
    height: float = schemas.Field(gt=0.0)
    kind: pl.Enum = schemas.Field(dtype_kwargs={"categories": ["a", "b"]})
    at: Annotated[pl.Datetime, "us", "UTC"] = schemas.Field(ge=datetime.fromisoformat("2013-01-01T00:00:00+00:00"))
    local: Annotated[pl.Datetime, "us", None]
    day: pl.Date = schemas.Field(gt=date(2013, 1, 1))

    class Config:
        strict = True
        unique = ["age", "height"]  # noqa: RUF012


def test_a_model_becomes_a_contract_of_the_same_meaning():
    with pytest.raises(InvalidInput, match="the key .* has the nullable column 'age'"):
        contract_from_pandera(People, "people")
    schema = People.to_schema()
    schema.unique = ["name", "height"]
    contract = contract_from_pandera(schema, "people", compatibility="full")
    rules = contract.rules
    assert {name: rule.dtype for name, rule in rules.items()} == {
        "name": ColumnType.STRING, "age": ColumnType.INT64, "height": ColumnType.FLOAT64, "kind": ColumnType.STRING,
        "at": ColumnType.DATETIME, "local": ColumnType.NAIVE_DATETIME, "day": ColumnType.DATE,
    }  # fmt: skip
    assert (rules["age"].min, rules["age"].max, rules["age"].nullable, rules["age"].description) == (0, 119, True, "in years")
    assert rules["height"].min == 5e-324
    assert rules["kind"].categories == ("a", "b")
    assert (rules["at"].min, rules["day"].min) == ("2013-01-01T00:00:00.000000Z", "2013-01-02")
    assert rules["name"].unique
    assert rules["name"].protected
    assert rules["name"].personal.kind == "identifier"
    assert contract.keys == (("height", "name"),)
    assert (contract.extra_columns, contract.compatibility) == (False, "full")


def test_a_pandas_schema_becomes_a_contract():
    schema = pandas_schemas.DataFrameSchema(
        {
            "i": pandas_schemas.Column(int, pandas_schemas.Check.in_range(0, 9, include_max=False)),
            "n": pandas_schemas.Column("Int16", nullable=True),
            "s": pandas_schemas.Column(str, pandas_schemas.Check.isin(["x", "y"]), required=False),
            "b": pandas_schemas.Column(bool),
            "t": pandas_schemas.Column("datetime64[ns, UTC]", pandas_schemas.Check.lt(datetime.fromisoformat("2013-01-01T00:00:00Z"))),
            "u": pandas_schemas.Column("datetime64[ns]"),
        }
    )
    contract = contract_from_pandera(schema, "people")
    rules = contract.rules
    assert (rules["i"].min, rules["i"].max) == (0, 8)
    assert (rules["n"].min, rules["n"].max) == (-(2**15), 2**15 - 1)
    assert (rules["s"].categories, rules["s"].required) == (("x", "y"), False)
    assert (rules["t"].dtype, rules["t"].max) == (ColumnType.DATETIME, "2012-12-31T23:59:59.999999Z")
    assert (rules["b"].dtype, rules["u"].dtype) == (ColumnType.BOOLEAN, ColumnType.NAIVE_DATETIME)
    assert contract.extra_columns


def test_what_a_contract_cannot_say_is_refused_all_at_once():
    check, column = schemas.Check, schemas.Column
    schema = schemas.DataFrameSchema(
        {
            "a": column(pl.Int64, [check(lambda data: data.lazyframe), check.ne(3), check.gt(1, raise_warning=True)]),
            "b": column(pl.String, [check.str_matches("^x"), check.ge("m")], coerce=True),
            "c": column(pl.List(pl.Int64)),
            "d": column(None, default=1),
            "^e.*$": column(pl.Int64, regex=True),
            "f": column(pl.Int64, nullable=True, unique=True),
            "g": column(pl.Int64, metadata={"gateline": {"size": 1}}),
            "h": column(pl.Int64, metadata={"gateline": {"personal": {"kind": "secret"}}}),
            "i": column(pl.Boolean, check.eq(True)),
        },
        checks=check(lambda data: data.lazyframe, name="whole"),
        ordered=True,
        strict="filter",
    )
    with pytest.raises(InvalidInput) as error:
        contract_from_pandera(schema, "people")
    for mistake in (
        "the check 'whole' of the whole table", "strict='filter'", "ordered", "column 'a': the check '<lambda>'", "not_equal_to(3)",
        "greater_than(1)' that only warns", "column 'b': coerce", "str_matches", "greater_than_or_equal_to(m)", "column 'c': the type List",
        "column 'd': a default", "column 'd': no type is given", "a pattern instead of a name", "column 'f': unique with missing values",
        "column 'g': metadata size", "column 'h': personal, kind: 'secret' is none of", "column 'i': the check 'equal_to(True)'",
    ):  # fmt: skip
        assert mistake in error.value.message
    with pytest.raises(InvalidInput, match="dict is no schema of pandera"):
        contract_from_pandera({}, "people")


_CHECK = schemas.Check
CHECKS = {
    "ge": (_CHECK.ge, st.integers(-3, 3)),
    "gt": (_CHECK.gt, st.integers(-3, 3) | st.floats(-3, 3)),
    "le": (_CHECK.le, st.integers(-3, 3)),
    "lt": (_CHECK.lt, st.integers(-3, 3) | st.floats(-3, 3)),
    "eq": (_CHECK.eq, st.integers(-3, 3)),
    "isin": (_CHECK.isin, st.lists(st.integers(-3, 3), min_size=1, max_size=3)),
}


@given(st.data())
def test_contract_and_pandera_agree_about_every_table(data: st.DataObject):
    names = data.draw(st.lists(st.sampled_from(sorted(CHECKS)), max_size=2))
    checks = [CHECKS[name][0](data.draw(CHECKS[name][1])) for name in names]
    column = schemas.Column(pl.Int64, checks, nullable=data.draw(st.booleans()))
    schema = schemas.DataFrameSchema({"a": column}, strict=data.draw(st.booleans()))
    values = data.draw(st.lists(st.integers(-4, 4) | st.none(), min_size=1, max_size=4))
    table = pl.DataFrame({"a": pl.Series(values, dtype=pl.Int64)})
    if data.draw(st.booleans()):
        table = table.with_columns(b=1)
    try:
        contract = contract_from_pandera(schema, "people")
    except InvalidInput:
        return  # two checks that no value passes
    assert (check_table(contract, table, now=0) == ()) == _passes(schema, table)


def _passes(schema: schemas.DataFrameSchema, table: pl.DataFrame) -> bool:
    try:
        schema.validate(table, lazy=True)  # a DataFrame: of a LazyFrame pandera would look at the schema alone
    except schemas.errors.SchemaErrors:
        return False
    return True


def test_exclusive_bounds_of_times_lose_no_value():
    bound = datetime(2013, 1, 1)
    schema = schemas.DataFrameSchema({"at": schemas.Column(pl.Datetime("us"), _CHECK.gt(bound))})
    contract = contract_from_pandera(schema, "people")
    for moment in (bound, bound + timedelta(microseconds=1)):
        table = pl.DataFrame({"at": [moment]})
        assert (check_table(contract, table, now=0) == ()) == _passes(schema, table)
