"""Expressions over rows: what they compute, typed as features are, and the frames of sources that every computation starts from."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import polars as pl
from polars.exceptions import PolarsError

from gateline.features.declarations.plan import Lookup
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateline.features.declarations.plan import EventSource, Part

    Table: TypeAlias = Path | Sequence[Path]

INSTANT = pl.Datetime("us", "UTC")
_CACHED = 256
LABEL = "__label"
LABEL_AT = "__label_available_at"

FEATURE_TYPES = {pl.Int64(): "int64", pl.Float64(): "float64", pl.Boolean(): "boolean", pl.String(): "string"}


def typed(expression: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return the expression in one of our types: whole numbers as Int64, others as finite Float64, UTC microseconds."""
    if dtype.is_integer():
        return expression.cast(pl.Int64)
    if dtype.is_float() or dtype.is_decimal():  # a literal such as 0.5 is a decimal in SQL
        wide = expression.cast(pl.Float64)
        return pl.when(wide.is_finite()).then(wide)
    if isinstance(dtype, pl.Datetime):
        return expression.cast(INSTANT if dtype.time_zone else pl.Datetime("us"))
    return expression


def source_rows(source: EventSource, rows: pl.LazyFrame, extra: Mapping[str, str] | None = None) -> pl.LazyFrame:
    """Return every alias of the source over rows of its dataset, typed, and `extra` expressions under their names.

    Offline tables and events that are pushed online come through here alike. Expressions see the dataset's columns only, never each
    other; rows that `where` leaves out are not among the result, and the order stays.

    Raises:
        InvalidInput: an expression does not fit the rows: the schema of the dataset has changed.
    """
    wanted = {**source.columns, **(extra or {})}
    try:
        kept = rows.filter(pl.sql_expr(source.where)) if source.where is not None else rows
        named = kept.with_columns(pl.sql_expr(sql).alias(f"__new_{alias}") for alias, sql in wanted.items())
        schema = named.collect_schema()
        return named.select(typed(pl.col(f"__new_{alias}"), schema[f"__new_{alias}"]).alias(alias) for alias in wanted)
    except PolarsError as error:
        raise InvalidInput(
            f"The rows do not fit source '{source.name}' of dataset '{source.dataset}': {str(error).strip().splitlines()[0]}.",
            next_step="Send rows of the dataset's schema, or register a new version of the set over the new schema.",
        ) from error


def source_frame(
    source: EventSource, table: Table, extra: Mapping[str, str] | None = None, *, complete: tuple[str, ...] = ()
) -> pl.DataFrame:
    """Return the source's rows in table order: every alias, typed, and `extra` expressions under their names.

    Expressions see the dataset's columns only, never each other.

    Args:
        source: The source.
        table: Path of the table, or paths of its files.
        extra: Further names and expressions.
        complete: Aliases without which a row is left out.

    Raises:
        InvalidInput: event time or availability is no time stamp with a zone.
    """
    picked = source_rows(source, scan(table), extra)
    frame = (picked.drop_nulls(complete) if complete else picked).collect()
    for alias in (source.event_time, source.available_at):
        if frame.schema[alias] != INSTANT:
            raise InvalidInput(
                f"'{alias}' of source '{source.name}' is {frame.schema[alias]}, not a time stamp with a zone.",
                next_step="Say which zone it is in, for example CAST(… AS TIMESTAMPTZ) if it is UTC.",
            )
    return frame


def scan(table: Table) -> pl.LazyFrame:
    """Return the rows of a table: one Parquet file, or several in order."""
    return pl.scan_parquet([table] if isinstance(table, Path) else list(table))


def with_expressions(frame: pl.DataFrame, expressions: Mapping[str, str]) -> pl.DataFrame:
    """Return the frame with further columns, computed from each row alone and typed as features are.

    A single row is computed beside an empty one: Polars divides a single value by a number, but multiplies more than one by its inverse,
    and the last bit of a feature must not depend on how many rows are asked for at once.
    """
    if not expressions:
        return frame
    schema = tuple(frame.schema.items())
    rows = pl.concat([frame, _empty_row(schema)], rechunk=True) if frame.height == 1 else frame
    return rows.with_columns(_typed_columns(tuple(expressions.items()), schema))[: frame.height]


@lru_cache(maxsize=_CACHED)
def _empty_row(schema: tuple[tuple[str, pl.DataType], ...]) -> pl.DataFrame:
    return pl.DataFrame(schema=dict(schema)).clear(1)


@lru_cache(maxsize=_CACHED)
def _typed_columns(expressions: tuple[tuple[str, str], ...], schema: tuple[tuple[str, pl.DataType], ...]) -> tuple[pl.Expr, ...]:
    parsed = {name: pl.sql_expr(sql) for name, sql in expressions}
    inferred = pl.LazyFrame(schema=dict(schema)).select(one.alias(name) for name, one in parsed.items()).collect_schema()
    return tuple(typed(one, inferred[name]).alias(name) for name, one in parsed.items())


def roots(sql: str) -> frozenset[str]:
    """Return the names of the columns that an expression reads."""
    return frozenset(pl.sql_expr(sql).meta.root_names())


def lookback_seconds(parts: Sequence[Part]) -> int | None:
    """Return how far before `t` the parts look at most; None when a lookup looks back without limit."""
    spans = [0]
    for part in parts:
        if isinstance(part, Lookup):
            return None
        spans.append(part.reach_seconds)
    return max(spans)
