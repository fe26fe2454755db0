"""The state of latest values and lookups: the rows of a key that are the newest at some time from the horizon on."""

from __future__ import annotations

import struct
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from gateline.features.declarations.plan import Latest, Lookup
from gateline.features.online.state import (
    EVERYTHING,
    Reading,
    Taken,
    check_kinds,
    decode,
    encode,
    merged_singly,
    order_of,
    place_of,
    refuse_early,
)
from gateline.kernel.clock import SECOND, Instant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateline.features.declarations.views import LatestView, LookupView
    from gateline.features.online.rows import Event, Events

_NUMBERS_MAX = 63
_ONE_TAKEN = Taken(taken=1)
_TIMES = struct.Struct("<qq")


class _Row(NamedTuple):
    """A row: its times, its features, and packed values that only order rows of equal times."""

    event_time: Instant
    available_at: Instant
    features: tuple[Any, ...]
    order: bytes


@cache
def _layout(kinds: str) -> struct.Struct:
    """Return the layout of horizon, event time, availability, a bit for each missing number, and the numbers."""
    return struct.Struct("<qqqQ" + "".join({"i": "q", "f": "d"}[kind] for kind in kinds if kind != "o"))


@cache
def _reader(kinds: bytes) -> tuple[Callable[[bytes, int], tuple[Any, ...]], bool]:
    """Return what unpacks the numbers, and whether there is anything else."""
    return _layout(kinds.decode()).unpack_from, b"o" in kinds


class LatestState:
    """Rows of a key of which each newer one became available later; see `State`.

    A blob begins with the number of features and the kind of each, then the newest row's numbers in a fixed layout (so that reading them
    takes a microsecond); behind it, by msgpack, what of the newest row is no number, what orders it, and the older rows, newest first.
    """

    identified = False  # a row that comes twice leaves the same state without its id

    def __init__(self, view: LatestView | LookupView) -> None:
        (part,) = view.parts
        assert isinstance(part, Latest | Lookup)  # noqa: S101 - what both kinds of view compile to
        outputs = part.outputs
        self.features = tuple(outputs)
        columns = tuple(outputs.values())
        ordering = order_of(view.source, part.keys)
        self.carried = (*columns, *(alias for alias in ordering if alias not in columns))
        self._order = tuple(self.carried.index(alias) for alias in ordering)
        self._count = len(columns)
        self._offset = part.offset_seconds * SECOND if isinstance(part, Latest) else 0
        self._age_max = part.max_age_seconds * SECOND if isinstance(part, Latest) else EVERYTHING * 2
        self._nothing = (None,) * self._count
        self._empty = Reading(self._nothing, None, None, stale=False)

    def merge(
        self,
        blob: bytes | None,
        events: Sequence[Event],
        kinds: tuple[str, ...],
        horizon: Instant,
        covered: Instant | None,  # noqa: ARG002 - nothing is ever closed
    ) -> tuple[bytes | None, Taken]:
        """Return the state with the events taken in; see `State`."""
        end = 3 + self._count
        fresh = [_Row(event[0], event[1], event[3:end], encode(event[end:])) for event in events]
        if blob is None:
            if len(fresh) == 1:
                return self._packed(kinds, horizon, fresh), _ONE_TAKEN
            old: list[_Row] = []
        else:
            before, old = self._unpacked(blob)
            horizon = max(horizon, before)
            if events:
                check_kinds(self.features, _kinds(blob), _shown(kinds[: self._count]))
        rows = self._newest([*old, *fresh], horizon - self._offset)
        kept = {id(row) for row in rows}
        taken = sum(id(row) in kept for row in fresh)
        result = Taken(taken=taken, known=len(fresh) - taken)
        if not rows or (not taken and len(rows) == len(old)):
            return None, result
        return self._packed(kinds or tuple(_kinds(blob or b"")), horizon, rows), result

    def reduced(self, events: Events, horizon: Instant) -> Events:
        """Return the events without those that newer ones leave nothing of; see `State`."""
        from gateline.features.online.bulk import without_passed

        return without_passed(events, horizon - self._offset)

    def merge_all(
        self, blobs: Sequence[bytes | None], events: Events, places: range, horizon: Instant, covered: Instant | None
    ) -> tuple[list[bytes | None], Taken]:
        """Return the states with the events taken in; see `State`.

        An entity's only event is packed together with all others, and this is its new state when nothing else of the entity is kept.
        """
        from gateline.features.online.bulk import packed_rows

        shown = _shown(events.kinds[: self._count])
        start, cut = _start(shown), horizon - self._offset
        firsts = events.starts[places.start : places.stop]
        counts = [end - first for first, end in pairwise(events.starts[places.start : places.stop + 1])]
        rows = events.columns[firsts]
        packed = packed_rows(rows, start, shown, horizon)
        found: list[bytes | None] = [*packed]
        rest, known = [], 0
        times = zip(*(column.to_list() for column in rows.get_columns()[:2]), strict=True)
        for place, (blob, count, new, its) in enumerate(zip(blobs, counts, packed, times, strict=True)):
            if count > 1 or (blob is not None and not blob.startswith(start)):
                rest.append(place)
            elif blob is not None and not _passed(blob, len(start), its, horizon, cut):
                if blob[len(start) + 8 :] == new[len(start) + 8 :]:  # all but the horizon: the row is there already
                    found[place], known = None, known + 1
                else:
                    rest.append(place)
        merged, taken = merged_singly(self, [blobs[place] for place in rest], events, [places[place] for place in rest], horizon, covered)
        for place, blob in zip(rest, merged, strict=True):
            found[place] = blob
        return found, Taken.total([taken, Taken(taken=len(places) - len(rest) - known, known=known)])

    def read(self, blob: bytes, t: Instant) -> Reading:
        """Return the features at `t`; see `State`."""
        end = 2 + (blob[0] | blob[1] << 8)
        unpack_from, others = _reader(blob[2:end])
        found: tuple[Any, ...] = unpack_from(blob, end)
        horizon, event_time, available_at, missing = found[:4]
        if t < horizon:
            refuse_early(t, horizon)
        cut = t - self._offset
        if cut < available_at:
            return self._older(blob, cut)
        if cut - event_time > self._age_max:
            return Reading(self._nothing, event_time, available_at, True)
        if missing or others:
            shown = blob[2:end].decode()
            return Reading(tuple(self._features(blob, shown, found[4:], missing)), event_time, available_at, False)
        return Reading(found[4:], event_time, available_at, False)

    def empty(self) -> Reading:
        """Return what an entity has of which nothing is known."""
        return self._empty

    def _older(self, blob: bytes, cut: Instant) -> Reading:
        """Return the features of the newest row that was available at `cut`, which is not the newest of all."""
        for row in self._unpacked(blob)[1]:
            if row.available_at <= cut:
                stale = cut - row.event_time > self._age_max
                return Reading(self._nothing if stale else row.features, row.event_time, row.available_at, stale)
        return self._empty

    def _features(self, blob: bytes, kinds: str, numbers: Sequence[Any], missing: int) -> list[Any]:
        """Return the newest row's features, with what is missing and what is no number in its place."""
        others = iter(decode(blob[2 + len(kinds) + _layout(kinds).size :])[0] if "o" in kinds else ())
        found = iter([None if missing >> place & 1 else number for place, number in enumerate(numbers)])
        return [next(others) if kind == "o" else next(found) for kind in kinds]

    def _packed(self, kinds: tuple[str, ...], horizon: Instant, rows: list[_Row]) -> bytes:
        """Return the blob of rows, newest first."""
        first = rows[0]
        shown = _shown(kinds[: self._count])
        rest = [first.order, rows[1:]]
        if "o" not in shown and None not in first.features:
            head = _layout(shown).pack(horizon, first.event_time, first.available_at, 0, *first.features)
            return b"".join((_start(shown), head, encode([(), *rest])))
        numbers: list[Any] = []
        others: list[Any] = []
        missing = 0
        for kind, feature in zip(shown, first.features, strict=True):
            if kind == "o":
                others.append(feature)
            else:
                if feature is None:
                    missing |= 1 << len(numbers)
                numbers.append(feature or 0)
        head = _layout(shown).pack(horizon, first.event_time, first.available_at, missing, *numbers)
        return b"".join((_start(shown), head, encode([others, *rest])))

    def _unpacked(self, blob: bytes) -> tuple[Instant, list[_Row]]:
        """Return horizon and rows, newest first."""
        kinds = _kinds(blob)
        layout = _layout(kinds)
        horizon, event_time, available_at, missing, *numbers = layout.unpack_from(blob, 2 + len(kinds))
        _, order, older = decode(blob[2 + len(kinds) + layout.size :])
        first = _Row(event_time, available_at, tuple(self._features(blob, kinds, numbers, missing)), order)
        return horizon, [first, *(_Row(row[0], row[1], tuple(row[2]), row[3]) for row in older)]

    def _newest(self, rows: list[_Row], cut: Instant) -> list[_Row]:
        """Return the rows that are the newest at some time from `cut` on, newest first. Of equal rows, the first stays."""
        rows.sort(key=self._place)
        kept: list[_Row] = []
        for row in reversed(rows):
            if not kept or (row.available_at < kept[-1].available_at and kept[-1].available_at > cut):
                kept.append(row)
            elif row == kept[-1]:
                kept[-1] = row  # a row that was there already is not taken again
        return kept

    def _place(self, row: _Row) -> tuple[int, int, list[tuple[bool, Any]]]:
        values = [*row.features, *decode(row.order)]
        return row.event_time, row.available_at, place_of([values[place] for place in self._order])


@cache
def _shown(kinds: tuple[str, ...]) -> str:
    """Return the kinds as a blob names them; numbers beyond what the bits can mark as missing are packed as anything else."""
    numbers = [place for place, kind in enumerate(kinds) if kind != "o"][_NUMBERS_MAX:]
    return "".join("o" if place in numbers else kind for place, kind in enumerate(kinds))


@cache
def _start(shown: str) -> bytes:
    """Return how a blob begins: the number of features, and the kind of each."""
    return len(shown).to_bytes(2, "little") + shown.encode()


def _passed(blob: bytes, start: int, times: Sequence[Instant], horizon: Instant, cut: Instant) -> bool:
    """Return whether nothing of a blob stays beside a row with these times, because it is newer and available at `cut` already."""
    before, newest = _TIMES.unpack_from(blob, start)
    return before <= horizon and newest < times[0] and times[1] <= cut


def _kinds(blob: bytes) -> str:
    return blob[2 : 2 + (blob[0] | blob[1] << 8)].decode()
