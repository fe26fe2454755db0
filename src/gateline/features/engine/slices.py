"""Cutting a computation into stretches of time, each with the rows of the sources that its windows reach.

A stretch covers at least the furthest look back, so that the overlap of all stretches together is at most the data once more: the cost
stays linear, and memory is that of some rows of the spine, or of the furthest look back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from gateline.kernel.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateline.features.engine.alignment import Positions, Timed


def time_slices(spine: Timed, rows: int, reach_seconds: int) -> Iterator[slice]:
    """Yield slices of the spine's order: at least so many rows (but for the last), and at least as long as the reach."""
    instants, begin, size = spine.at[spine.order], 0, len(spine.order)
    while begin < size:
        reached = int(np.searchsorted(instants, instants[begin] + reach_seconds * SECOND, side="right"))
        end = min(max(begin + rows, reached), size)
        yield slice(begin, end)
        begin = end


class Reachable:
    """A source in order of availability, from which the rows that matter to a stretch of time are taken.

    Args:
        source: Its rows.
        event_time: Column of the time that rows speak of.
    """

    def __init__(self, source: Timed, event_time: str) -> None:
        self._source = source
        self._at: Positions = source.at if source.sorted else source.at[source.order]
        happened = source.frame[event_time].dt.timestamp("us").to_numpy()[source.order]
        self._ahead = np.flatnonzero(happened > self._at)  # forecasts: known long before the time they speak of
        self._ahead_of: Positions = happened[self._ahead]

    def rows(self, first: int, last: int, reach_seconds: int) -> pl.DataFrame:
        """Return the rows available by `last` that speak of, or became available at, no more than the reach before `first`."""
        oldest = first - reach_seconds * SECOND
        begin = int(np.searchsorted(self._at, oldest, side="left"))
        end = int(np.searchsorted(self._at, last, side="right"))
        earlier = self._ahead[(self._ahead < begin) & (self._ahead_of >= oldest)]
        return self._source.taken(np.concatenate([earlier, np.arange(begin, end)]) if len(earlier) else slice(begin, end))


def in_order(spine: Timed, pieces: list[pl.DataFrame]) -> pl.DataFrame:
    """Return the results of all slices, in the order of the spine's frame."""
    found = pl.concat(pieces, rechunk=False)
    if spine.sorted:
        return found
    place = np.empty(len(spine.order), dtype=np.int64)
    place[spine.order] = np.arange(len(spine.order))
    return found[place]
