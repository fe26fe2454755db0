"""A first draft of a contract from the rows of one version, with the evidence for each bound. Pure; needs Polars.

The draft accepts the rows it was made from. Its bounds are wider than what was seen where a next batch may well go further, and rules for
which one table gives no evidence (keys of several columns, freshness, change of the number of rows) are left to the reviewer. What people
declared in the contract in force (marks, descriptions, keys, rules of the whole table) is carried over; of columns marked as personal no
value enters a draft.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from gateline.data.contracts.form import canonical_bound
from gateline.data.contracts.model import ColumnRule, Contract
from gateline.data.model import ColumnType
from gateline.data.reading import columns_of

if TYPE_CHECKING:
    from gateline.data.contracts.model import Bound
    from gateline.data.model import Column

_CATEGORIES_MAX = 50
_CATEGORY_LENGTH_MAX = 200
_ROWS_MIN = 100
_FEW_VALUES = 100
_INT64_MAX = (1 << 63) - 1
_TIMES = frozenset({ColumnType.DATE, ColumnType.DATETIME, ColumnType.NAIVE_DATETIME})


def infer_contract(dataset: str, table: pl.DataFrame, *, basis: Contract | None = None) -> tuple[Contract, dict[str, str]]:
    """Return a draft and, for each column, a sentence that says what its bounds rest on.

    Args:
        dataset: Name of the dataset.
        table: The rows of one version.
        basis: The contract in force, whose declarations are carried over.
    """
    rules, evidence = [], {}
    declared = basis.rules if basis else {}
    for column in columns_of(table):
        known = declared.get(column.name)
        rule, seen = _infer_column(column, table[column.name])
        if known is not None and known.personal is not None:
            rule, seen = replace(rule, min=None, max=None, categories=None), [seen[0], "bounds would tell values of a personal column"]
        rules.append(_carried(rule, known))
        evidence[column.name] = "; ".join(seen)
    draft = Contract(dataset=dataset, columns=tuple(rules))
    return (draft if basis is None else _table_rules(draft, basis, table)), evidence


def _carried(rule: ColumnRule, declared: ColumnRule | None) -> ColumnRule:
    if declared is None:
        return rule
    return replace(rule, protected=declared.protected, personal=declared.personal, description=declared.description)


def _table_rules(draft: Contract, basis: Contract, table: pl.DataFrame) -> Contract:
    """Return the draft with the rules of the whole table that were in force, as far as the draft's columns and rows allow."""
    rules = draft.rules
    keys = tuple(key for key in basis.keys if rules.keys() >= set(key) and _holds(key, table))
    fresh = basis.freshness
    if fresh is not None and (fresh.column not in rules or rules[fresh.column].dtype not in {ColumnType.DATE, ColumnType.DATETIME}):
        fresh = None
    return replace(
        draft, keys=keys, freshness=fresh, row_count_change=basis.row_count_change, extra_columns=basis.extra_columns,
        compatibility=basis.compatibility, description=basis.description,
    )  # fmt: skip


def _holds(key: tuple[str, ...], table: pl.DataFrame) -> bool:
    known = table.select(key).drop_nulls()
    return known.n_unique() == known.height


def _infer_column(column: Column, values: pl.Series) -> tuple[ColumnRule, list[str]]:
    known = values.drop_nulls()
    rule = ColumnRule(name=column.name, dtype=column.dtype, nullable=column.nullable)
    seen = [f"{values.null_count():,} of {len(values):,} values are missing"]
    if column.nullable:
        rule = replace(rule, missing_share_max=_share_limit(values.null_count() / len(values)))
    if not len(known):
        return rule, seen
    if column.dtype in _TIMES:
        low, high = canonical_bound(known.min(), column.dtype), canonical_bound(known.max(), column.dtype)
        rule, seen = replace(rule, min=low), [*seen, f"times from {low} to {high} were seen; the end stays open, as time goes on"]
    elif column.dtype in {ColumnType.INT64, ColumnType.FLOAT64}:
        low, high, why = _range(known, column.dtype)
        rule, seen = replace(rule, min=low, max=high), [*seen, why]
    elif column.dtype is ColumnType.STRING:
        categories, why = _categories(known)
        rule, seen = replace(rule, categories=categories), [*seen, why]
    if _looks_unique(values, column):
        rule, seen = replace(rule, unique=True), [*seen, f"none of {len(values):,} values is missing or occurs twice"]
    return rule, seen


def _share_limit(share: float) -> float:
    """Return twice the share of missing values that was seen, rounded up to two digits, at most 1.

    >>> _share_limit(0.0245)
    0.05
    """
    digits = 1 - math.floor(math.log10(2 * share))
    scale = 10.0**digits
    return min(1.0, math.ceil(2 * share * scale - 1e-9) / scale)


def _range(known: pl.Series, dtype: ColumnType) -> tuple[Bound | None, Bound | None, str]:
    """Return the range of numbers: as seen when there are few different whole numbers, else wider by its own width, never across zero."""
    if known.dtype.is_float() and not known.is_finite().all():
        return None, None, "NaN or infinities were seen, so that the range stays open"
    low, high = known.min(), known.max()
    assert isinstance(low, int | float) and isinstance(high, int | float)  # noqa: S101, PT018 - numbers have numbers as bounds
    seen = f"values from {low:,} to {high:,} were seen"
    if dtype is ColumnType.INT64 and known.n_unique() <= _FEW_VALUES and len(known) >= 20 * known.n_unique():
        return low, high, f"{seen}, only {known.n_unique()} different, each often: the range is what was seen"
    width = high - low
    wide = (max(low - width, 0) if low >= 0 else low - width, min(high + width, 0) if high <= 0 else high + width)
    if dtype is ColumnType.INT64:
        wide = (max(wide[0], -_INT64_MAX - 1), min(wide[1], _INT64_MAX))
    elif not all(map(math.isfinite, wide)):
        return low, high, f"{seen}: the range is what was seen"
    return wide[0], wide[1], f"{seen}; the range is wider by its width on both sides, but does not cross zero"


def _categories(known: pl.Series) -> tuple[tuple[str, ...] | None, str]:
    """Return the values as categories when no value was seen only once: by Good and Turing (Good 1953, Biometrika 40), the chance that the
    next row brings a new value is then estimated as zero.
    """
    distinct = known.n_unique()
    if distinct > _CATEGORIES_MAX or (known.str.len_chars() > _CATEGORY_LENGTH_MAX).any():
        return None, f"{distinct:,} different texts were seen: too many, or too long, for categories"
    rarest = min(known.value_counts(name="count")["count"])
    if rarest == 1:
        return None, f"of {distinct} different texts some were seen only once, so that more are to be expected"
    return tuple(sorted(known.unique())), f"{distinct} different texts were seen, the rarest {rarest:,} times"


def _looks_unique(values: pl.Series, column: Column) -> bool:
    likely = column.dtype not in {ColumnType.FLOAT64, ColumnType.BOOLEAN} and not column.nullable
    return likely and len(values) >= _ROWS_MIN and values.n_unique() == len(values)
