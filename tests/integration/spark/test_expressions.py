"""Row expressions on Spark have the values of Polars: every function of the vocabulary, edge by edge, or it is refused by name."""

from __future__ import annotations

import datetime as dt
import math
import random

import polars as pl
import pytest

from gateline.adapters.spark.syntax import parse
from gateline.adapters.spark.translation import Translation
from gateline.adapters.spark.values import from_storage, quoted, stored_type
from gateline.features.rules import FUNCTIONS
from gateline.kernel.errors import InvalidInput

UTC = dt.UTC
FRAME = pl.DataFrame(
    {
        "i": [7, -7, 0, None, 3],
        "j": [2, 2, -3, 2, 0],
        "x": [2.5, -2.5, 0.5, None, math.nan],
        "y": [1.0, -0.0, 3.7, 2.0, -1.0],
        "s": ["Hello", " a\tb\u00a0", "", None, "äöü-日本"],
        "u": ["lo", "b", "x", "y", "日"],
        "n": ["12", "-007", "+5", None, "9"],
        "b": [True, False, None, True, False],
        "d": [dt.date(2013, 1, 1), dt.date(2012, 12, 30), None, dt.date(1969, 12, 31), dt.date(2024, 2, 29)],
        "t": [
            dt.datetime(2013, 1, 1, 5, 15, 0, 1, UTC),
            dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
            None,
            dt.datetime(2024, 2, 29, 12, tzinfo=UTC),
            dt.datetime(2013, 3, 10, 7, tzinfo=UTC),
        ],
        "z": [dt.datetime(2013, 1, 1, 5, 15), dt.datetime(1969, 12, 31, 23, 59, 59, 999_999), None, dt.datetime(2024, 2, 29), None],
    },
    schema_overrides={"t": pl.Datetime("us", "UTC"), "z": pl.Datetime("us")},
)
# Every word of the vocabulary, by what it is used in. The words of syntax stand under the forms that they are part of.
CASES: dict[str, list[str]] = {
    "abs": ["abs(i)", "abs(x)"],
    "ceil": ["ceil(x)", "ceil(i)", "ceil(x * 1e300)"],
    "floor": ["floor(x)", "floor(y)", "floor(i)"],
    "round": ["round(x)", "round(y, 1)", "round(x * 2.675, 2)", "round(y * 1e300, 3)", "round(i)", "round(i, 1)"],
    "sign": ["sign(x)", "sign(i)"],
    "sqrt": ["sqrt(x)", "sqrt(i)", "coalesce(sqrt(x), 1e0)"],
    "exp": ["exp(i)", "exp(x)"],
    "ln": ["ln(i)", "ln(x)", "coalesce(ln(i), 5e0)"],
    "log": ["log(x, 2)", "log(2, x)", "log(i, 10)", "log(y, 1)"],
    "log10": ["log10(i)", "log10(y)"],
    "log2": ["log2(i)", "log2(y)"],
    "pow": ["pow(x, 2)", "pow(i, 2)", "pow(i, 0)", "pow(i, 0.5)", "pow(2.0, i)", "pow(i, x)"],
    "mod": ["mod(i, j)", "mod(i, -2)", "mod(x, y)", "mod(x, 0)", "i % j", "x % y"],
    "sin": ["sin(x)"],
    "cos": ["cos(i)"],
    "tan": ["tan(y)"],
    "pi": ["pi() * x"],
    "coalesce": ["coalesce(i, j)", "coalesce(i, x)", "coalesce(s, 'q')", "coalesce(i, 'q')", "coalesce(null, i)", "coalesce(x, 0.5)"],
    "nullif": ["nullif(i, 7)", "nullif(x, 2.5)", "nullif(i, 2.5)", "nullif(i, x)", "nullif(s, u)"],
    "ifnull": ["ifnull(i, 9)", "ifnull(s, '')"],
    "if": ["if(i > 0, 'p', 'n')", "if(b, 1, 2)", "if(i > 0, s, null)", "if(b, x, 1)"],
    "greatest": ["greatest(i, j)", "greatest(x, y)", "greatest(s, u)", "greatest(i, j, 5)"],
    "least": ["least(i, j, 1)", "least(x, y)", "least(x, 1.5)"],
    "concat": ["concat(s, '-', i)", "concat(b, d)", "concat(t, z)", "concat(i, j, null)", "s || u", "i || j"],
    "upper": ["upper(s)"],
    "lower": ["lower(s)", "lower(upper(s))"],
    "length": ["length(s)", "length(s) - 10", "length(s) * i", "cast(length(s) as bigint) - 10"],
    "left": ["left(s, 2)", "left(s, 0)", "left(s, -2)", "left(s, 9)"],
    "right": ["right(s, 2)", "right(s, 0)", "right(s, -2)", "right(s, 9)"],
    "substr": ["substr(s, 2)", "substr(s, 2, 2)", "substr(s, 0, 2)", "substr(s, -1)", "substr(s, -1, 3)", "substr(s, 2, 0)"],
    "ltrim": ["ltrim(s)", "ltrim(s, 'He')", "trim(leading 'H' from s)"],
    "rtrim": ["rtrim(s)", "rtrim(s, 'ol')", "rtrim(s, '本')"],
    "trim": ["trim(s)", "trim(both 'Ho' from s)"],
    "replace": ["replace(s, 'l', 'L')", "replace(s, '.', 'L')", "replace(u, 'lo', '$0')"],
    "lpad": ["lpad(s, 3, '*')", "lpad(s, 8, '*')", "lpad(s, 8)"],
    "rpad": ["rpad(s, 3, '*')", "rpad(s, 8, 'é')"],
    "starts_with": ["starts_with(s, 'H')", "starts_with(s, u)", "starts_with(s, '')"],
    "ends_with": ["ends_with(s, u)"],
    "strpos": ["strpos(s, 'l')", "strpos(s, u)", "strpos(s, '')", "strpos(s, 'l') - 1"],
    "cast": [
        "cast(i as double)", "cast(y as int)", "cast(n as bigint)", "cast(n as double)", "cast(x as boolean)", "cast(b as bigint)",
        "cast(t as date)", "cast(d as timestamp)", "cast(z as timestamptz)", "cast(t as bigint)", "cast(d as bigint)", "i::double",
        "cast('2013-01-01T00:00:00Z' as timestamptz)", "cast(i as smallint) * 5000",
    ],
    "try_cast": ["try_cast(s as bigint)", "try_cast(x as bigint)", "try_cast(s as double)", "try_cast(i * 100 as tinyint)"],
    "varchar": ["cast(i as varchar)", "cast(b as varchar)", "cast(d as varchar)", "cast(t as varchar)", "cast(z as varchar)"],
    "extract": [
        *(f"extract({one} from t)" for one in ("year", "month", "day", "hour", "minute", "second", "dow", "isodow", "doy", "week")),
        *(f"extract({one} from t)" for one in ("isoyear", "quarter", "epoch", "millisecond", "microsecond", "decade", "century")),
        "extract(week from d)", "extract(isodow from d)", "extract(hour from z)", "extract(month from t) * 100",
        "extract(hour from t) - 13",
    ],
    "date_part": ["date_part('year', t)", "date_part('isodow', d)"],
    "strftime": [
        "strftime(t, '%Y-%m-%d %H:%M:%S')", "strftime(t, '%Y%m%dT%H%MZ')", "strftime(d, 'on %d/%m''s day')", "strftime(t, 'plain')",
        "strftime(t, '%j %a %A %b %B %y %e %I %p %u %w %V %G %D %F %T %R %%')",
    ],
    "strptime": ["strptime(left(cast(t as varchar), 19), '%Y-%m-%d %H:%M:%S')", "strptime(strftime(t, '%Y%m%dT%H%M'), '%Y%m%dT%H%M')"],
    "date": ["date(cast(d as varchar))", "date(strftime(t, '%d.%m.%Y'), '%d.%m.%Y')", "date '2013-01-01'"],
    "in": ["i in (7, 0)", "i in (7, null)", "i not in (7, 0)", "s in ('Hello', '')", "x in (2.5, 1)", "i in (x, j)"],
    "and": ["b and i > 0", "i between 1 and 3 or i = 7 and not b"],
    "or": ["b or i > 0"],
    "not": ["not b", "not i > 0", "not i = 7 and b"],
    "between": ["i between 0 and 7", "i not between 0 and 7", "i between 0.5 and 7.5"],
    "case": ["case i when 7 then 'a' else 'b' end", "case when i > 0 then 1 end"],
    "when": ["case when i > 0 then 'p' when i < 0 then 'n' else 'z' end"],
    "then": ["case when b then x end"],
    "else": ["case when b then 1.5 else x end"],
    "like": ["s like 'H%'", "s like '%l_'", "s not like 'H%'", "s like '%\\%'", "s like 'Hello'"],
    "is": ["i is null", "i is not null", "b is true", "b is not true", "b is false", "x is null"],
    "interval": [
        "t + interval '1 minute'", "t - interval '1 hour 30 minutes'", "t + i * interval '1 minute'", "t + x * interval '1 minute'",
        "t - t > i * interval '1 minute'", "d + interval '1 day'", "d - interval '1 hour'", "z + interval '1 day'",
        "(t - cast('2013-01-01T00:00:00Z' as timestamptz)) / interval '1 minute'", "t + y / 3 * interval '1 microsecond'", "d - d", "t - d",
    ],
    "by": ["i * i + j * 2 - 3"],  # a word of syntax that no row expression needs
    "decimal": ["x > 2.5", "i > 2.5", "i <= -2.5", "x * 1.5"],  # constants with a point are decimals; CAST to one is refused below
}  # fmt: skip
REFUSED = {
    "cast(i as decimal(10, 2))": "CAST from Int64 to Decimal",
    "i + 1.5": "arithmetic of whole numbers with decimals",
    "cast(x as varchar)": "Float64 as text",
    "concat(s, x)": "Float64 as text",
    "left(s, i)": "left.. with a number that is no literal",
    "replace(s, '', 'x')": "characters that are no literal text",
    "pow(i, 9)": "pow of whole numbers to 9",
    "round(x, -1)": "does not support negative",
    "strftime(t, '%U')": "directive %U",
    "strftime(d, '%H')": "directive %H of a date",
    "strptime(s, '%Y')": "Name %Y, %m, %d|the format '%Y'",
    "extract(timezone from t)": "EXTRACT.timezone",
    "cast(i as real)": "CAST from Int64 to Float32",
    "s ilike 'h%'": "'ilike' is not understood",
    "i & j": "'&' is not understood",
    "b + b": "Boolean . Boolean",
    "d + i * interval '1 day'": "interval that depends on columns",
    "unknown + 1": "unknown",
    "(i": "is missing",
    "cast(b": "is missing",
}


@pytest.fixture(scope="module")
def rows(spark, tmp_path_factory):
    """The frame on Spark, in the form of values, with its order."""
    path = tmp_path_factory.mktemp("values") / "values.parquet"
    FRAME.write_parquet(path)
    schema = ", ".join(f"{quoted(name)} {stored_type(name, dtype)}" for name, dtype in FRAME.schema.items())
    columns = [f"{from_storage(name, dtype)} AS {quoted(name)}" for name, dtype in FRAME.schema.items()]
    return spark.read.schema(schema).parquet(str(path)).selectExpr(*columns, "_metadata.row_index AS place").persist()


def plain(expression: str) -> list:
    """Return the values of an expression in Polars; times as whole numbers."""
    values = FRAME.lazy().with_columns(pl.sql_expr(expression).alias("value")).collect()["value"]
    return (values.to_physical() if values.dtype.is_temporal() else values).to_list()


def same(left, right) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return (math.isnan(left) and math.isnan(right)) or math.isclose(left, right, rel_tol=1e-12)
    return type(left) is type(right) and left == right


def differing(rows, expressions: list[str]) -> list[str]:
    translate = Translation(FRAME.schema)
    columns = [f"{translate(one).sql} AS c{place}" for place, one in enumerate(expressions)]
    found = rows.selectExpr(*columns, "place").orderBy("place").collect()
    told = []
    for place, expression in enumerate(expressions):
        got, wanted = [row[f"c{place}"] for row in found], plain(expression)
        if not all(map(same, got, wanted)):
            told.append(f"{expression}: Spark {got}, Polars {wanted}")
    return told


def test_every_word_of_the_vocabulary_is_tried():
    assert CASES.keys() == FUNCTIONS


def test_every_function_has_the_values_of_polars(rows):
    expressions = [one for cases in CASES.values() for one in cases]
    assert [one for start in range(0, len(expressions), 60) for one in differing(rows, expressions[start : start + 60])] == []


def test_the_comparison_sees_a_difference(rows):
    """Division means something else on Spark when it is not translated."""
    found = rows.selectExpr("CAST(i AS DOUBLE) / j AS c", "place").orderBy("place").collect()
    assert not all(map(same, [row["c"] for row in found], plain("i / j")))
    assert differing(rows, ["i / j", "x / y", "1e0 / x", "i // j"]) == []


@pytest.mark.parametrize("expression", REFUSED)
def test_what_spark_would_compute_differently_is_refused_by_name(expression):
    with pytest.raises(InvalidInput, match=REFUSED[expression]):
        Translation(FRAME.schema)(expression)


@pytest.mark.parametrize("expression", ["cast(s as bigint)", "cast(x as bigint)", "date(s)", "cast(i * 100 as tinyint)"])
def test_values_that_do_not_fit_are_errors_as_in_polars(rows, expression):
    from pyspark.errors import PySparkException

    with pytest.raises(pl.exceptions.PolarsError):
        plain(expression)
    with pytest.raises(PySparkException, match="cannot read"):
        rows.selectExpr(f"{Translation(FRAME.schema)(expression).sql} AS c").collect()


def random_expression(draw: random.Random, depth: int) -> tuple[str, str]:
    """Return a random expression without brackets where precedence decides, and its kind (number or truth)."""
    if depth == 0:
        return draw.choice([("i", "number"), ("j", "number"), ("y", "number"), ("3", "number"), ("b", "truth"), ("2e0", "number")])
    (left, one), (right, other) = random_expression(draw, depth - 1), random_expression(draw, draw.randrange(depth))
    if one == other == "number":
        sign = draw.choice(["+", "-", "*", "<", ">=", "=", "<>"])
        return f"{left} {sign} {right}", "truth" if sign in {"<", ">=", "=", "<>"} else "number"
    if one == other == "truth":
        return f"{'NOT ' if draw.random() < 0.3 else ''}{left} {draw.choice(['AND', 'OR'])} {right}", "truth"
    return (left, one) if draw.random() < 0.5 else (f"({left})", one)


def test_brackets_and_precedence_are_read_as_polars_reads_them(rows):
    draw = random.Random(20130101)
    drawn = {random_expression(draw, 3)[0] for _ in range(400)}
    found = []
    for expression in sorted(drawn):
        try:
            plain(expression)
        except (pl.exceptions.PolarsError, TypeError):
            continue  # chains such as a < b < c, which Polars refuses too
        found.append(expression)
    assert len(found) > 150
    assert differing(rows, found[:150]) == []


def test_a_tree_keeps_the_text_that_polars_reads():
    tree = parse("NOT a + 2 * b > 3 AND c IS NOT NULL")
    assert [tree.kind, tree.args[0].kind, tree.args[1].text] == ["and", "not", "c IS NOT NULL"]
    assert tree.columns == {"a", "b", "c"}
