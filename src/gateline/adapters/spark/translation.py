"""Row expressions in Spark SQL with the values that Polars gives: types come from Polars itself, constants are computed by it.

Where Spark knows another meaning (division by zero, logarithm of zero, rounding, white space, positions in texts, NaN), the meaning of
Polars is written out. What cannot be kept is refused by name.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import polars as pl
from polars.exceptions import PolarsError

from gateline.adapters.spark import functions
from gateline.adapters.spark.casts import cast
from gateline.adapters.spark.syntax import Node, parse
from gateline.adapters.spark.values import (
    DAY_MICROSECONDS,
    Value,
    as_number,
    as_text,
    converted,
    duration,
    literal,
    quoted,
    text_literal,
    unsupported,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_COMPARISONS = {"=", "<>", "<", "<=", ">", ">="}


class Translation:
    """Translates expressions over the columns of one schema.

    Args:
        schema: Column name to type, as Polars sees them. In Spark the columns have the form of `values`.
    """

    def __init__(self, schema: Mapping[str, pl.DataType]) -> None:
        self._schema = dict(schema)
        self._empty = pl.DataFrame(schema=self._schema).lazy()
        self._types: dict[str, pl.DataType] = {}

    def __call__(self, sql: str) -> Value:
        """Return the expression in Spark SQL.

        Raises:
            InvalidInput: it is not understood, or means something else on Spark.
        """
        return self._value(parse(sql))

    def roots(self, sql: str) -> frozenset[str]:
        """Return the columns that an expression reads."""
        return parse(sql).columns

    def _type(self, node: Node) -> pl.DataType:
        if node.text not in self._types:
            try:
                self._types[node.text] = self._empty.with_columns(pl.sql_expr(node.text).alias("__value")).collect_schema()["__value"]
            except PolarsError as error:
                unsupported(f"{node.text!r}: {str(error).strip().splitlines()[0]}", "Correct the expression.")
        return self._types[node.text]

    def _constant(self, node: Node) -> Value:
        try:
            return literal(pl.DataFrame({"one": [1]}).select(pl.sql_expr(node.text).alias("value"))["value"])
        except PolarsError as error:
            unsupported(f"{node.text!r}: {str(error).strip().splitlines()[0]}", "Correct the expression.")

    def _value(self, node: Node) -> Value:
        if not node.columns:
            return self._constant(node)
        dtype = self._type(node)
        if node.kind == "column":
            if node.name not in self._schema:
                unsupported(f"column '{node.name}', which is not there")
            return Value(sql=quoted(node.name), dtype=dtype)
        args = [self._value(one) for one in node.args]
        return Value(sql=_sql(node, args, dtype), dtype=dtype)


def _sql(node: Node, args: list[Value], dtype: pl.DataType) -> str:
    """Return a node over its translated operands; `dtype` is the type that Polars gives it."""
    if node.kind in _LOGIC:
        return _LOGIC[node.kind](node, args, dtype)
    if node.kind in _COMPARISONS:
        return _compared(node.kind, *args)
    if node.kind in {"minus", "plus"}:
        zero = Value(sql="0L", dtype=pl.Int32(), constant=True, literal=0)
        return _arithmetic("-" if node.kind == "minus" else "+", zero, args[0], dtype)
    return _arithmetic(node.kind, args[0], args[1], dtype)


def _not(node: Node) -> str:
    return "NOT " if node.negated else ""


def _is(node: Node, args: list[Value], _: pl.DataType) -> str:
    if node.name == "null":
        return f"({args[0].sql} IS {_not(node)}NULL)"
    return f"({_not(node)}({_truth(args[0])} = {node.name.upper()}))"


def _between(node: Node, args: list[Value], _: pl.DataType) -> str:
    return f"({_not(node)}({_compared('>=', args[0], args[1])} AND {_compared('<=', args[0], args[2])}))"


def _in(node: Node, args: list[Value], _: pl.DataType) -> str:
    return f"({_not(node)}({' OR '.join(_compared('=', args[0], one) for one in args[1:])}))"


def _truth(value: Value) -> str:
    return converted(value, pl.Boolean())


def _case(_: Node, args: list[Value], dtype: pl.DataType) -> str:
    pairs = zip(args[0::2], args[1::2], strict=False)
    branches = " ".join(f"WHEN {_truth(condition)} THEN {converted(then, dtype)}" for condition, then in pairs)
    otherwise = f" ELSE {converted(args[-1], dtype)}" if len(args) % 2 else ""
    return f"CASE {branches}{otherwise} END"


def _compared(sign: str, left: Value, right: Value) -> str:
    for one, other in ((left, right), (right, left)):
        if one.dtype == pl.Null():
            return "CAST(NULL AS BOOLEAN)"
        if one.dtype == pl.Float64() and (other.dtype.is_numeric()):
            return f"({as_number(left)} {sign} {as_number(right)})"
        if one.dtype.is_decimal() and other.dtype.is_integer() and one.constant:
            return f"({left.sql} {sign} {right.sql})"
    if isinstance(left.dtype, pl.Duration) and isinstance(right.dtype, pl.Duration):
        unit = left.dtype.time_unit if left.dtype == right.dtype else "us"
        return f"({duration(left, unit)} {sign} {duration(right, unit)})"
    if left.dtype == right.dtype or (left.dtype.is_integer() and right.dtype.is_integer()):
        return f"({left.sql} {sign} {right.sql})"
    return unsupported(f"comparing {left.dtype} with {right.dtype}", "Bring both to one type with CAST.")


def _like(node: Node, args: list[Value], _: pl.DataType) -> str:
    pattern = args[1].literal
    if not isinstance(pattern, str):
        unsupported("LIKE with a pattern that is no literal text")
    # Polars knows no escape in patterns: the one that Spark asks for is a character that no text of ours holds.
    return f"({as_text(args[0])} {_not(node)}LIKE {text_literal(pattern)} ESCAPE '\u0001')"


def _arithmetic(sign: str, left: Value, right: Value, dtype: pl.DataType) -> str:
    if dtype.is_temporal():
        return _temporal(sign, left, right, dtype)
    if dtype == pl.Float64():
        if isinstance(left.dtype, pl.Duration) and isinstance(right.dtype, pl.Duration) and sign == "/":
            unit = left.dtype.time_unit if left.dtype == right.dtype else "us"
            numbers = f"CAST({duration(left, unit)} AS DOUBLE)", f"CAST({duration(right, unit)} AS DOUBLE)"
            same = right.dtype.time_unit == unit
            return _quotient(*numbers, right.literal if same or right.literal is None else int(right.literal / 1000))
        return _fractions(sign, as_number(left), as_number(right), right)
    if dtype.is_decimal():
        unsupported("arithmetic of whole numbers with decimals", "Write the constant with an exponent (1.5e0), or use CAST(… AS DOUBLE).")
    if not (dtype.is_integer() and left.dtype.is_integer() and right.dtype.is_integer()):
        unsupported(f"{left.dtype} {sign} {right.dtype}", "Bring both to numbers with CAST.")
    if sign in {"//", "%"}:
        whole = f"({left.sql} {'div' if sign == '//' else '%'} {right.sql})"
        return wrapped(whole, dtype)
    return wrapped(f"({left.sql} {sign} {right.sql})", dtype)


def _fractions(sign: str, left: str, right: str, divisor: Value) -> str:
    if sign == "/":
        return _quotient(left, right, divisor.literal if divisor.constant else None)
    if sign == "%":
        rest = f"({left} % {right})"
        return f"CASE WHEN {right} = 0D AND {left} IS NOT NULL THEN CAST('NaN' AS DOUBLE) ELSE {rest} END"
    if sign == "//":
        unsupported("// of fractions", "Use FLOOR(a / b).")
    return f"({left} {sign} {right})"


def _quotient(left: str, right: str, constant: Any) -> str:
    """Return a quotient; Polars multiplies a column by the inverse of a constant, which may differ in the last bit."""
    if not constant or not math.isfinite(inverse := 1 / float(constant)):
        return functions.divided(left, right)
    return f"({left} * CAST('{inverse!r}' AS DOUBLE))"


def _temporal(sign: str, left: Value, right: Value, dtype: pl.DataType) -> str:
    """Return sums and differences of times, and intervals times numbers."""
    if isinstance(dtype, pl.Duration):
        if isinstance(left.dtype, pl.Duration) and isinstance(right.dtype, pl.Duration) and sign in {"+", "-"}:
            return f"({duration(left, dtype.time_unit)} {sign} {duration(right, dtype.time_unit)})"
        if sign == "*":
            number, span = (right, left) if isinstance(left.dtype, pl.Duration) else (left, right)
            if number.dtype.is_integer():
                return f"({number.sql} * {duration(span, dtype.time_unit)})"
            product = f"({as_number(number)} * CAST({duration(span, dtype.time_unit)} AS DOUBLE))"
            return f"CASE WHEN abs({product}) < 9.2e18D THEN CAST({product} AS BIGINT) END"
        if sign == "-" and dtype.time_unit == "us":
            return f"({_micros(left)} - {_micros(right)})"
    elif sign in {"+", "-"} and isinstance(right.dtype, pl.Duration) and left.dtype == dtype:
        if dtype == pl.Date():
            if not right.constant or right.literal is None:
                unsupported("a date and an interval that depends on columns", "Use CAST(date AS TIMESTAMP).")
            moment = f"({left.sql} * {DAY_MICROSECONDS}L {sign} {duration(right, 'us')})"
            return f"(({moment} - pmod({moment}, {DAY_MICROSECONDS}L)) div {DAY_MICROSECONDS}L)"
        return f"({left.sql} {sign} {duration(right, 'us')})"
    return unsupported(f"{left.dtype} {sign} {right.dtype}")


def _micros(value: Value) -> str:
    return f"({value.sql} * {DAY_MICROSECONDS}L)" if value.dtype == pl.Date() else value.sql


_LOGIC: Mapping[str, Callable[[Node, list[Value], pl.DataType], str]] = {
    "call": lambda node, args, dtype: functions.call(node.name, args, dtype),
    "cast": lambda _, args, dtype: cast(args[0], dtype, strict=True),
    "try_cast": lambda _, args, dtype: cast(args[0], dtype, strict=False),
    "case": _case,
    "and": lambda _, args, __: f"({_truth(args[0])} AND {_truth(args[1])})",
    "or": lambda _, args, __: f"({_truth(args[0])} OR {_truth(args[1])})",
    "not": lambda _, args, __: f"(NOT {_truth(args[0])})",
    "is": _is,
    "in": _in,
    "between": _between,
    "like": _like,
    "||": lambda _, args, __: f"concat({as_text(args[0])}, {as_text(args[1])})",
}
