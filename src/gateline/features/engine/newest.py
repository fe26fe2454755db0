"""The newest row of a key, and rows of reference tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from gateline.features.engine.alignment import total_order
from gateline.features.engine.windows import gathered
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from gateline.features.declarations.plan import Latest, Lookup
    from gateline.features.engine.alignment import Aligned


def latest_columns(aligned: Aligned, frame: pl.DataFrame, parts: list[Latest], partition_rows: int) -> list[pl.Series]:
    """Return the columns of all latest-value parts of one source and key, in the order of the spine."""
    source, size = parts[0].source, len(aligned.events)
    order = total_order(source, frame, (source.event_time, source.available_at))
    ranked = frame.select(pl.arg_sort_by(order, nulls_last=False, maintain_order=True)).to_series().to_numpy().astype(np.int64)
    rank = np.empty(size, dtype=np.int64)
    rank[ranked] = np.arange(size)
    # The highest rank so far of each key: keys follow one another, so that a key's number in front of the rank begins anew.
    best = np.maximum.accumulate(aligned.event_keys * np.int64(size) + rank[aligned.events]) % max(size, 1)
    happened = frame[source.event_time].dt.timestamp("us").to_numpy()
    pieces: list[list[pl.Series]] = [[] for part in parts for _ in part.outputs]
    names = [(name, alias) for part in parts for name, alias in part.outputs.items()]
    for piece in aligned.partitions(partition_rows):
        found = []
        begin = aligned.available(piece, np.full(piece.stop - piece.start, np.iinfo(np.int64).min))
        for part in parts:
            cut = aligned.cut(piece, part.offset_seconds)
            end = aligned.available(piece, cut)
            held = end > begin
            chosen = ranked[best[np.maximum(end - 1, 0)]] if size else np.zeros(len(end), dtype=np.int64)
            if size:
                held &= cut - happened[chosen] <= part.max_age_seconds * SECOND
            found += [gathered(frame[alias], chosen, held) for alias in part.outputs.values()]
        for one, fresh in zip(pieces, found, strict=True):
            one.append(fresh)
    empty = [pl.Series(name, [], dtype=frame.schema[alias]) for name, alias in names]
    return [aligned.restored([none, *found]) for none, found in zip(empty, pieces, strict=True)]


def lookup_columns(spine: pl.DataFrame, time: str, frame: pl.DataFrame, part: Lookup) -> list[pl.Series]:
    """Return the columns of a reference table for each row of the spine.

    Raises:
        InvalidInput: the table repeats a key.
    """
    keys = list(part.keys)
    table = frame.drop_nulls(keys)
    check_unique(table, part.keys, f"the lookup table '{part.source.name}'")
    wanted = table.select(
        *keys,
        pl.col(part.source.available_at).alias("__at"),
        *(pl.col(alias).alias(f"__out_{name}") for name, alias in part.outputs.items()),
    )
    rows = spine.select(pl.col(time).alias("__t"), *(pl.col(key) for key in keys))
    joined = rows.join(wanted, on=keys, how="left", maintain_order="left")
    known = pl.col("__at") <= pl.col("__t")
    return list(joined.select(pl.when(known).then(pl.col(f"__out_{name}")).alias(name) for name in part.outputs))


def check_unique(frame: pl.DataFrame, key: tuple[str, ...], what: str) -> None:
    """Refuse a frame in which a key comes twice.

    Raises:
        InvalidInput: it does; the message gives an example.
    """
    if found := repeated(frame, key):
        raise InvalidInput(
            f"In {what}, {found[0]:,} rows repeat a key that must be unique ({', '.join(key)}), for example {found[1]}.",
            next_step="Add columns to the key, or leave rows out with `where`.",
        )


def repeated(frame: pl.DataFrame, key: tuple[str, ...]) -> tuple[int, dict[str, Any]] | None:
    """Return how many rows repeat the key of another, and one such key; None when every key is unique."""
    count = frame.height - (frame[key[0]].n_unique() if len(key) == 1 else frame.select(key).n_unique())
    if not count:
        return None
    return count, frame.group_by(key).len().filter(pl.col("len") > 1).sort(key).drop("len").row(0, named=True)
