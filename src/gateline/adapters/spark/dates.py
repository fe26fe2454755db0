"""Parts of times, and times as text, in Spark SQL: all in UTC, with the directives of strftime that both engines share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from gateline.adapters.spark.casts import failing
from gateline.adapters.spark.values import DAY_MICROSECONDS, Value, text_literal, to_storage, unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

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
    "epoch": "(CAST(({0} - pmod({0}, 1000000L)) div 1000000L AS DOUBLE) + pmod({0}, 1000000L) / 1e6D)", "millisecond": "(pmod({0}, 60000000L) / 1e3D)",
    "microsecond": "CAST(pmod({0}, 60000000L) AS DOUBLE)", "nanosecond": "(pmod({0}, 60000000L) * 1e3D)",
}  # fmt: skip
# Directives of strftime as Spark expressions; {} is the date or time.
_WRITTEN = {
    "Y": "date_format({}, 'yyyy')", "m": "date_format({}, 'MM')", "d": "date_format({}, 'dd')", "H": "date_format({}, 'HH')",
    "M": "date_format({}, 'mm')", "S": "date_format({}, 'ss')", "y": "date_format({}, 'yy')", "j": "date_format({}, 'DDD')",
    "I": "date_format({}, 'hh')", "p": "date_format({}, 'a')", "a": "date_format({}, 'EEE')", "A": "date_format({}, 'EEEE')",
    "b": "date_format({}, 'MMM')", "B": "date_format({}, 'MMMM')", "e": "lpad(CAST(day({}) AS STRING), 2, ' ')",
    "F": "date_format({}, 'yyyy-MM-dd')", "D": "date_format({}, 'MM/dd/yy')", "T": "date_format({}, 'HH:mm:ss')",
    "R": "date_format({}, 'HH:mm')", "u": "CAST(weekday({}) + 1 AS STRING)", "w": "CAST(dayofweek({}) - 1 AS STRING)",
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
    unsupported(f"{value.dtype} where a date or time is wanted")


def part(args: list[Value], _: pl.DataType) -> str:
    """Return EXTRACT(field FROM value)."""
    field, value = str(args[0].literal).lower(), args[1]
    if field in _FRACTIONS and isinstance(value.dtype, pl.Datetime):
        return _FRACTIONS[field].format(value.sql)
    if field not in _FIELDS or (field in _OF_TIMES and value.dtype == pl.Date()):
        unsupported(f"EXTRACT({field} FROM {value.dtype})", f"Use one of {', '.join(sorted(_FIELDS))}.")
    return f"CAST({_FIELDS[field].format(_moment(value))} AS BIGINT)"


def _pieces(text: str, known: dict[str, str]) -> list[tuple[str, str]]:
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
        found.append((directive, "") if directive and directive != "%" else ("", match[2] or "%"))
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
    pieces = _pieces(_format(args), _WRITTEN)
    if args[0].dtype == pl.Date() and (clock := sorted(one for one, _ in pieces if one in _CLOCK)):
        unsupported(f"the directive %{clock[0]} of a date", "Use CAST(… AS TIMESTAMP) first.")
    texts = [_WRITTEN[directive].format(moment) if directive else text_literal(text) for directive, text in pieces]
    return (
        f"concat({', '.join(texts)})"
        if any(one for one, _ in pieces)
        else f"CASE WHEN {moment} IS NOT NULL THEN concat({', '.join(texts)}) END"
    )


def _reader(value: Value, text: str) -> Callable[[str], str]:
    pieces = _pieces(text, dict.fromkeys(_DIGITS, ""))
    order = [directive for directive, _ in pieces if directive]
    if len(set(order)) != len(order) or not {"Y", "m", "d"} <= set(order) or ("H" in order) != ("M" in order):
        unsupported(f"the format {text!r}", "Name %Y, %m, %d and, for times, %H and %M, each once.")
    pattern = "".join(f"([0-9]{{{_DIGITS[one]}}})" if one else re.escape(literal) for one, literal in pieces)
    if value.dtype != pl.String():
        unsupported(f"{value.dtype} where a text is wanted")
    source = value.sql
    fits = f"{source} RLIKE {text_literal(f'^{pattern}$')}"
    groups = {
        one: f"CAST(regexp_extract({source}, {text_literal(f'^{pattern}$')}, {place}) AS BIGINT)" for place, one in enumerate(order, 1)
    }
    groups = {one: groups.get(one, "0L") for one in _DIGITS}
    date = f"make_date({', '.join(f'CAST({groups[one]} AS INT)' for one in 'Ymd')})"
    days = f"CAST(unix_date({date}) AS BIGINT)"
    clock = f"((({groups['H']} * 60L + {groups['M']}) * 60L + {groups['S']}) * 1000000L)"
    fits += f" AND {date} IS NOT NULL AND {groups['H']} < 24 AND {groups['M']} < 60 AND {groups['S']} < 60"
    result = {"date": days, "time": f"({days} * {DAY_MICROSECONDS}L + {clock})"}
    return lambda kind: failing(fits, result[kind], source, f"{kind} {text}", strict=True)


def read_date(args: list[Value], _: pl.DataType) -> str:
    """Return DATE(text, format): four digits for a year and two for all else, or an error."""
    return _reader(args[0], _format(args))("date")


def read_time(args: list[Value], dtype: pl.DataType) -> str:
    """Return STRPTIME(text, format): four digits for a year and two for all else, or an error."""
    if dtype != pl.Datetime("us"):
        unsupported(f"strptime() to {dtype}")
    return _reader(args[0], _format(args))("time")
