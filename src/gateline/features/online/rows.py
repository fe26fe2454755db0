"""Rows on their way into the online store: from a dataset's columns to the events of each entity, by the expressions of the source.

The expressions are the ones that offline features are computed by, and so are the types: nothing is computed twice in two ways.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from gateline.features.engine.expressions import INSTANT, source_rows
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateline.features.declarations.plan import EventSource

Event = tuple[Any, ...]
"""Event time, availability (both UTC µs), 16 bytes that stand for the event id, then the values of the carried aliases."""

_MISSING = "__missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The events of each entity.

    Attributes:
        by_key: Entity key as text (see `key_text`) to its events.
        kinds: What the values of each carried alias are: `i` whole numbers, `f` fractions, `o` anything else.
        rows: How many rows there were.
        unusable: How many of them lack event time, availability or key, and are used nowhere.
        newest: Latest availability, in UTC microseconds; None of no event.
    """

    by_key: Mapping[str, list[Event]]
    kinds: tuple[str, ...]
    rows: int
    unusable: int
    newest: int | None


def key_text(values: Sequence[Any]) -> str:
    """Return an entity key as the text it is stored under: instants as microseconds, dates as days, both since 1970.

    >>> key_text(["JFK", 7])
    '["JFK",7]'
    """
    return msgspec.json.encode(values).decode()


def source_schema(source: EventSource, schema: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    """Return alias to type of a source over a dataset with this schema; raises as `source_rows` does."""
    return dict(source_rows(source, pl.LazyFrame(schema=dict(schema))).collect_schema())


def plain_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame in values that are packed as they are; see `key_text`."""
    return frame.select(_plain(name, dtype) for name, dtype in frame.schema.items())


def events_of(
    source: EventSource, frame: pl.DataFrame, keys: tuple[str, ...], carried: tuple[str, ...], *, identified: bool = True
) -> Events:
    """Return the events of each entity.

    Args:
        source: Where the rows come from.
        frame: Rows of the source, every alias typed.
        keys: Aliases of the entity key.
        carried: Aliases whose values are wanted.
        identified: Whether events bring along what stands for their id; otherwise it is empty.

    Raises:
        InvalidInput: the source names no event id, or a row has none.
    """
    check_event_id(source)
    usable = usable_rows(source, frame, keys)
    ids = source.event_id if identified else ()
    plain = usable.select(
        pl.col(source.event_time).dt.timestamp("us").alias("__event"),
        pl.col(source.available_at).dt.timestamp("us").alias("__available"),
        *(_plain(alias, usable.schema[alias]).alias(f"__id_{place}") for place, alias in enumerate(ids)),
        *(_plain(alias, usable.schema[alias]).alias(f"__key_{place}") for place, alias in enumerate(keys)),
        *(_plain(alias, usable.schema[alias]).alias(f"__value_{place}") for place, alias in enumerate(carried)),
    )
    found: dict[str, list[Event]] = defaultdict(list)
    identities = 2 + len(ids)
    values = identities + len(keys)
    encode = msgspec.json.encode
    for row in plain.rows():
        identity = hashlib.blake2b(encode(row[2:identities]), digest_size=16).digest() if ids else b""
        found[encode(row[identities:values]).decode()].append((row[0], row[1], identity, *row[values:]))
    newest = plain["__available"].max()
    return Events(
        by_key=found, kinds=tuple(_kind(alias, usable.schema[alias]) for alias in carried), rows=frame.height,
        unusable=frame.height - usable.height, newest=newest if isinstance(newest, int) else None,
    )  # fmt: skip


def check_event_id(source: EventSource) -> None:
    """Refuse a source that names no event id: a row that is delivered twice could not be told from two events.

    Raises:
        InvalidInput: it names none.
    """
    if not source.event_id:
        raise InvalidInput(
            f"Source '{source.name}' names no event_id, so it cannot feed the online store: an event delivered twice would count twice.",
            next_step='Name the columns that identify an event, for example event_id=("flight_id",), and register the set again.',
        )


def usable_rows(source: EventSource, frame: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    """Return the rows that have event time, availability and key.

    Raises:
        InvalidInput: one of them has no event id.
    """
    usable = frame.drop_nulls(list(dict.fromkeys([source.event_time, source.available_at, *keys])))
    for alias in source.event_id:
        if usable[alias].null_count():
            raise InvalidInput(
                f"{usable[alias].null_count():,} rows of source '{source.name}' have no '{alias}', which is part of their event id; "
                f"the first is usable row {usable[alias].is_null().arg_max()}.",
                next_step="Send the id with every event, or leave such rows out with `where`.",
            )
    return usable


def _plain(alias: str, dtype: pl.DataType) -> pl.Expr:
    """Return an alias in values that are packed as they are: instants as microseconds, dates as days, 0.0 for -0.0."""
    if isinstance(dtype, pl.Datetime):
        return pl.col(alias).dt.timestamp("us")
    if dtype == pl.Date():
        return pl.col(alias).cast(pl.Int32).cast(pl.Int64)
    if dtype == pl.Float64():
        return pl.col(alias) + 0.0
    return pl.col(alias)


def _kind(alias: str, dtype: pl.DataType) -> str:
    if dtype in {pl.Int64(), pl.Date(), INSTANT, pl.Datetime("us")}:
        return "i"
    if dtype == pl.Float64():
        return "f"
    if dtype in {pl.String(), pl.Boolean(), pl.Null()}:
        return "o"
    raise InvalidInput(
        f"Column '{alias}' is {dtype}, which the online store does not keep.", next_step="Cast it in the source's expression."
    )
