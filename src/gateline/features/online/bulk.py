"""Latest values of many entities at once: whole columns instead of one row after the other."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from gateline.features.online.rows import AVAILABLE_AT, EVENT_TIME, FIRST_VALUE
from gateline.features.online.state import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from gateline.features.online.rows import Events
    from gateline.kernel.clock import Instant

_EARLIEST = np.iinfo(np.int64).min
_NUMBERS = {"i": "<i8", "f": "<f8"}


def without_passed(events: Events, cut: Instant) -> Events:
    """Return the events without those that are the newest of their entity at no time from `cut` on.

    Of an entity's events that are available at `cut`, the newest in order of event time and availability passes all that come before it in
    this order. Events with the same two times as the newest stay, as do those that become available after `cut`.
    """
    if len(events.keys) == events.columns.height:
        return events
    firsts, counts = np.array(events.starts[:-1]), np.diff(events.starts)
    event_time, available_at = (events.columns[name].to_numpy() for name in (EVENT_TIME, AVAILABLE_AT))
    settled = available_at <= cut
    newest = np.repeat(np.maximum.reduceat(np.where(settled, event_time, _EARLIEST), firsts), counts)
    tied = event_time == newest
    latest = np.repeat(np.maximum.reduceat(np.where(settled & tied, available_at, _EARLIEST), firsts), counts)
    stays = (event_time > newest) | (tied & (available_at >= latest))
    ends = np.add.reduceat(stays, firsts, dtype=np.int64).cumsum()
    passed = len(stays) - int(ends[-1])
    return replace(events, columns=events.columns.filter(stays), starts=[0, *ends.tolist()], passed=passed)


def packed_rows(rows: pl.DataFrame, start: bytes, shown: str, horizon: Instant) -> list[bytes]:
    """Return for each row the blob of an entity of which this row is all that is known; see `LatestState`.

    Args:
        rows: Events, in the columns of `Events`.
        start: How the blobs begin.
        shown: The kind of each feature; columns behind those of the features order rows of equal times.
        horizon: The earliest time that is answered.
    """
    values = rows.get_columns()[FIRST_VALUE:]
    numbers = [(kind, column) for kind, column in zip(shown, values, strict=False) if kind != "o"]
    others = [column for kind, column in zip(shown, values, strict=False) if kind == "o"]
    order = values[len(shown) :]
    same_end = b"" if others or order else encode([(), encode(()), ()])
    parts = [("start", f"V{len(start)}"), *((name, "<i8") for name in ("horizon", EVENT_TIME, AVAILABLE_AT)), ("missing", "<u8")]
    parts += [(str(place), _NUMBERS[kind]) for place, (kind, _) in enumerate(numbers)]
    packed = np.empty(rows.height, [*parts, ("end", f"V{len(same_end)}")] if same_end else parts)
    packed["start"], packed["horizon"], packed["missing"] = np.void(start), horizon, 0
    packed[EVENT_TIME], packed[AVAILABLE_AT] = rows[EVENT_TIME].to_numpy(), rows[AVAILABLE_AT].to_numpy()
    for place, (_, column) in enumerate(numbers):
        packed[str(place)] = column.fill_null(0).to_numpy()
        if column.null_count():
            packed["missing"] |= column.is_null().to_numpy().astype(np.uint64) << np.uint64(place)
    if same_end:
        packed["end"] = np.void(same_end)
    content, size = packed.tobytes(), packed.itemsize
    heads = [content[first:end] for first, end in pairwise(range(0, len(content) + 1, size))]
    if same_end:
        return heads
    ends = zip(_tuples(others, rows.height), _tuples(order, rows.height), strict=True)
    return [head + encode([of_others, encode(of_order), ()]) for head, (of_others, of_order) in zip(heads, ends, strict=True)]


def _tuples(columns: Sequence[pl.Series], count: int) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_list() for column in columns), strict=True)) if columns else [()] * count
