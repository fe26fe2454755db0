"""Random contracts and tables for property tests, and short ways to write them by hand."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import strategies as st

from gateline.data import ColumnRule, ColumnType, Compatibility, Contract, contract_from_dict
from gateline.data.reading import POLARS_TYPES


def contract_of(*columns: dict[str, Any], dataset: str = "people", **table: Any) -> Contract:
    """Return a contract from columns as they stand in JSON."""
    return contract_from_dict({"dataset": dataset, "columns": list(columns), **table})


def column(name: str, dtype: str = "int64", **rules: Any) -> dict[str, Any]:
    """Return a column as it stands in JSON."""
    return {"name": name, "dtype": dtype, **rules}


NAMES = ("a", "b", "c")
_SHARES = st.sampled_from([None, 0.0, 0.25, 0.5, 1.0])
_NUMBERS = st.integers(-3, 3)
_TEXTS = st.sampled_from(["p", "q", "r"])
# Small worlds, so that random contracts and tables often meet.
KINDS = (ColumnType.INT64, ColumnType.FLOAT64, ColumnType.STRING)


@st.composite
def column_rules(draw: st.DrawFn, name: str) -> ColumnRule:
    """Draw the rule of a column."""
    dtype = draw(st.sampled_from(KINDS))
    nullable = draw(st.booleans())
    low = high = categories = None
    if dtype is not ColumnType.STRING and draw(st.booleans()):
        low, high = draw(st.none() | _NUMBERS), draw(st.none() | _NUMBERS)
        if low is not None and high is not None:
            low, high = min(low, high), max(low, high)
    elif dtype is not ColumnType.FLOAT64 and draw(st.booleans()):
        categories = tuple(sorted(draw(st.sets(_TEXTS if dtype is ColumnType.STRING else _NUMBERS, min_size=1))))
    if dtype is ColumnType.FLOAT64:
        low, high = (None if bound is None else float(bound) for bound in (low, high))
    return ColumnRule(
        name=name,
        dtype=dtype,
        required=draw(st.booleans()),
        nullable=nullable,
        missing_share_max=draw(_SHARES) if nullable else None,
        min=low,
        max=high,
        categories=categories,
        unique=draw(st.booleans()),
    )


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    """Draw a sound contract over at most three columns."""
    rules = tuple(draw(column_rules(name)) for name in draw(st.sets(st.sampled_from(NAMES), min_size=1)))
    required = sorted(rule.name for rule in rules if rule.required)
    key = draw(st.sets(st.sampled_from(required), min_size=1)) if required and draw(st.booleans()) else set()
    change = {"shrink_share_max": draw(_SHARES), "growth_share_max": draw(_SHARES)}
    drawn = Contract(
        dataset="people",
        columns=rules,
        keys=(tuple(sorted(key)),) if key else (),
        extra_columns=draw(st.booleans()),
        compatibility=draw(st.sampled_from(Compatibility)),
    )
    return contract_from_dict({**drawn.as_dict(), "row_count_change": change})


@st.composite
def tables(draw: st.DrawFn, like: Contract | None = None) -> pl.DataFrame:
    """Draw a table of a few rows; its columns mostly have the types that a contract names."""
    rows = draw(st.integers(1, 4))
    rules = like.rules if like else {}
    content = {}
    for name in draw(st.sets(st.sampled_from(NAMES), min_size=1)) | {name for name, rule in rules.items() if rule.required}:
        dtype = rules[name].dtype if name in rules and draw(st.integers(0, 5)) else draw(st.sampled_from(KINDS))
        known = {ColumnType.INT64: _NUMBERS, ColumnType.FLOAT64: _NUMBERS.map(float) | st.just(float("nan")), ColumnType.STRING: _TEXTS}
        values = draw(st.lists(known[dtype] if draw(st.booleans()) else known[dtype] | st.none(), min_size=rows, max_size=rows))
        content[name] = pl.Series(values, dtype=POLARS_TYPES[dtype])
    return pl.DataFrame(content)
