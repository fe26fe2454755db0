"""Parts of times, and times as text, in Spark SQL: all in UTC, with the directives of strftime that both engines share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from gateline.adapters.spark.casts import failing
from gateline.adapters.spark.values import DAY_MICROSECONDS, Value, text_literal, to_storage, unsupported

if TYPE_CHECKING:
    from collections.abc import Collection

# Fields that Spark computes from a date or time; {} is the value.
_FIELDS = {
    "year": "year({})", "month": "month({})", "day": "day({})", "dow": "(dayofweek({}) - 1)", "isodow": "(weekday({}) + 1)",
    "doy": "dayofyear({})", "week": "weekofyear({})", "isoweek": "weekofyear({})", "isoyear": "extract(YEAROFWEEK FROM {})",
    "quarter": "quarter({})", "hour": "hour({})", "minute": "minute({})", "second": "second({})",
    "decade": "(year({}) div 10)", "century": "((year({}) + 99) div 100)", "millennium": "((year({}) + 999) div 1000)",
}  # fmt: skip
_OF_TIMES = {"hour", "minute", "second"}
# Fields of microseconds since 1970.
_FRACTIONS = {
    "epoch": "(CAST(({0} - pmod({0}, 1000000L)) div 1000000L AS DOUBLE) + pmod({0}, 1000000L) * 1000L * 1e-9D)",
    "millisecond": "(pmod({0}, 60000000L) / 1e3D)",
    "microsecond": "CAST(pmod({0}, 60000000L) AS DOUBLE)", "nanosecond": "(pmod({0}, 60000000L) * 1e3D)",
}  # fmt: skip
# Directives of strftime as letters of Spark's patterns, and those that need an expression; {} is the date or time.
_LETTERS = {
    "Y": "yyyy", "m": "MM", "d": "dd", "H": "HH", "M": "mm", "S": "ss", "y": "yy", "j": "DDD", "I": "hh", "p": "a", "a": "EEE", "A": "EEEE",
    "b": "MMM", "B": "MMMM", "F": "yyyy-MM-dd", "D": "MM/dd/yy", "T": "HH:mm:ss", "R": "HH:mm",
}  # fmt: skip
_COMPUTED = {
    "e": "lpad(CAST(day({}) AS STRING), 2, ' ')", "u": "CAST(weekday({}) + 1 AS STRING)", "w": "CAST(dayofweek({}) - 1 AS STRING)",
    "V": "lpad(CAST(weekofyear({}) AS STRING), 2, '0')", "G": "CAST(extract(YEAROFWEEK FROM {}) AS STRING)",
}  # fmt: skip
_CLOCK = {"H", "M", "S", "I", "p", "T", "R"}
_DIGITS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2}
_SHORT = {"F": "%Y-%m-%d", "T": "%H:%M:%S", "R": "%H:%M"}
_DIRECTIVE = re.compile(r"%(.)|([^%]+)", re.DOTALL)


def _moment(value: Value) -> str:
    if value.dtype == pl.Date():
        return to_storage(value.sql, value.dtype)
    if isinstance(value.dtype, pl.Datetime):
        return f"timestamp_micros({value.sql})"
    return unsupported(f"{value.dtype} where a date or time is wanted")


def part(args: list[Value], _: pl.DataType) -> str:
    """Return EXTRACT(field FROM value)."""
    field, value = str(args[0].literal).lower(), args[1]
    if field in _FRACTIONS and isinstance(value.dtype, pl.Datetime):
        return _FRACTIONS[field].format(value.sql)
    if field not in _FIELDS or (field in _OF_TIMES and value.dtype == pl.Date()):
        unsupported(f"EXTRACT({field} FROM {value.dtype})", f"Use one of {', '.join(sorted(_FIELDS))}.")
    return f"CAST({_FIELDS[field].format(_moment(value))} AS BIGINT)"


def _pieces(text: str, known: Collection[str]) -> list[tuple[str, str]]:
    """Return the directives and literal texts of a format, as (directive, "") or ("", text)."""
    for short, long in _SHORT.items():
        if short not in known:
            text = text.replace(f"%{short}", long)
    found: list[tuple[str, str]] = []
    place = 0
    for match in _DIRECTIVE.finditer(text):
        place = match.end()
        directive = match[1] or ""
        if directive and directive != "%" and directive not in known:
            unsupported(f"the directive %{directive} of times", f"Use %{', %'.join(sorted(known))}.")
        if directive and directive != "%":
            found.append((directive, ""))
        elif found and not found[-1][0]:
            found[-1] = ("", found[-1][1] + (match[2] or "%"))  # two quoted texts side by side would read as one quote
        else:
            found.append(("", match[2] or "%"))
    if place != len(text):
        unsupported(f"the format {text!r}, which ends in a lone %")
    return found


def _format(args: list[Value]) -> str:
    if len(args) < 2:
        return "%Y-%m-%d"
    if not isinstance(args[1].literal, str):
        unsupported("a format of times that is no literal text")
    return args[1].literal


def written(args: list[Value], _: pl.DataType) -> str:
    """Return STRFTIME(value, format)."""
    moment = _moment(args[0])
    pieces = _pieces(_format(args), {*_LETTERS, *_COMPUTED})
    if args[0].dtype == pl.Date() and (clock := sorted(one for one, _ in pieces if one in _CLOCK)):
        unsupported(f"the directive %{clock[0]} of a date", "Use CAST(… AS TIMESTAMP) first.")
    texts: list[str] = []
    pattern = ""
    for directive, text in [*pieces, ("", "")]:
        if directive in _COMPUTED or not (directive or text):
            texts += [f"date_format({moment}, {text_literal(pattern)})"] if pattern else []
            texts += [_COMPUTED[directive].format(moment)] if directive else []
            pattern = ""
        else:
            pattern += _LETTERS[directive] if directive else _in_pattern(text)
    return f"concat({', '.join(texts)})" if texts else f"CASE WHEN {moment} IS NOT NULL THEN '' END"


def _in_pattern(text: str) -> str:
    """Return a text as Spark's patterns hold it."""
    return "'" + text.replace("'", "''") + "'"


def _read(value: Value, text: str, what: str) -> str:
    """Return the microseconds of a text: first it must have the right digits, then be a time of the calendar."""
    pieces = _pieces(text, _DIGITS)
    order = [directive for directive, _ in pieces if directive]
    if len(set(order)) != len(order) or not {"Y", "m", "d"} <= set(order) or ("H" in order) != ("M" in order):
        unsupported(f"the format {text!r}", "Name %Y, %m, %d and, for times, %H and %M, each once.")
    if value.dtype != pl.String():
        unsupported(f"{value.dtype} where a text is wanted")
    digits = "".join(f"[0-9]{{{_DIGITS[one]}}}" if one else re.escape(literal) for one, literal in pieces)
    pattern = "".join(_LETTERS[one] if one else _in_pattern(literal) for one, literal in pieces)
    moment = f"unix_micros(to_timestamp({value.sql}, {text_literal(pattern)}))"
    fits = f"{value.sql} RLIKE {text_literal(f'^{digits}$')} AND {moment} IS NOT NULL"
    return failing(fits, moment, value.sql, f"{what} {text}", strict=True)


def read_date(args: list[Value], _: pl.DataType) -> str:
    """Return DATE(text, format): four digits for a year and two for all else, or an error."""
    return f"(({_read(args[0], _format(args), 'date')}) div {DAY_MICROSECONDS}L)"


def read_time(args: list[Value], dtype: pl.DataType) -> str:
    """Return STRPTIME(text, format): four digits for a year and two for all else, or an error."""
    if dtype != pl.Datetime("us"):
        unsupported(f"strptime() to {dtype}")
    return _read(args[0], _format(args), "time")
