"""The state of windows: the events of a key as columns, sorted by availability, and closed tiles of them when the view has a hop.

An exact window is open at its begin and closed at its end. With a hop, events are summed up tile by tile once no time that can be asked
about divides the tile, so that the state of a busy key grows with the number of tiles and not of events.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from gateline.features.declarations.plan import Aggregate, Window
from gateline.features.online.aggregates import summary, value
from gateline.features.online.state import (
    Reading,
    Taken,
    check_kinds,
    decode,
    encode,
    merged_singly,
    order_of,
    place_of,
    refuse_early,
    refuse_form,
)
from gateline.kernel.clock import SECOND, Instant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from gateline.features.declarations.views import WindowView
    from gateline.features.online.rows import Event, Events

    Instants = npt.NDArray[np.int64]

ORDERED = frozenset({Aggregate.FIRST, Aggregate.LAST, Aggregate.LAST_K})
_TYPES = {"i": np.int64, "f": np.float64}
_ID_BYTES = 16
_NEVER = -(1 << 62)
_MANY = 64
_FORMAT = 2  # of blobs; those of the first name none, and say the same but for sums in tiles, which were rounded
_FEW = 1_024


@dataclass(frozen=True, slots=True)
class _Column:
    """Values of one alias: an array with the places that hold a value (None: all do), or a list with None in it."""

    kind: str
    data: Any
    present: npt.NDArray[np.bool_] | None

    def packed(self) -> list[Any]:
        if self.kind == "o":
            return [self.kind, self.data, None]
        return [self.kind, self.data.tobytes(), None if self.present is None else self.present.tobytes()]

    def taken(self, places: npt.NDArray[np.intp]) -> _Column:
        if self.kind == "o":
            return _Column("o", [self.data[place] for place in places], None)
        return _Column(self.kind, self.data[places], None if self.present is None else self.present[places])

    def since(self, low: int) -> _Column:
        return _Column(self.kind, self.data[low:], None if self.present is None else self.present[low:])

    def joined(self, values: list[Any]) -> _Column:
        """Return the column with values behind it."""
        if self.kind == "o":
            return _Column("o", [*self.data, *values], None)
        if self.present is None and None not in values:
            return _Column(self.kind, np.concatenate([self.data, np.array(values, dtype=_TYPES[self.kind])]), None)
        data = np.array([0 if one is None else one for one in values], dtype=_TYPES[self.kind])
        present = np.array([one is not None for one in values], dtype=np.bool_)
        before = np.ones(len(self.data), dtype=np.bool_) if self.present is None else self.present
        return _Column(self.kind, np.concatenate([self.data, data]), np.concatenate([before, present]))

    def at(self, place: int) -> Any:
        """Return one value as Python knows it."""
        if self.kind == "o":
            return self.data[place]
        return None if self.present is not None and not self.present[place] else self.data[place].item()

    def values(self, low: int, high: int) -> Any:
        """Return the values in a span, without missing ones."""
        if self.kind == "o":
            return [one for one in self.data[low:high] if one is not None]
        span = self.data[low:high]
        found = span if self.present is None else span[self.present[low:high]]
        return found if len(found) > _MANY else found.tolist()

    def pairs(self, other: _Column, low: int, high: int) -> tuple[list[Any], list[Any]]:
        """Return the values of both columns in the rows of a span that have both."""
        rows = [(self.at(place), other.at(place)) for place in range(low, high)]
        whole = [pair for pair in rows if pair[0] is not None and pair[1] is not None]
        return [pair[0] for pair in whole], [pair[1] for pair in whole]


@dataclass(slots=True, kw_only=True)
class _Kept:
    """A blob taken apart: events sorted by availability, then tiles by number, each with one summary for each cell."""

    horizon: Instant
    sealed: Instant
    available: Instants
    happened: Instants
    ids: npt.NDArray[np.uint64]
    columns: list[_Column]
    tiles: dict[int, list[Any]]

    def select(self, places: npt.NDArray[np.intp]) -> None:
        """Keep these events, in this order."""
        self.available, self.happened, self.ids = self.available[places], self.happened[places], self.ids[places]
        self.columns = [column.taken(places) for column in self.columns]

    def cut(self, low: int) -> None:
        """Leave out the first events."""
        self.available, self.happened, self.ids = self.available[low:], self.happened[low:], self.ids[low:]
        self.columns = [column.since(low) for column in self.columns]

    def packed(self) -> bytes:
        return encode([
            _FORMAT, self.horizon, self.sealed, self.available.tobytes(), self.happened.tobytes(), self.ids.tobytes(),
            [column.packed() for column in self.columns], list(self.tiles.items()),
        ])  # fmt: skip


def _unpacked(blob: bytes) -> _Kept:
    *form, horizon, sealed, available, happened, ids, columns, tiles = decode(blob)
    if form != [_FORMAT] and (form or tiles):
        refuse_form()
    return _Kept(
        horizon=horizon, sealed=sealed, available=np.frombuffer(available, np.int64), happened=np.frombuffer(happened, np.int64),
        ids=np.frombuffer(ids, np.uint64).reshape(-1, 2), columns=[_column(*column) for column in columns], tiles=dict(tiles),
    )  # fmt: skip


def _column(kind: str, data: Any, present: bytes | None) -> _Column:
    if kind == "o":
        return _Column(kind, data, None)
    return _Column(kind, np.frombuffer(data, _TYPES[kind]), None if present is None else np.frombuffer(present, np.bool_))


def _nothing(horizon: Instant, kinds: tuple[str, ...]) -> _Kept:
    none = np.empty(0, np.int64)
    columns = [_Column(kind, [] if kind == "o" else np.empty(0, _TYPES[kind]), None) for kind in kinds]
    return _Kept(horizon=horizon, sealed=_NEVER, available=none, happened=none, ids=np.empty((0, 2), np.uint64), columns=columns, tiles={})


class WindowState:
    """The events of a key within the longest window from the horizon on, or tiles of them; see `State`."""

    identified = True

    def __init__(self, view: WindowView) -> None:
        parts = [part for part in view.parts if isinstance(part, Window)]
        first = parts[0]
        self._parts = parts
        self.features = tuple(part.name for part in parts)
        used = dict.fromkeys(name for part in parts for name in (part.column, part.denominator) if name)
        self._ordering = order_of(view.source, first.keys) if any(part.aggregate in ORDERED for part in parts) else ()
        self.carried = tuple(dict.fromkeys([*used, *self._ordering]))
        self._order = [self.carried.index(alias) for alias in self._ordering]
        self._offset = first.offset_seconds * SECOND
        self._hop = first.hop_seconds * SECOND
        self._longest = max(part.window_seconds for part in parts) * SECOND
        self._spans = sorted({part.window_seconds * SECOND for part in parts})
        self._cells, self._cell_of = _cells(parts)
        self._empty = Reading(tuple(value(part, [summary(part, ())]) for part in parts), None, None, stale=False)

    def empty(self) -> Reading:
        """Return what an entity has of which nothing is known."""
        return self._empty

    def merge(
        self, blob: bytes | None, events: Sequence[Event], kinds: tuple[str, ...], horizon: Instant, covered: Instant | None
    ) -> tuple[bytes | None, Taken]:
        """Return the state with the events taken in; see `State`."""
        kept = _nothing(horizon, kinds) if blob is None else _unpacked(blob)
        if events:
            check_kinds(self.carried, "".join(column.kind for column in kept.columns), "".join(kinds))
        kept.horizon = max(kept.horizon, horizon)
        bound = self._begin(kept.horizon - self._offset, self._longest)
        current = [event for event in events if event[1] > bound and event[1] > kept.sealed]
        expired = sum(event[1] <= bound for event in events)
        late = len(events) - expired - len(current)
        fresh, known, conflicting = self._fresh(kept, current)
        changed = self._drop(kept, bound)
        if fresh:
            self._add(kept, fresh)
        changed |= self._seal(kept, covered)
        result = Taken(taken=len(fresh), known=known, conflicting=conflicting, expired=expired, late=late)
        if not fresh and not changed:
            return None, result
        return kept.packed(), result

    def reduced(self, events: Events, horizon: Instant) -> Events:  # noqa: ARG002 - every event of a window counts
        """Return the events as they are; see `State`."""
        return events

    def merge_all(
        self, blobs: Sequence[bytes | None], events: Events, places: range, horizon: Instant, covered: Instant | None
    ) -> tuple[list[bytes | None], Taken]:
        """Return the states with the events taken in; see `State`."""
        return merged_singly(self, blobs, events, places, horizon, covered)

    def read(self, blob: bytes, t: Instant) -> Reading:
        """Return the features at `t`; see `State`."""
        kept = _unpacked(blob)
        if t < kept.horizon:
            refuse_early(t, kept.horizon)
        end = t - self._offset
        starts = {span: self._begin(end, span) for span in self._spans}
        *lows, high = kept.available.searchsorted([*starts.values(), end], side="right").tolist()
        low_of = dict(zip(starts, lows, strict=True))
        seen: dict[tuple[int, int], Any] = {}
        found = []
        for part, cell in zip(self._parts, self._cell_of, strict=True):
            span = part.window_seconds * SECOND
            low = low_of[span]
            if (cell, low) not in seen:
                seen[cell, low] = self._of_span(kept, self._cells[cell], low, high)
            own = seen[cell, low]
            tiles = [cells[cell] for number, cells in kept.tiles.items() if number * self._hop >= starts[span]] if kept.tiles else []
            found.append(value(part, [*tiles, own]))
        newest = high - 1
        if newest < 0:
            at = kept.sealed if kept.tiles else None
            return Reading(tuple(found), at, at, stale=False)
        return Reading(tuple(found), int(kept.happened[newest]), int(kept.available[newest]), stale=False)

    def _begin(self, end: Instant, span: int) -> Instant:
        """Return where a window ends that begins `span` earlier, at a multiple of the hop when there is one."""
        start = end - span
        return start // self._hop * self._hop if self._hop else start

    def _fresh(self, kept: _Kept, events: list[Event]) -> tuple[list[Event], int, int]:
        """Return events that are not there yet, and how many were; of two with one id, the first in order stays."""
        known = conflicting = 0
        unique: dict[bytes, Event] = {}
        for event in events:
            other = unique.setdefault(event[2], event)
            if other is not event:
                known, conflicting = known + (other == event), conflicting + (other != event)
                unique[event[2]] = min(other, event, key=self._place)
        if not unique or not len(kept.available):
            return list(unique.values()), known, conflicting
        replaced = []
        for place in _places(kept.ids, unique):
            identity = kept.ids[place].tobytes()
            if identity not in unique:
                continue
            other = unique[identity]
            there: Event = (
                int(kept.happened[place]), int(kept.available[place]), identity, *(column.at(place) for column in kept.columns),
            )  # fmt: skip
            known, conflicting = known + (other == there), conflicting + (other != there)
            if self._place(other) < self._place(there):
                replaced.append(place)
            else:
                del unique[identity]
        if replaced:
            kept.select(np.delete(np.arange(len(kept.available)), replaced))
        return list(unique.values()), known, conflicting

    def _place(self, event: Event) -> tuple[int, int, list[tuple[bool, Any]]]:
        return event[1], event[0], place_of(event[3:])

    def _add(self, kept: _Kept, fresh: list[Event]) -> None:
        fresh.sort(key=itemgetter(1))
        in_order = not len(kept.available) or fresh[0][1] > kept.available[-1]
        kept.available = np.concatenate([kept.available, np.array([event[1] for event in fresh], np.int64)])
        kept.happened = np.concatenate([kept.happened, np.array([event[0] for event in fresh], np.int64)])
        kept.ids = np.concatenate([kept.ids, np.frombuffer(b"".join(event[2] for event in fresh), np.uint64).reshape(-1, 2)])
        kept.columns = [column.joined([event[3 + place] for event in fresh]) for place, column in enumerate(kept.columns)]
        if in_order and not self._ordering:
            return
        order = np.argsort(kept.available, kind="stable")
        if self._ordering:
            self._break_ties(kept, order)
        kept.select(order)

    def _break_ties(self, kept: _Kept, order: npt.NDArray[np.intp]) -> None:
        """Bring events of equal availability into their total order, in place."""
        times = kept.available[order]
        edges = np.flatnonzero(np.diff(times, prepend=times[0] - 1, append=times[-1] + 1))
        for low, high in pairwise(edges.tolist()):
            if high - low > 1:
                tied = order[low:high].tolist()
                tied.sort(key=lambda place: (kept.happened[place], place_of([kept.columns[column].at(place) for column in self._order])))
                order[low:high] = tied

    def _drop(self, kept: _Kept, bound: Instant) -> bool:
        """Drop what ended at `bound` or earlier; return whether there was any."""
        low = int(kept.available.searchsorted(bound, side="right"))
        if low:
            kept.cut(low)
        gone = [number for number in kept.tiles if (number + 1) * self._hop <= bound]
        for number in gone:
            del kept.tiles[number]
        return bool(low or gone)

    def _seal(self, kept: _Kept, covered: Instant | None) -> bool:
        """Sum up the events of every tile that no time that can be asked about divides; return whether there was any."""
        if not self._hop or covered is None:
            return False
        # An event that became available at the horizon itself may still come.
        until = min(kept.horizon - self._offset - 1, covered) // self._hop * self._hop
        high = int(kept.available.searchsorted(until, side="right"))
        if until <= kept.sealed or not high:
            return False
        numbers = (kept.available[:high] - 1) // self._hop
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), high]
        for low, end in pairwise(edges):
            kept.tiles[int(numbers[low])] = [self._of_span(kept, cell, low, end, exact=True) for cell in self._cells]
        kept.sealed = until
        kept.cut(high)
        return True

    def _of_span(self, kept: _Kept, cell: Window, low: int, high: int, *, exact: bool = False) -> Any:
        """Return the summary of a cell over events `low` to `high`."""
        column = kept.columns[self.carried.index(cell.column)]
        if cell.denominator:
            values, below = column.pairs(kept.columns[self.carried.index(cell.denominator)], low, high)
            return summary(cell, values, below, exact=exact)
        return summary(cell, column.values(low, high), exact=exact)


def _places(ids: npt.NDArray[np.uint64], wanted: Mapping[bytes, Event]) -> list[int]:
    """Return where one of the wanted ids may stand: the first halves of ids are compared."""
    if len(ids) <= _FEW:
        halves = {int.from_bytes(one[: _ID_BYTES // 2], "little") for one in wanted}
        return [place for place, half in enumerate(ids[:, 0].tolist()) if half in halves]
    low = np.frombuffer(b"".join(wanted), np.uint64).reshape(-1, 2)[:, 0]
    return np.flatnonzero(np.isin(ids[:, 0], low)).tolist()


def _cells(parts: Sequence[Window]) -> tuple[list[Window], list[int]]:
    """Return what must be summed up for the parts, each once, and the place of each part's summary in it."""
    grouped: Mapping[tuple[str, str, str], list[Window]] = defaultdict(list)
    for part in parts:
        grouped[str(part.aggregate), part.column, part.denominator].append(part)
    cells = [max(group, key=lambda part: part.position) for group in grouped.values()]
    places = {name: place for place, name in enumerate(grouped)}
    return cells, [places[str(part.aggregate), part.column, part.denominator] for part in parts]
