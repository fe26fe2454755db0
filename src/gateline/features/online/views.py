"""Views that are kept online: taking events in and reading features, over any online store."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gateline.features.declarations.views import SourcedView, WindowView, entity_of, view_fingerprint
from gateline.features.online.latest import LatestState
from gateline.features.online.state import Reading, State, Taken, refuse_early
from gateline.features.online.store import Change, Mark
from gateline.features.online.windows import WindowState
from gateline.kernel.clock import SECOND, Instant
from gateline.kernel.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

    from gateline.features.declarations.plan import EventSource
    from gateline.features.online.rows import Events
    from gateline.features.online.store import OnlineStore

_ATTEMPTS = 50
_ENTRIES_MAX = 20_000


def state_of(view: SourcedView) -> State:
    """Return how the state of a view is kept."""
    return WindowState(view) if isinstance(view, WindowView) else LatestState(view)


@dataclass(frozen=True, kw_only=True, eq=False)
class OnlineView:
    """A view as the online store keeps it: under its fingerprint, so that a changed definition never meets the values of another."""

    view: SourcedView
    fingerprint: str = field(default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", view_fingerprint(self.view))

    @cached_property
    def state(self) -> State:
        """How the state of an entity is kept."""
        return state_of(self.view)

    @property
    def source(self) -> EventSource:
        """Where its events come from."""
        return self.view.source

    @property
    def keys(self) -> tuple[str, ...]:
        """Aliases of the entity key."""
        return entity_of(self.view.entity).keys

    def horizon(self, watermark: Instant, now: Instant) -> Instant:
        """Return the earliest time that is still answered when events up to the watermark are known; clocks of sources may be ahead."""
        return min(watermark, now) - self.source.lateness_seconds * SECOND


class OnlineViews:
    """Takes events into the online store and reads features from it.

    Events are taken in by optimistic writes: states are read, merged and written back if nobody was faster, otherwise again. As merging
    is idempotent and independent of order, writers never lose an event of each other, and a batch that was cut off can be sent again.

    Args:
        store: Where the state is kept.
    """

    def __init__(self, store: OnlineStore) -> None:
        self.store = store

    def take_in(
        self, views: Sequence[OnlineView], frame: pl.DataFrame, now: Instant, *, covered: Instant | None = None
    ) -> dict[str, Taken]:
        """Take rows of one source into views of it; when it returns, they are durable.

        Args:
            views: Views that read the source.
            frame: Rows of the source, every alias typed.
            now: The time, in UTC microseconds.
            covered: Instant up to which a backfill has delivered everything with these rows.

        Returns:
            Fingerprint to what became of the events.

        Raises:
            InvalidInput: the source names no event id, or a row lacks it.
            StorageFull: there is no room; nothing of the rows was written, unless they were more than one commit holds.
            Unavailable: the store does not answer, or others kept writing to the same entities.
        """
        events = {one.fingerprint: _events(one, frame, now) for one in views}
        result = {fingerprint: Taken(known=own.passed) for fingerprint, own in events.items()}
        *parts, last = _parts(views, events)
        for part in parts:
            for fingerprint, taken in self._commit(part, events, now, None).items():
                result[fingerprint] = Taken.total([result[fingerprint], taken])
        # Only now has everything been delivered: tiles that are closed too early would lose what is still to come.
        for fingerprint, taken in self._commit(last, events, now, covered).items():
            result[fingerprint] = Taken.total([result[fingerprint], taken])
        return result

    def try_in(self, views: Sequence[OnlineView], frame: pl.DataFrame, now: Instant) -> None:
        """Raise what `take_in` would raise of these rows, such as Conflict over values of another type than is kept; write nothing."""
        events = {one.fingerprint: _events(one, frame, now) for one in views}
        for part in _parts(views, events):
            self._changes(part, events, now, None)

    def read(self, view: OnlineView, keys: Sequence[str], t: Instant) -> list[Reading]:
        """Return the features of each entity at `t`, in order.

        Args:
            view: The view.
            keys: Entity keys as text; see `key_text`.
            t: UTC microseconds.

        Raises:
            InvalidInput: the store no longer answers for `t`.
        """
        return self.read_each(view, keys, [t] * len(keys))

    def read_each(self, view: OnlineView, keys: Sequence[str], times: Sequence[Instant]) -> list[Reading]:
        """Return the features of each entity at a time of its own, in order; otherwise as `read`."""
        read, empty = view.state.read, view.state.empty()
        blobs = self.store.get_many(view.fingerprint, keys)
        if None in blobs:
            self._check_horizon(view, min(t for blob, t in zip(blobs, times, strict=True) if blob is None))
        return [empty if blob is None else read(blob, t) for blob, t in zip(blobs, times, strict=True)]

    def missing_shares(self, view: OnlineView, t: Instant) -> dict[str, float]:
        """Return, for each feature, the share of entities that have no value at `t`; empty of no entities."""
        entities, missing = 0, [0] * len(view.state.features)
        for keys in _pages(self.store.keys(view.fingerprint)):
            for reading in self.read(view, keys, t):
                entities += 1
                missing = [count + (value is None) for count, value in zip(missing, reading.values, strict=True)]
        return {name: count / entities for name, count in zip(view.state.features, missing, strict=True)} if entities else {}

    def prune(self, view: OnlineView, now: Instant) -> int:
        """Drop what no time can need any more, also of entities that have gone quiet; return how many states became smaller."""
        watermark = self.store.mark(view.fingerprint).watermark
        if watermark is None:
            return 0
        return sum(self._prune(view, keys, view.horizon(watermark, now)) for keys in _pages(self.store.keys(view.fingerprint)))

    def _prune(self, view: OnlineView, keys: list[str], horizon: Instant) -> int:
        mark = self.store.mark(view.fingerprint)
        changes = []
        for key, entry in zip(keys, self.store.entries(view.fingerprint, keys), strict=True):
            if entry is not None:
                blob, _ = view.state.merge(entry.blob, (), (), horizon, mark.covered)
                if blob is not None:
                    changes.append(Change(view.fingerprint, key, entry.revision, blob))
        # A writer that was faster has pruned what it wrote; the rest waits for the next time.
        return len(changes) if changes and self.store.commit(changes, {}) else 0

    def _check_horizon(self, view: OnlineView, t: Instant) -> None:
        """Refuse a time for which events of an entity without state may have been left out."""
        horizon = self.store.mark(view.fingerprint).horizon
        if horizon is not None and t < horizon:
            refuse_early(t, horizon)

    def _commit(self, part: dict[OnlineView, range], events: dict[str, Events], now: Instant, covered: Instant | None) -> dict[str, Taken]:
        for _ in range(_ATTEMPTS):
            changes, marks, result = self._changes(part, events, now, covered)
            if (not changes and not marks) or self.store.commit(changes, marks):
                return result
        raise Unavailable("Others keep writing to the same entities of the online store.", next_step="Send the events again.")

    def _changes(
        self, part: dict[OnlineView, range], events: dict[str, Events], now: Instant, covered: Instant | None
    ) -> tuple[list[Change], dict[str, Mark], dict[str, Taken]]:
        """Return what is to be written, and what becomes of the events of each view then."""
        changes: list[Change] = []
        marks: dict[str, Mark] = {}
        result: dict[str, Taken] = {}
        for view, places in part.items():
            own = events[view.fingerprint]
            before = self.store.mark(view.fingerprint)
            after = before.advanced(Mark(watermark=own.newest, covered=covered))
            if after.watermark is not None:
                after = after.advanced(Mark(horizon=view.horizon(after.watermark, now)))
            if after != before:
                marks[view.fingerprint] = after
            result[view.fingerprint] = self._merged(view, places, own, before, after, changes)
        return changes, marks, result

    def _merged(self, view: OnlineView, places: range, own: Events, before: Mark, after: Mark, changes: list[Change]) -> Taken:
        """Add the changes of a view's entities; return what became of their events."""
        if not places or after.horizon is None:
            return Taken()
        keys = own.keys[places.start : places.stop]
        entries = self.store.entries(view.fingerprint, keys)
        there = [None if entry is None else entry.blob for entry in entries]
        blobs, taken = view.state.merge_all(there, own, places, after.horizon, before.covered)
        changes += [
            Change(view.fingerprint, key, None if entry is None else entry.revision, blob)
            for key, entry, blob in zip(keys, entries, blobs, strict=True)
            if blob is not None
        ]
        return taken


def _events(view: OnlineView, frame: pl.DataFrame, now: Instant) -> Events:
    """Return the events of a view's entities, without those that the others leave nothing of."""
    from gateline.features.online.rows import events_of

    found = events_of(view.source, frame, view.keys, view.state.carried, identified=view.state.identified)
    return found if found.newest is None else view.state.reduced(found, view.horizon(found.newest, now))


def _parts(views: Sequence[OnlineView], events: dict[str, Events]) -> Iterator[dict[OnlineView, range]]:
    """Yield views with the places of entities so that no commit gets too large; usually all at once."""
    part: dict[OnlineView, range] = {}
    room = _ENTRIES_MAX
    for view in views:
        first, count = 0, len(events[view.fingerprint].keys)
        part[view] = range(min(room, count))
        while first + len(part[view]) < count:
            first += len(part[view])
            yield part
            part, room = {view: range(first, min(first + _ENTRIES_MAX, count))}, _ENTRIES_MAX
        room -= len(part[view])
    yield part


def _pages(keys: Iterator[str]) -> Iterator[list[str]]:
    page: list[str] = []
    for key in keys:
        page.append(key)
        if len(page) == _ENTRIES_MAX:
            yield page
            page = []
    if page:
        yield page


def summary_of(reading: Reading, t: Instant) -> dict[str, Any]:
    """Return age and state of a reading for JSON: `ok`, `stale` (older than the view allows) or `missing` (nothing known)."""
    state = "stale" if reading.stale else "missing" if reading.available_at is None else "ok"
    age = None if reading.event_time is None else (t - reading.event_time) / SECOND
    return {"state": state, "age_seconds": age, "event_time": reading.event_time, "available_at": reading.available_at}
