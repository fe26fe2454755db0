"""Rows as they come from outside: JSON values against the types of a dataset, every mistake named at once."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from gateline.features.engine.expressions import INSTANT
from gateline.kernel.clock import Instant, parse_iso
from gateline.kernel.errors import GatelineError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_MISTAKES_MAX = 20
_INT64 = range(-(1 << 63), 1 << 63)


def typed_frame(what: str, schema: Mapping[str, pl.DataType], rows: Sequence[Mapping[str, Any]], needed: Sequence[str]) -> pl.DataFrame:
    """Return the needed columns of rows, typed; a value that is None is missing.

    Args:
        what: What the rows are, for messages.
        schema: Every column that a row may have, with its type.
        rows: Column to value. Instants are ISO 8601 with an offset, or aware datetimes; dates are ISO 8601.
        needed: Columns that every row must name.

    Raises:
        InvalidInput: columns are unknown or missing, or values are of another type; up to 20 mistakes are named, with
            rows counted from 1.
    """
    mistakes: list[str] = []
    unknown = sorted({name for row in rows for name in row} - schema.keys())
    mistakes += [f"'{name}' is no column of it; it has {', '.join(sorted(schema))}" for name in unknown]
    columns: dict[str, pl.Series] = {}
    for name in needed:
        dtype, values = schema[name], list[Any]()
        convert = _CONVERSIONS[dtype]
        for place, row in enumerate(rows, 1):
            try:
                values.append(None if row[name] is None else convert(row[name]))
            except KeyError:
                mistakes.append(f"row {place} has no '{name}'; say null where it is missing")
            except (TypeError, ValueError, GatelineError) as error:
                mistakes.append(f"row {place}, '{name}': {error}")
            if len(mistakes) >= _MISTAKES_MAX:
                break
        if not mistakes:
            columns[name] = pl.Series(name, values, dtype=dtype)
    if mistakes:
        raise InvalidInput(
            f"The rows do not fit {what}: {'; '.join(mistakes[:_MISTAKES_MAX])}.", next_step="Correct them and send them again.",
            facts={"mistakes": mistakes[:_MISTAKES_MAX]},
        )  # fmt: skip
    return pl.DataFrame(columns) if columns else pl.DataFrame({"__row": range(len(rows))}).drop("__row")


def instant_of(value: str | datetime) -> Instant:
    """Return an instant in UTC microseconds.

    Raises:
        InvalidInput: it names no offset, or is no time.
    """
    return parse_iso(value.isoformat() if isinstance(value, datetime) else value)


def _instant(value: Any) -> datetime:
    if not isinstance(value, str | datetime):
        raise TypeError(f"{value!r} is no time such as 2013-01-01T05:00:00Z")
    seconds, micros = divmod(instant_of(value), 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def _naive(value: Any) -> datetime:
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(found, datetime) or found.tzinfo is not None:
        raise TypeError(f"{value!r} is no local time without an offset, such as 2013-01-01T05:00:00")
    return found


def _date(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no date such as 2013-01-01")
    return date.fromisoformat(value)


def _int(value: Any) -> int:
    if type(value) is not int or value not in _INT64:
        raise TypeError(f"{value!r} is no whole number of 64 bits")
    return value


def _float(value: Any) -> float | None:
    """Return a fraction; NaN and infinity, and what is too large for one, count as missing."""
    if type(value) not in {int, float}:
        raise TypeError(f"{value!r} is no number")
    return float(value) if abs(value) <= sys.float_info.max else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


_CONVERSIONS: Mapping[pl.DataType, Callable[[Any], Any]] = {
    pl.Int64(): _int, pl.Float64(): _float, pl.String(): _text, pl.Boolean(): _bool, pl.Date(): _date, INSTANT: _instant,
    pl.Datetime("us"): _naive,
}  # fmt: skip
