"""Where the rows of a spine meet the rows of a source: both ordered by key and time, positions found by one search for all keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from gateline.kernel.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateline.features.declarations.plan import EventSource

Positions: TypeAlias = npt.NDArray[np.int64]

_LINE_MAX = 1 << 62
_CODE = "__code"


class Timed:
    """A frame with the order of its rows by an instant; rows of one instant keep the order of `within`, or of the frame.

    Attributes:
        frame: The rows.
        at: The instant of each row, UTC microseconds.
        order: Row numbers by instant.
        sorted: Whether this is the order of the frame.
    """

    def __init__(self, frame: pl.DataFrame, instant: str, within: tuple[str, ...] = ()) -> None:
        self.frame = frame
        self.at: Positions = frame[instant].dt.timestamp("us").to_numpy()
        self.sorted = False
        if within:
            order = frame.select(pl.arg_sort_by(instant, *within, nulls_last=False, maintain_order=True)).to_series()
            self.order: Positions = order.to_numpy().astype(np.int64)
        elif np.all(self.at[1:] >= self.at[:-1]):
            self.order = np.arange(len(self.at))
            self.sorted = True
        else:
            self.order = np.argsort(self.at, kind="stable")

    def taken(self, places: slice | Positions) -> pl.DataFrame:
        """Return the rows at some places of the order; a slice of a frame that is in order copies nothing."""
        if self.sorted and isinstance(places, slice):
            return self.frame[places]
        return self.frame[self.order[places]]


def total_order(source: EventSource, frame: pl.DataFrame, first: tuple[str, ...]) -> tuple[str, ...]:
    """Return the aliases by which no two different rows are equal: `first`, then the tie-breaker, then all others by name."""
    return tuple(dict.fromkeys((*first, *source.tie_breaker, *sorted(frame.columns))))


class Aligned:
    """The rows of a spine and of a source by key and time, and for any instant how many rows of the source were available by then.

    Memory is about 40 bytes for each row of both; what is computed from it goes by `partitions` of the spine.

    Attributes:
        t: The time of each spine row, in order of key and time. Rows whose key is missing or unknown to the source come first.
        events: Row numbers of the source in order of key and availability; rows without a key come first and are never found.
        event_keys: Number of the key of each of these, from 1; 0 for no key.
    """

    def __init__(self, spine: Timed, source: Timed, key: tuple[str, ...]) -> None:
        spine_codes, codes = _codes(spine.frame, source.frame, key)
        rows = _by_code(spine_codes, spine.order)
        self.t: Positions = spine.at[rows]
        self._codes = spine_codes[rows]
        self._place: Positions = np.empty(len(rows), dtype=np.int64)
        self._place[rows] = np.arange(len(rows))
        self.events = _by_code(codes, source.order)
        self.event_keys = codes[self.events]
        at = source.at[self.events]
        self._line = _Line(int(codes.max(initial=0)), at)
        self._at = self._line.places(self.event_keys, at)
        self._hidden = int(np.searchsorted(self.event_keys, 0, side="right"))

    def partitions(self, rows: int) -> Iterator[slice]:
        """Yield slices of at most so many spine rows: several keys, or a stretch of time of one."""
        for begin in range(0, len(self.t), rows):
            yield slice(begin, min(begin + rows, len(self.t)))

    def available(self, part: slice, cuts: Positions) -> Positions:
        """Return for each spine row of a part the position in `events` at which those end that were available at its cut.

        The rows of its key between two such positions are those that became available after the first cut and not after the second.
        """
        found = np.searchsorted(self._at, self._line.places(self._codes[part], cuts), side="right").astype(np.int64, copy=False)
        return np.maximum(found, self._hidden)

    def cut(self, part: slice, seconds_before: int, hop_seconds: int = 0) -> Positions:
        """Return the instants so many seconds before t; with a hop, the last multiple of it at or before."""
        cuts = self.t[part] - seconds_before * SECOND
        hop = hop_seconds * SECOND
        return cuts // hop * hop if hop else cuts

    def restored(self, pieces: list[pl.Series]) -> pl.Series:
        """Return the values of all partitions, in the order of the spine."""
        return pl.concat(pieces).gather(self._place)


class _Line:
    """Puts (key, instant) on one line of whole numbers, so that one search serves all keys; ranks of instants where 64 bits are too few."""

    def __init__(self, keys: int, instants: Positions) -> None:
        self._first, self._last = (int(instants.min()), int(instants.max())) if len(instants) else (0, 0)
        self._span = self._last - self._first + 2
        self._ranks: Positions | None = None
        if (keys + 1) * self._span >= _LINE_MAX:
            self._ranks = np.unique(instants)
            self._span = len(self._ranks) + 1

    def places(self, keys: npt.NDArray[np.int32], instants: Positions) -> Positions:
        along: Positions
        if self._ranks is not None:
            along = np.searchsorted(self._ranks, instants, side="right").astype(np.int64, copy=False)
        else:
            along = np.clip(instants, self._first - 1, self._last) - (self._first - 1)
        return keys * np.int64(self._span) + along


def _codes(spine: pl.DataFrame, source: pl.DataFrame, key: tuple[str, ...]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the number of the key of each row of both, from 1; 0 where it is missing or not in the source."""
    names = list(key)
    if [source.schema[name] for name in names] == [pl.String]:
        words = pl.Enum(source[names[0]].drop_nulls().unique().sort())
        return _word_codes(spine[names[0]], words), _word_codes(source[names[0]], words)
    known = source.select(names).drop_nulls().unique().sort(names).with_row_index(_CODE, offset=1)

    def numbered(frame: pl.DataFrame) -> npt.NDArray[np.int32]:
        joined = frame.select(names).join(known, on=names, how="left", maintain_order="left")
        return joined[_CODE].fill_null(0).to_numpy().astype(np.int32)

    return numbered(spine), numbered(source)


def _word_codes(values: pl.Series, words: pl.Enum) -> npt.NDArray[np.int32]:
    """Return 1 for the first of the words and so on, 0 for all else; half the time of a join."""
    codes: npt.NDArray[np.int32] = values.cast(words, strict=False).to_physical().cast(pl.Int32).fill_null(-1).to_numpy()
    return codes + np.int32(1)


def _by_code(codes: npt.NDArray[np.int32], order: Positions) -> Positions:
    """Return row numbers by code, and within a code as in `order`."""
    in_order = codes[order]
    narrow = in_order.astype(np.uint16) if in_order.max(initial=0) < 1 << 16 else in_order  # 16 bits are sorted in linear time
    return order[np.argsort(narrow, kind="stable")]
