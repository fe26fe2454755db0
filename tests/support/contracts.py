"""Random contracts and tables for property tests, and short ways to write them by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
from hypothesis import strategies as st

from gateline.data import ColumnRule, ColumnType, Compatibility, Contract, contract_from_dict
from gateline.data.contracts.model import RowCountChange
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


@st.composite
def successors(draw: st.DrawFn, old: Contract) -> Contract:
    """Draw a contract that differs from another in few places, so that it is often compatible with it."""
    rules = {rule.name: rule for rule in old.columns}
    keys, extra, change = old.keys, old.extra_columns, old.row_count_change
    kinds = ["drop", "add", "rule", *["field"] * 6, "keys", "extra", "change"]
    for edit in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=2)):
        name, fresh = draw(st.sampled_from(sorted(rules))), draw(st.sampled_from(NAMES))
        if edit == "drop" and len(rules) > 1:
            rules.pop(name)
        elif (edit == "add" and fresh not in rules) or (edit == "rule" and fresh in rules):
            rules[fresh] = draw(column_rules(fresh))
        elif edit == "field":
            rules[name] = replace(rules[name], **draw(st.sampled_from(_edits(rules[name]))))
        elif edit == "keys":
            keys = () if draw(st.booleans()) else ((name,),)
        elif edit == "extra":
            extra = not extra
        elif edit == "change":
            change = draw(st.sampled_from([None, RowCountChange(shrink_share_max=0.25), RowCountChange(growth_share_max=0.5)]))
    required = {name for name, rule in rules.items() if rule.required}
    sound = tuple(key for key in keys if set(key) <= required)
    return replace(old, columns=tuple(rules.values()), keys=sound, extra_columns=extra, row_count_change=change)


def _edits(rule: ColumnRule) -> list[dict[str, Any]]:
    """Return what may be changed in a rule so that it stays sound."""
    edits: list[dict[str, Any]] = [{"required": not rule.required}, {"unique": not rule.unique}, {"nullable": True}]
    edits += [{"nullable": True, "missing_share_max": 0.5}, {"nullable": False, "missing_share_max": None}, {"categories": None}]
    if rule.categories is None and rule.dtype is not ColumnType.STRING:
        edits += [{"min": None}, {"max": None}, {"min": -4}, {"max": 4}]
    if rule.dtype is ColumnType.INT64:
        edits += [{"categories": (-3, 0, 1, 2), "min": None, "max": None}, {"categories": None, "min": -3, "max": 2}]
    if rule.dtype is ColumnType.STRING:
        edits += [{"categories": ("p", "q")}, {"categories": ("p", "q", "r")}]
    if rule.categories is None and rule.min is None and rule.max is None:
        edits += [{"dtype": kind} for kind in KINDS]
    return [edit for edit in edits if any(getattr(rule, field) != value for field, value in edit.items())]


@st.composite
def kept_tables(draw: st.DrawFn, contract: Contract) -> pl.DataFrame:
    """Draw a table that nearly always keeps a contract, and often stands on the edge of what it allows."""
    rows = draw(st.integers(1, 4))
    content = {}
    for rule in contract.columns:
        if rule.required or draw(st.booleans()):
            known = st.sampled_from(_allowed(rule))
            values = known if not rule.nullable else known | st.none()
            alone = rule.unique or (rule.name,) in contract.keys
            drawn = draw(st.lists(values, min_size=rows, max_size=rows, unique=alone and len(_allowed(rule)) >= rows))
            content[rule.name] = pl.Series(drawn, dtype=POLARS_TYPES[rule.dtype])
    for name in set(NAMES) - contract.rules.keys() if contract.extra_columns else ():
        dtype = draw(st.sampled_from(KINDS))
        values = _TEXTS if dtype is ColumnType.STRING else _NUMBERS
        if draw(st.booleans()):
            content[name] = pl.Series(draw(st.lists(values, min_size=rows, max_size=rows)), dtype=POLARS_TYPES[dtype])
    return pl.DataFrame(content)


def _allowed(rule: ColumnRule) -> list[Any]:
    """Return values that a rule allows, from a small world."""
    if rule.categories is not None:
        return list(rule.categories)
    if rule.dtype is ColumnType.STRING:
        return ["p", "q", "r", "s"]
    low = -5 if rule.min is None else int(rule.min)
    high = 5 if rule.max is None else int(rule.max)
    numbers = sorted({low, min(low + 1, high), (low + high) // 2, high})
    open_ended = rule.min is None and rule.max is None and rule.dtype is ColumnType.FLOAT64
    return [*map(float, numbers), *([float("nan")] if open_ended else [])] if rule.dtype is ColumnType.FLOAT64 else numbers
