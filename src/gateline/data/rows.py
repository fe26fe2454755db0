"""From JSON rows to typed columns, exactly: nothing is converted that does not say by itself what it is."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from gateline.data.model import ColumnType
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

_MISTAKES = 20
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_WHOLE = 1 << 63


def typed_rows(columns: Mapping[str, ColumnType], rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the rows as a table with these columns; a column that a row leaves out is missing in it.

    A column of type int64 takes whole numbers, float64 any number, boolean true and false, string texts, date texts such as 2013-01-31,
    datetime texts with an offset such as 2013-01-31T10:00:00Z, naive_datetime such texts without one.

    Raises:
        InvalidInput: rows have unknown columns or values of another kind; the first twenty mistakes are named, with rows
            counted from 1.
    """
    import polars as pl

    from gateline.data.reading import POLARS_TYPES

    mistakes = [
        f"row {place}: there is no column '{name[:100]}'" for place, row in enumerate(rows, 1) for name in row if name not in columns
    ]
    values: dict[str, list[Any]] = {}
    for name, kind in columns.items():
        values[name] = []
        for place, row in enumerate(rows, 1):
            given = row.get(name)
            value = None if given is None else _value(kind, given)
            if given is not None and value is None:
                mistakes.append(f"row {place}: '{name}' is {_shown(given)}, no {kind}")
            values[name].append(value)
    if mistakes:
        more = f"; and {len(mistakes) - _MISTAKES:,} more" if len(mistakes) > _MISTAKES else ""
        raise InvalidInput(f"The rows do not fit: {'; '.join(mistakes[:_MISTAKES])}{more}.", next_step="Correct them; none was taken.")
    return pl.DataFrame([pl.Series(name, values[name], dtype=POLARS_TYPES[kind]) for name, kind in columns.items()])


def _value(kind: ColumnType, given: Any) -> Any:
    """Return the value as the column holds it, or None when it is of another kind."""
    match kind:
        case ColumnType.INT64:
            return given if type(given) is int and -_WHOLE <= given < _WHOLE else None
        case ColumnType.FLOAT64:
            return _number(given)
        case ColumnType.BOOLEAN:
            return given if isinstance(given, bool) else None
        case ColumnType.STRING:
            return given if isinstance(given, str) else None
        case ColumnType.DATE:
            return _date(given)
        case ColumnType.DATETIME | ColumnType.NAIVE_DATETIME:
            moment = _moment(given)
            return moment if moment is not None and (moment.tzinfo is not None) == (kind is ColumnType.DATETIME) else None


def _number(given: Any) -> float | None:
    if type(given) is int:  # a whole number that a float cannot hold would silently become another
        return float(given) if abs(given) <= 1 << 53 else None
    return given if isinstance(given, float) else None


def _date(given: Any) -> date | None:
    try:
        return date.fromisoformat(given) if isinstance(given, str) and _DATE.fullmatch(given) else None
    except ValueError:
        return None


def _moment(given: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(given) if isinstance(given, str) and "T" in given else None
    except ValueError:
        return None


def _shown(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 40 else text[:40] + "…"
