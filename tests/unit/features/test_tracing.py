"""A Python function becomes expressions, or is refused when it is declared; every operator means what Python means by it."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from gateline.features import OnDemandView
from gateline.features.declarations.tracing import Column, ceil, coalesce, cos, exp, floor, greatest, least, log, sin, sqrt, trace, where
from gateline.features.engine.expressions import typed
from gateline.features.rules import expression_mistakes
from gateline.kernel.errors import InvalidInput

ROW = {"a": -7, "b": 3, "x": 2.25, "y": -0.5, "yes": True, "no": False, "word": "it's", "gone": None}
FRAME = pl.DataFrame(ROW, schema_overrides={"gone": pl.Float64})
# Written once: the same function is traced over columns and called with the numbers themselves.
ARITHMETIC = [
    lambda a, b: a + b,
    lambda a: a + 2,
    lambda a: 2 + a,
    lambda a, b: a - b,
    lambda a: 2 - a,
    lambda a: a - -2,
    lambda a, x: a * x,
    lambda a: 0.5 * a,
    lambda a: a * 0.30000000000000004,
    lambda a, b: a / b,
    lambda a: 7 / a,
    lambda a: a / 2,
    lambda a, b: a % b,
    lambda a: a % -4,
    lambda b: 17 % b,
    lambda y, x: y % x,
    lambda a: a**2,
    lambda a: a**-1,
    lambda b: 2**b,
    lambda x: x**0.5,
    lambda a: -a,
    lambda x: -x,
    lambda a: abs(a) + 1,
    lambda a, b: a < b,
    lambda a, b: a <= b,
    lambda a, b: a > b,
    lambda a, b: a >= b,
    lambda a: a == -7,
    lambda a: a != -7,
    lambda word: word == "it's",
    lambda yes, no: yes & no,
    lambda yes, no: yes | no,
    lambda yes: True & yes,
    lambda no: False | no,
    lambda x: x * 1e-300,
    lambda a, b: (a + b) * (a - b) / 4 - b % 2,
]


def value(column: Column) -> object:
    """Return what the column is worth on the one row, typed as a feature is."""
    assert expression_mistakes(column.sql) == []
    inferred = FRAME.lazy().select(pl.sql_expr(column.sql).alias("v")).collect_schema()["v"]
    return FRAME.select(typed(pl.sql_expr(column.sql), inferred).alias("v")).item()


def traced(function) -> object:
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return value(function(*(Column(name) for name in names)))


@pytest.mark.parametrize("function", ARITHMETIC, ids=range(len(ARITHMETIC)))
def test_an_operator_means_what_python_means(function):
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    assert traced(function) == pytest.approx(function(*(ROW[name] for name in names)), rel=1e-15)


VALUES = [
    (~Column("yes"), False),
    (Column("gone").is_missing(), True),
    (Column("a").is_missing(), False),
    (where(Column("a") < 0, Column("b"), 9), 3),
    (where(Column("a") > 0, "up", "down"), "down"),
    (where(Column("gone") > 0, 1, 2), 2),
    (where(Column("a") < 0, None, 1), None),
    (coalesce(Column("gone"), Column("x"), 1), 2.25),
    (log(Column("x")), math.log(2.25)),
    (exp(Column("x")), math.exp(2.25)),
    (sqrt(Column("x")), 1.5),
    (sin(Column("x")), math.sin(2.25)),
    (cos(Column("x")), math.cos(2.25)),
    (floor(Column("y")), -1.0),
    (ceil(Column("x")), 3.0),
    (greatest(Column("a"), Column("b"), -9), 3),
    (least(Column("a"), Column("b"), Column("gone")), -7),
    (Column("gone") + 1, None),
    (log(Column("a")), None),  # the logarithm of a negative number is no number
    (Column("x") / 0, None),
    (Column("x") * np.float64(2), 4.5),
]


@pytest.mark.parametrize(("column", "expected"), VALUES, ids=range(len(VALUES)))
def test_a_function_of_columns_has_its_value(column, expected):
    assert value(column) == (expected if not isinstance(expected, float) else pytest.approx(expected, rel=1e-14))


def test_a_view_keeps_the_expressions_of_its_function_by_name():
    def geometry(distance, hours):
        return {"speed": distance / hours, "far": distance > 1_000}

    view = OnDemandView(name="geometry", function=geometry)
    assert view.expressions == {"far": "(distance > 1000)", "speed": "(CAST(distance AS DOUBLE) / hours)"}
    assert [one.name for one in view.on_demand] == ["far", "speed"]
    assert view == OnDemandView(name="geometry", expressions=view.expressions)
    with pytest.raises(InvalidInput, match="a function and expressions"):
        OnDemandView(name="geometry", function=geometry, expressions={"x": "distance"})


def _chained(a):
    return {"x": 0 < a < 5}


def _branches(a):
    return {"x": a if a > 0 else 5}


def _loops(a):
    return {"x": sum(a)}


def _grows(a):
    for _ in range(40):
        a = a * a
    return {"x": a}


REFUSED = [
    (_branches, "truth of a column"),
    (_chained, "truth of a column"),
    (lambda a: {"x": a and 1}, "truth of a column"),
    (lambda a: {"x": a in (1, 2)}, "truth of a column"),
    (_loops, "walks through a column"),
    (lambda a: {"x": 1 in a}, "walks through a column"),
    (lambda a: {"x": float(a)}, "into one number"),
    (lambda a: {"x": math.sqrt(a)}, "into one number"),
    (lambda a: {"x": [1, 2][a]}, "into one number"),
    (lambda a: {"x": np.log(a)}, "does what columns cannot"),
    (lambda a: {"x": a.mean()}, "does what columns cannot: 'Column' object has no attribute 'mean'"),
    (lambda a: {"x": a // 2}, "does what columns cannot"),
    (lambda a: {"x": len(a)}, "does what columns cannot"),
    (lambda a: {"x": {a: 1}}, "does what columns cannot"),
    (lambda a: {"x": a == None}, "compares a column with None"),  # noqa: E711
    (lambda a: {"x": a != None}, "compares a column with None"),  # noqa: E711
    (lambda a: {"x": a + math.nan}, "uses the number nan"),
    (lambda a: {"x": a * math.inf}, "uses the number inf"),
    (lambda a: {"x": a + b"1"}, "uses a bytes"),
    (lambda a: {"x": 3}, "must return a mapping of feature name to column, not a mapping that holds int for 'x'"),
    (lambda a: {}, "not dict"),
    (lambda a: a, "not Column"),
    (lambda a: 3, "not int"),
    (lambda *a: {"x": a[0]}, "the parameters a, which name no columns"),
    (lambda **a: {"x": a["b"]}, "the parameters a, which name no columns"),
    (_grows, "more than 10,000 characters"),
]


@pytest.mark.parametrize(("function", "words"), REFUSED, ids=range(len(REFUSED)))
def test_a_function_that_is_no_expression_is_refused_in_words(function, words):
    with pytest.raises(InvalidInput, match=".*") as error:
        trace("view", function)
    assert words in error.value.message
