"""Values in Spark SQL: one form for each type, so that every engine keeps the same numbers.

Whole numbers are BIGINT, fractions DOUBLE, dates the days and instants the microseconds since 1970-01-01 UTC as BIGINT, durations BIGINT in
their own unit (microseconds, or nanoseconds for literals, as in Polars).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import polars as pl

from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

INSTANT = pl.Datetime("us", "UTC")
NAIVE = pl.Datetime("us")
DAY_MICROSECONDS = 86_400_000_000
# How each type is written in a Parquet file that Spark reads.
_STORED: Mapping[pl.DataType, str] = {
    pl.Int8(): "TINYINT", pl.Int16(): "SMALLINT", pl.Int32(): "INT", pl.Int64(): "BIGINT", pl.Float64(): "DOUBLE", pl.String(): "STRING",
    pl.Boolean(): "BOOLEAN", pl.Date(): "DATE", INSTANT: "TIMESTAMP", NAIVE: "TIMESTAMP_NTZ",
}  # fmt: skip
_BITS: Mapping[pl.DataType, str] = {pl.Int8(): "TINYINT", pl.Int16(): "SMALLINT", pl.Int32(): "INT"}
_UNSIGNED: Mapping[pl.DataType, int] = {pl.UInt8(): 1 << 8, pl.UInt16(): 1 << 16, pl.UInt32(): 1 << 32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """An expression of Spark SQL in the form above.

    Attributes:
        sql: The expression.
        dtype: Its type in Polars.
        constant: Whether it reads no column.
        literal: Its value in Python, when it is constant; durations, dates and instants as whole numbers.
    """

    sql: str
    dtype: pl.DataType
    constant: bool = False
    literal: Any = None


def unsupported(what: str, next_step: str = "") -> NoReturn:
    """Refuse what Spark would compute differently.

    Raises:
        InvalidInput: always.
    """
    raise InvalidInput(f"The Spark engine refuses {what}.", next_step=next_step or "Write it otherwise, or use the Polars engine.")


def stored_type(name: str, dtype: pl.DataType) -> str:
    """Return the type of a column in a Parquet file, for the schema that Spark reads with; raises InvalidInput for others."""
    found = _STORED.get(dtype)
    if found is None:
        unsupported(f"column '{name}' of type {dtype}", f"Store it as one of {', '.join(str(one) for one in _STORED)}.")
    return found


def quoted(name: str) -> str:
    """Return a column name in Spark SQL."""
    return "`" + name.replace("`", "``") + "`"


def text_literal(value: str) -> str:
    """Return a text in Spark SQL, which reads backslashes as escapes.

    >>> print(text_literal("it's a \\\\"))
    'it\\'s a \\\\'
    """
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def from_storage(name: str, dtype: pl.DataType) -> str:
    """Return the expression that brings a stored column to the form of its type."""
    column = quoted(name)
    if dtype.is_integer():
        return f"CAST({column} AS BIGINT)"
    if dtype == pl.Date():
        return f"CAST(unix_date({column}) AS BIGINT)"
    if isinstance(dtype, pl.Datetime):
        return f"unix_micros(CAST({column} AS TIMESTAMP))"
    return column


def to_storage(sql: str, dtype: pl.DataType) -> str:
    """Return the expression that brings a value back to the type with which it is written."""
    if dtype == pl.Date():
        return f"date_from_unix_date(CAST({sql} AS INT))"
    if isinstance(dtype, pl.Datetime):
        moment = f"timestamp_micros({sql})"
        return moment if dtype.time_zone else f"CAST({moment} AS TIMESTAMP_NTZ)"
    return sql


def typed(value: Value) -> Value:
    """Return a value in one of Gateline's types: whole numbers as Int64, others as finite Float64, UTC microseconds."""
    if value.dtype.is_integer():
        return Value(sql=value.sql, dtype=pl.Int64())
    if value.dtype == pl.Float64():
        finite = f"(abs({value.sql}) < CAST('Infinity' AS DOUBLE))"  # NaN is greater than everything
        return Value(sql=f"CASE WHEN {finite} THEN {value.sql} END", dtype=pl.Float64())
    if isinstance(value.dtype, pl.Datetime) or value.dtype in {pl.Boolean(), pl.String(), pl.Date()}:
        return Value(sql=value.sql, dtype=value.dtype)
    unsupported(f"a column of type {value.dtype}", "Give it a type with CAST(… AS DOUBLE), BIGINT, VARCHAR or BOOLEAN.")


def spark_type(dtype: pl.DataType) -> str:
    """Return the type of a value's form."""
    if dtype == pl.Float64():
        return "DOUBLE"
    if dtype == pl.String():
        return "STRING"
    return "BOOLEAN" if dtype == pl.Boolean() else "BIGINT"


def literal(series: pl.Series) -> Value:
    """Return the one value of a series as a constant."""
    dtype = series.dtype
    plain = series.to_physical().item() if dtype.is_temporal() else series.item()
    if dtype.is_decimal() and plain is not None:
        return Value(sql=f"{plain:f}BD", dtype=dtype, constant=True, literal=plain)
    if plain is None:
        sql = f"CAST(NULL AS {spark_type(dtype)})"
    elif isinstance(plain, bool):
        sql = "TRUE" if plain else "FALSE"
    elif isinstance(plain, int):
        if not -(1 << 63) < plain < 1 << 63:
            unsupported(f"the number {plain}, which leaves 64 bits", "Write it as a fraction, for example 1e20.")
        sql = f"({plain}L)"
    elif isinstance(plain, float):
        sql = f"CAST('{plain!r}' AS DOUBLE)"
    elif isinstance(plain, str):
        sql = text_literal(plain)
    else:
        unsupported(f"a constant of type {dtype}")
    return Value(sql=sql, dtype=dtype, constant=True, literal=plain)


def wrapped(sql: str, dtype: pl.DataType) -> str:
    """Return a whole number as it comes out of arithmetic in a type of few bits, where Polars wraps around."""
    if dtype in _BITS:
        return f"CAST(CAST({sql} AS {_BITS[dtype]}) AS BIGINT)"
    if dtype in _UNSIGNED:
        return f"pmod({sql}, {_UNSIGNED[dtype]}L)"
    if dtype != pl.Int64():
        unsupported(f"arithmetic in {dtype}", "Use CAST(… AS BIGINT).")
    return sql


def bounds(dtype: pl.DataType) -> tuple[int, int]:
    """Return the least and the greatest number of a whole type."""
    if dtype in _UNSIGNED:
        return 0, _UNSIGNED[dtype] - 1
    sizes: Mapping[pl.DataType, int] = {pl.Int8(): 8, pl.Int16(): 16, pl.Int32(): 32, pl.Int64(): 64}
    size = sizes.get(dtype) or unsupported(f"a CAST to {dtype}")
    return -(1 << (size - 1)), (1 << (size - 1)) - 1


def as_number(value: Value) -> str:
    """Return a number as DOUBLE."""
    if value.dtype == pl.Float64():
        return value.sql
    if value.dtype.is_decimal():
        if not value.constant or value.literal is None:
            unsupported("decimals that depend on columns", "Use CAST(… AS DOUBLE), or write the constant with an exponent (1.5e0).")
        return f"CAST('{float(value.literal)!r}' AS DOUBLE)"
    if value.dtype.is_integer() or value.dtype in {pl.Boolean(), pl.Null()}:
        return f"CAST({value.sql} AS DOUBLE)"
    unsupported(f"{value.dtype} where a number is wanted")


def as_text(value: Value) -> str:
    """Return a value as text, as Polars writes it."""
    if value.dtype in {pl.String(), pl.Null()}:
        return f"CAST({value.sql} AS STRING)" if value.dtype == pl.Null() else value.sql
    if value.dtype.is_integer() or value.dtype == pl.Boolean():
        return f"CAST({value.sql} AS STRING)"
    if value.dtype == pl.Date():
        return f"date_format({to_storage(value.sql, value.dtype)}, 'yyyy-MM-dd')"
    if isinstance(value.dtype, pl.Datetime):
        written = f"date_format(timestamp_micros({value.sql}), 'yyyy-MM-dd HH:mm:ss.SSSSSS')"
        return f"concat({written}, '+00:00')" if value.dtype.time_zone else written
    unsupported(f"{value.dtype} as text, which each engine writes in its own way", "Round it and use CAST(… AS BIGINT) first.")


def duration(value: Value, unit: str) -> str:
    """Return a duration in `us` or `ns`; to microseconds it is cut off towards zero, as in Polars."""
    if not isinstance(value.dtype, pl.Duration):
        unsupported(f"{value.dtype} where an interval is wanted")
    if value.dtype.time_unit == unit:
        return value.sql
    return f"({value.sql} div 1000L)" if unit == "us" else f"({value.sql} * 1000L)"


def converted(value: Value, dtype: pl.DataType) -> str:
    """Return a value in the type that Polars gives to the expression around it."""
    if value.dtype == pl.Null():
        return f"CAST(NULL AS {spark_type(dtype)})"
    if dtype == pl.Float64():
        return as_number(value)
    if dtype == pl.String():
        return as_text(value)
    if isinstance(dtype, pl.Duration):
        return duration(value, dtype.time_unit)
    if value.dtype == dtype or (dtype.is_integer() and value.dtype.is_integer()):
        return value.sql
    unsupported(f"mixing {value.dtype} and {dtype}", "Bring both to one type with CAST.")
