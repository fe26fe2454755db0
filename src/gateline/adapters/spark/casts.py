"""CAST and TRY_CAST in Spark SQL with the strictness of Polars: what does not fit is an error, or missing with TRY_CAST."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from gateline.adapters.spark.values import DAY_MICROSECONDS, as_number, as_text, bounds, text_literal, to_storage, unsupported

if TYPE_CHECKING:
    from gateline.adapters.spark.values import Value

_WHOLE = "'^[+-]?[0-9]+$'"
_FRACTION = r"'^[+-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE][+-]?[0-9]+)?$'"
_SPECIAL = "'(?i)^[+-]?(inf|infinity|nan)$'"
_SPECIALS = {"(?i)nan": "NaN", "(?i)^-inf": "-Infinity", "(?i)inf": "Infinity"}


def cast(value: Value, dtype: pl.DataType, *, strict: bool) -> str:  # noqa: PLR0911
    """Return the cast of a value; raises InvalidInput for types that the engines do not share."""
    if value.dtype == dtype and dtype != pl.Float32():
        return value.sql
    if dtype.is_integer():
        return _whole(value, dtype, strict=strict)
    if dtype == pl.Float64():
        return _parsed_fraction(value, strict=strict) if value.dtype == pl.String() else as_number(value)
    if dtype == pl.String():
        return as_text(value)
    if dtype == pl.Boolean() and value.dtype.is_numeric():
        return f"({value.sql} <> 0)"
    if dtype == pl.Date() and isinstance(value.dtype, pl.Datetime):
        return f"CAST(unix_date(CAST({to_storage(value.sql, pl.Datetime('us', 'UTC'))} AS DATE)) AS BIGINT)"
    if isinstance(dtype, pl.Datetime) and dtype.time_unit == "us":
        if value.dtype == pl.Date():
            return f"({value.sql} * {DAY_MICROSECONDS}L)"
        if value.dtype.is_integer() or isinstance(value.dtype, pl.Datetime):
            return value.sql
    return unsupported(f"a CAST from {value.dtype} to {dtype}")


def failing(condition: str, then: str, source: str, what: str, *, strict: bool, dtype: str = "BIGINT") -> str:
    """Return `then` where the condition holds; elsewhere an error that names the value, or a missing value when not strict.

    A missing value stays missing.
    """
    if not strict:
        return f"CASE WHEN {condition} THEN {then} END"
    message = f"concat('cannot read ', CAST({source} AS STRING), {text_literal(f' as {what}')})"
    refusal = f"CAST(raise_error({message}) AS {dtype})"
    return f"CASE WHEN {source} IS NULL THEN CAST(NULL AS {dtype}) WHEN {condition} THEN {then} ELSE {refusal} END"


def _whole(value: Value, dtype: pl.DataType, *, strict: bool) -> str:
    low, high = bounds(dtype)
    what = str(dtype)
    if value.dtype == pl.String():
        number = f"CAST({value.sql} AS DECIMAL(38, 0))"
        fits = f"{value.sql} RLIKE {_WHOLE} AND {number} BETWEEN {low}BD AND {high}BD"
        return failing(fits, f"CAST({number} AS BIGINT)", value.sql, what, strict=strict)
    if value.dtype == pl.Float64():
        # The bounds are powers of two, and so are exact as fractions; NaN is greater than everything.
        fits = f"{value.sql} > {float(low)!r}D - 1D AND {value.sql} < {float(high + 1)!r}D"
        if dtype == pl.Int64():
            fits = f"{value.sql} >= {float(low)!r}D AND {value.sql} < {float(high + 1)!r}D"
        return failing(fits, f"CAST({value.sql} AS BIGINT)", value.sql, what, strict=strict)
    if value.dtype == pl.Boolean():
        return f"CAST({value.sql} AS BIGINT)"
    if value.dtype.is_integer() or isinstance(value.dtype, pl.Datetime) or value.dtype == pl.Date():
        if dtype == pl.Int64():
            return value.sql
        return failing(f"{value.sql} BETWEEN {low}L AND {high}L", value.sql, value.sql, what, strict=strict)
    if isinstance(value.dtype, pl.Duration) and dtype == pl.Int64():
        return value.sql
    return unsupported(f"a CAST from {value.dtype} to {dtype}")


def _parsed_fraction(value: Value, *, strict: bool) -> str:
    source = value.sql
    special = "".join(f" WHEN {source} RLIKE '{form}' THEN CAST('{name}' AS DOUBLE)" for form, name in _SPECIALS.items())
    number = f"CASE{special} ELSE CAST({source} AS DOUBLE) END"
    return failing(f"{source} RLIKE {_FRACTION} OR {source} RLIKE {_SPECIAL}", number, source, "Float64", strict=strict, dtype="DOUBLE")
