"""What a table looks like, column by column, in numbers that fit a record."""

from __future__ import annotations

import math
from datetime import date, datetime
from typing import Any

import polars as pl

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_CATEGORIES = 20


def profile_table(table: pl.DataFrame) -> dict[str, Any]:
    """Return, for each column, missing values and distinct values, then range, mean, standard deviation and quantiles (nearest rank)
    of numbers, the range of times, or the most frequent texts (count descending, then name).

    NaN and infinities are counted as `non_finite` and left out of the figures.
    """
    return {column: _profile(table[column]) for column in table.columns}


def _profile(values: pl.Series) -> dict[str, Any]:
    known = values.drop_nulls()
    result: dict[str, Any] = {"missing": values.null_count()}
    if values.dtype == pl.String:
        return result | _texts(known)
    if values.dtype == pl.Boolean:
        return result | {"true": int(known.sum()), "false": len(known) - int(known.sum())}
    if values.dtype.is_numeric():
        return result | _numbers(known)
    return result | {"min": _plain(known.min()), "max": _plain(known.max()), "distinct": known.n_unique()}


def _numbers(known: pl.Series) -> dict[str, Any]:
    finite = known.filter(known.is_finite()) if known.dtype.is_float() else known
    figures: dict[str, Any] = {
        "non_finite": len(known) - len(finite),
        "distinct": finite.n_unique(),
        "min": _plain(finite.min()),
        "max": _plain(finite.max()),
        "mean": _plain(finite.mean()),
        "std": _plain(finite.std()),
    }
    ordered = finite.sort()
    figures["quantiles"] = {str(level): _plain(ordered.quantile(level, "nearest")) for level in _QUANTILES}
    return figures


def _texts(known: pl.Series) -> dict[str, Any]:
    counts = known.value_counts(name="count").sort(["count", known.name], descending=[True, False])
    top = [{"value": value[:200], "count": count} for value, count in counts.head(_CATEGORIES).iter_rows()]
    return {"distinct": counts.height, "top": top}


def _plain(value: object) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
