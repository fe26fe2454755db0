"""The functions of row expressions in Spark SQL: each with the meaning that Polars gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from gateline.adapters.spark import dates
from gateline.adapters.spark.values import Value, as_number, as_text, converted, text_literal, unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

_NAN, _INFINITY = "CAST('NaN' AS DOUBLE)", "CAST('Infinity' AS DOUBLE)"
# Above this, fractions of double precision are whole numbers.
_ALL_WHOLE = "4503599627370496D"
# The characters that Unicode calls white space, which Polars strips; Spark by itself strips only blanks.
_SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


def call(name: str, args: list[Value], dtype: pl.DataType) -> str:
    """Return a call in Spark SQL; raises InvalidInput for a function, or a use of it, that Spark cannot keep."""
    found = _FUNCTIONS.get(name)
    if found is None:
        unsupported(f"the function {name}()")
    if dtype.is_decimal() or dtype == pl.Float32():
        unsupported(f"{name}() of decimals", "Use CAST(… AS DOUBLE), or write constants with an exponent (1.5e0).")
    return found(args, dtype)


def divided(left: str, right: str) -> str:
    """Return a quotient of fractions, where division by zero gives infinity or NaN; Spark would give a missing value."""
    return f"CASE WHEN {right} = 0D THEN {left} * pow({right}, -1D) ELSE {left} / {right} END"


def _of_number(name: str) -> Callable[[list[Value], pl.DataType], str]:
    return lambda args, _: f"{name}({as_number(args[0])})"


def _of_text(name: str) -> Callable[[list[Value], pl.DataType], str]:
    return lambda args, _: f"{name}({', '.join(_text(one) for one in args)})"


def _text(value: Value) -> str:
    if value.dtype not in {pl.String(), pl.Null()}:
        unsupported(f"{value.dtype} where a text is wanted", "Use CAST(… AS VARCHAR).")
    return as_text(value)


def _number(value: Value, name: str) -> int:
    if not isinstance(value.literal, int) or isinstance(value.literal, bool):
        unsupported(f"{name}() with a number that is no literal")
    return value.literal


def _literal_text(value: Value, name: str) -> str:
    if not isinstance(value.literal, str) or not value.literal:
        unsupported(f"{name}() with characters that are no literal text")
    return value.literal


def _to_whole(name: str) -> Callable[[list[Value], pl.DataType], str]:
    def written(args: list[Value], _: pl.DataType) -> str:
        (value,) = args
        if value.dtype.is_integer():
            return value.sql
        number = as_number(value)
        return f"CASE WHEN abs({number}) < {_ALL_WHOLE} THEN CAST({name}({number}) AS DOUBLE) ELSE {number} END"

    return written


def _round(args: list[Value], _: pl.DataType) -> str:
    if args[0].dtype.is_integer():
        return args[0].sql
    places = _number(args[1], "round") if len(args) > 1 else 0
    if not 0 <= places <= 15:
        unsupported(f"round() to {places} places")
    number = as_number(args[0])
    if places == 0:
        return f"rint({number})"
    power = f"1e{places}D"
    return f"CASE WHEN abs({number}) < {_ALL_WHOLE} THEN rint({number} * {power}) / {power} ELSE {number} END"


def _sign(args: list[Value], _: pl.DataType) -> str:
    if args[0].dtype.is_integer():
        return f"CAST(sign({args[0].sql}) AS BIGINT)"
    return f"sign({as_number(args[0])})"


def _abs(args: list[Value], dtype: pl.DataType) -> str:
    return f"abs({args[0].sql if dtype.is_integer() else as_number(args[0])})"


def _ln(value: str) -> str:
    return f"CASE WHEN {value} > 0D THEN ln({value}) WHEN {value} = 0D THEN -{_INFINITY} WHEN {value} < 0D THEN {_NAN} END"


def _logarithm(args: list[Value], _: pl.DataType) -> str:
    return divided(f"({_ln(as_number(args[0]))})", f"({_ln(as_number(args[1]))})")


def _logarithm_to(base: str) -> Callable[[list[Value], pl.DataType], str]:
    return lambda args, _: f"(({_ln(as_number(args[0]))}) / ln({base}D))"


def _pow(args: list[Value], dtype: pl.DataType) -> str:
    if dtype == pl.Float64():
        return f"pow({as_number(args[0])}, {as_number(args[1])})"
    exponent = _number(args[1], "pow of whole numbers")
    if not 0 <= exponent <= 8:
        unsupported(f"pow of whole numbers to {exponent}", "Use CAST(… AS DOUBLE).")
    product = " * ".join([args[0].sql] * exponent)
    return f"({product})" if exponent else f"CASE WHEN {args[0].sql} IS NOT NULL THEN 1L END"


def _mod(args: list[Value], dtype: pl.DataType) -> str:
    left, right = args
    if dtype == pl.Float64():
        rest = f"({as_number(left)} % {as_number(right)})"
        return f"CASE WHEN {as_number(right)} = 0D AND {left.sql} IS NOT NULL THEN {_NAN} ELSE {rest} END"
    if not (left.dtype.is_integer() and right.dtype.is_integer()):
        unsupported(f"mod of {left.dtype} and {right.dtype}")
    return f"({left.sql} % {right.sql})"


def _same(name: str) -> Callable[[list[Value], pl.DataType], str]:
    return lambda args, dtype: f"{name}({', '.join(converted(one, dtype) for one in args)})"


def _nullif(args: list[Value], dtype: pl.DataType) -> str:
    other = args[1]
    if dtype.is_integer() and other.dtype.is_decimal() and other.constant:
        return f"CASE WHEN {args[0].sql} = {other.sql} THEN NULL ELSE {args[0].sql} END"
    if dtype.is_integer() and other.dtype == pl.Float64():
        return f"CASE WHEN CAST({args[0].sql} AS DOUBLE) = {other.sql} THEN NULL ELSE {args[0].sql} END"
    return f"nullif({args[0].sql}, {converted(other, dtype)})"


def _if(args: list[Value], dtype: pl.DataType) -> str:
    condition, then, otherwise = args
    return f"CASE WHEN {converted(condition, pl.Boolean())} THEN {converted(then, dtype)} ELSE {converted(otherwise, dtype)} END"


def _extreme(name: str) -> Callable[[list[Value], pl.DataType], str]:
    """NaN loses against every number, on both sides."""

    def written(args: list[Value], dtype: pl.DataType) -> str:
        values = [converted(one, dtype) for one in args]
        if len(values) == 1:
            return values[0]
        if dtype != pl.Float64():
            return f"{name}({', '.join(values)})"
        numbers = ", ".join(f"nanvl({one}, NULL)" for one in values)
        return f"coalesce({name}({numbers}), {', '.join(values)})"

    return written


def _concat(args: list[Value], _: pl.DataType) -> str:
    """Missing values count as empty texts."""
    texts = [(one, as_text(one)) for one in args if one.dtype != pl.Null()]
    written = [text if one.constant and one.literal is not None else f"coalesce({text}, '')" for one, text in texts]
    return f"concat({', '.join(written)})" if written else "''"


def _left(args: list[Value], _: pl.DataType) -> str:
    count, text = _number(args[1], "left"), _text(args[0])
    if count == 0:
        return "''"
    return f"left({text}, {count})" if count > 0 else f"left({text}, greatest(length({text}) - {-count}, 0))"


def _right(args: list[Value], _: pl.DataType) -> str:
    count, text = _number(args[1], "right"), _text(args[0])
    if count == 0:
        return "''"
    if count < 0:
        return f"substring({text}, {1 - count})"
    # Polars counts from the end again when a text is shorter: RIGHT('ab', 3) is 'b'.
    return f"right({text}, CASE WHEN length({text}) >= {count} THEN {count} ELSE {count} - length({text}) END)"


def _substr(args: list[Value], _: pl.DataType) -> str:
    text, start = _text(args[0]), _number(args[1], "substr")
    if len(args) == 2:
        return f"substring({text}, {max(start, 1)})"
    count = _number(args[2], "substr")
    return f"substring({text}, {start}, {count})" if start >= 1 else f"left({text}, {max(count + start - 1, 0)})"


def _stripped(side: str) -> Callable[[list[Value], pl.DataType], str]:
    def written(args: list[Value], _: pl.DataType) -> str:
        characters = _literal_text(args[1], "trim") if len(args) > 1 else _SPACES
        return f"trim({side} {text_literal(characters)} FROM {_text(args[0])})"

    return written


def _replace(args: list[Value], _: pl.DataType) -> str:
    wanted = _literal_text(args[1], "replace")
    return f"replace({_text(args[0])}, {text_literal(wanted)}, {_text(args[2])})"


def _padded(name: str) -> Callable[[list[Value], pl.DataType], str]:
    def written(args: list[Value], _: pl.DataType) -> str:
        fill = _literal_text(args[2], name) if len(args) > 2 else " "
        count = _number(args[1], name)
        if count < 0:
            unsupported(f"{name}() to {count} characters")
        return f"{name}({_text(args[0])}, {count}, {text_literal(fill)})"

    return written


def _strpos(args: list[Value], _: pl.DataType) -> str:
    """Positions count bytes, from 1; 0 when the text is not there or missing."""
    text, wanted = _text(args[0]), _text(args[1])
    place = f"locate({wanted}, {text})"
    return f"coalesce(CASE WHEN {place} > 0 THEN CAST(octet_length(left({text}, {place} - 1)) AS BIGINT) + 1L ELSE 0L END, 0L)"


def _length(args: list[Value], _: pl.DataType) -> str:
    return f"CAST(length({_text(args[0])}) AS BIGINT)"


_FUNCTIONS: dict[str, Callable[[list[Value], pl.DataType], str]] = {
    "abs": _abs, "ceil": _to_whole("ceil"), "floor": _to_whole("floor"), "round": _round, "sign": _sign, "sqrt": _of_number("sqrt"),
    "exp": _of_number("exp"), "ln": lambda args, _: _ln(as_number(args[0])), "log": _logarithm, "log10": _logarithm_to("10"),
    "log2": _logarithm_to("2"), "pow": _pow, "mod": _mod, "sin": _of_number("sin"), "cos": _of_number("cos"), "tan": _of_number("tan"),
    "coalesce": _same("coalesce"), "nullif": _nullif, "ifnull": _same("coalesce"), "if": _if, "greatest": _extreme("greatest"),
    "least": _extreme("least"), "concat": _concat, "upper": _of_text("upper"), "lower": _of_text("lower"), "length": _length,
    "left": _left, "right": _right, "substr": _substr, "ltrim": _stripped("LEADING"), "rtrim": _stripped("TRAILING"),
    "trim": _stripped("BOTH"), "replace": _replace, "lpad": _padded("lpad"), "rpad": _padded("rpad"),
    "starts_with": _of_text("startswith"), "ends_with": _of_text("endswith"), "strpos": _strpos, "date_part": dates.part,
    "strftime": dates.written, "strptime": dates.read_time, "date": dates.read_date,
}  # fmt: skip
