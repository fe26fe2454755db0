"""Rows on their way into the online store: from a dataset's columns to the events of each entity, by the expressions of the source.

The expressions are the ones that offline features are computed by, and so are the types: nothing is computed twice in two ways.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from gateline.features.engine.expressions import INSTANT, source_rows
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateline.features.declarations.plan import EventSource

Event = tuple[Any, ...]
"""Event time, availability (both UTC µs), 16 bytes that stand for the event id, then the values of the carried aliases."""

KEY, EVENT_TIME, AVAILABLE_AT, EVENT_ID = "__key", "__event", "__available", "__id"
FIRST_VALUE = 3
_ID_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The events of each entity, in columns.

    Attributes:
        keys: Entity keys as text (see `key_text`), each once, sorted: a store that is sorted finds and writes them one beside the other.
        starts: Where the events of each key begin in `columns`, and where the last ones end.
        columns: A column for each item of an `Event`; the events of a key lie together, in the order in which they came.
        kinds: What the values of each carried alias are: `i` whole numbers, `f` fractions, `o` anything else.
        newest: Latest availability, in UTC microseconds; None of no event.
        passed: How many events were left out, because newer ones leave nothing of them.
    """

    keys: list[str]
    starts: list[int]
    columns: pl.DataFrame
    kinds: tuple[str, ...]
    newest: int | None
    passed: int = 0

    def of(self, places: Sequence[int]) -> list[list[Event]]:
        """Return the events of each key, given by its place in `keys`."""
        spans = [(self.starts[place], self.starts[place + 1]) for place in places]
        rows = self.columns[[row for span in spans for row in range(*span)]].rows()
        ends = [0, *accumulate(end - start for start, end in spans)]
        return [rows[start:end] for start, end in pairwise(ends)]


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
    encode = msgspec.json.encode
    texts = [encode(row).decode() for row in _tuples(usable, keys)]
    digests = [hashlib.blake2b(encode(row), digest_size=_ID_BYTES).digest() for row in _tuples(usable, ids)] if ids else None
    columns = usable.select(
        pl.Series(KEY, texts, dtype=pl.String),
        pl.col(source.event_time).dt.timestamp("us").alias(EVENT_TIME),
        pl.col(source.available_at).dt.timestamp("us").alias(AVAILABLE_AT),
        (pl.lit(b"") if digests is None else pl.Series(digests, dtype=pl.Binary)).alias(EVENT_ID),
        *(_plain(alias, usable.schema[alias]).alias(f"__value_{place}") for place, alias in enumerate(carried)),
    ).sort(KEY, maintain_order=True)
    first = columns.select(pl.col(KEY) != pl.col(KEY).shift()).to_series().fill_null(value=True)
    newest = columns[AVAILABLE_AT].max()
    return Events(
        keys=columns[KEY].filter(first).to_list(), starts=[*first.arg_true().to_list(), columns.height], columns=columns.drop(KEY),
        kinds=tuple(_kind(alias, usable.schema[alias]) for alias in carried), newest=newest if isinstance(newest, int) else None,
    )  # fmt: skip


def _tuples(frame: pl.DataFrame, aliases: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Return aliases row by row, in values that are packed as they are."""
    plain = frame.select(_plain(alias, frame.schema[alias]) for alias in dict.fromkeys(aliases))
    return zip(*(plain[alias].to_list() for alias in aliases), strict=True)


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
                f"the first is usable row {(usable[alias].is_null().arg_max() or 0) + 1}.",
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
        return pl.when(pl.col(alias) == 0.0).then(0.0).otherwise(pl.col(alias)).alias(alias)  # Polars leaves -0.0 + 0.0 as it is
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
