"""What the online store keeps of an entity, and how a feature is read from it at a time `t`: the same meaning as offline.

A state answers for every `t` from its horizon on. Everything that such a `t` may need is kept, and what became available after `t` is not
looked at; what no such `t` can need any more is dropped. Taking in the same events again, in any order, leaves the same state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from gateline.kernel.clock import Instant, iso
from gateline.kernel.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateline.features.declarations.plan import EventSource
    from gateline.features.online.rows import Event, Events

EVERYTHING = 1 << 62
"""The instant up to which a view is covered once its backfill has caught up: from then on, events alone bring what is new."""

decode = msgspec.msgpack.Decoder().decode
encode = msgspec.msgpack.Encoder().encode


class Reading(NamedTuple):
    """The features of an entity at a time.

    Attributes:
        values: One value for each feature, in order; None where there is none.
        event_time: Event time of the newest event that was looked at, in UTC microseconds; None without any.
        available_at: Its availability; None without any.
        stale: Whether there is a value, but it is older than the view allows.
    """

    values: tuple[Any, ...]
    event_time: Instant | None
    available_at: Instant | None
    stale: bool


class Taken(NamedTuple):
    """What became of events.

    Attributes:
        taken: They changed the state.
        known: They were there already, or a newer row leaves nothing of them.
        conflicting: Another event has their id; of both, the one available first counts.
        expired: No time that can still be asked about needs them.
        late: They came after the span they belong to was closed (views with a hop only), and do not count.
    """

    taken: int = 0
    known: int = 0
    conflicting: int = 0
    expired: int = 0
    late: int = 0

    @staticmethod
    def total(parts: Iterable[Taken]) -> Taken:
        """Return the sums."""
        return Taken(*(sum(column) for column in zip(*parts, strict=True)))


class State(Protocol):
    """How the state of one view is kept in a blob.

    Attributes:
        features: Names of the features, in order.
        carried: Aliases of the source that an event brings along.
        identified: Whether an event brings along what stands for its id.
    """

    features: tuple[str, ...]
    carried: tuple[str, ...]
    identified: bool

    def merge(
        self, blob: bytes | None, events: Sequence[Event], kinds: tuple[str, ...], horizon: Instant, covered: Instant | None
    ) -> tuple[bytes | None, Taken]:
        """Return the state with the events taken in, or None when that changes nothing, and what became of the events.

        Args:
            blob: The state before; None of an entity that is new.
            events: New events, in any order.
            kinds: What the values of each carried alias are.
            horizon: The earliest time that must still be answered, in UTC microseconds. A state's horizon never goes back.
            covered: Instant up to which backfills have delivered everything; None before the first.
        """
        ...

    def reduced(self, events: Events, horizon: Instant) -> Events:
        """Return the events without such as leave nothing behind beside the others, whatever is kept and is asked from the horizon on."""
        ...

    def merge_all(
        self, blobs: Sequence[bytes | None], events: Events, places: range, horizon: Instant, covered: Instant | None
    ) -> tuple[list[bytes | None], Taken]:
        """Return what `merge` returns for each entity, and what became of all events.

        Args:
            blobs: The state of each entity before; None of one that is new.
            events: New events.
            places: Which entities, as places in the keys of the events.
            horizon: As for `merge`.
            covered: As for `merge`.
        """
        ...

    def read(self, blob: bytes, t: Instant) -> Reading:
        """Return the features at `t`.

        Raises:
            InvalidInput: `t` lies before the state's horizon.
        """
        ...

    def empty(self) -> Reading:
        """Return what an entity has of which nothing is known."""
        ...


def merged_singly(
    state: State, blobs: Iterable[bytes | None], events: Events, places: Sequence[int], horizon: Instant, covered: Instant | None
) -> tuple[list[bytes | None], Taken]:
    """Merge one entity after the other; see `State.merge_all`."""
    pairs = zip(blobs, events.of(places), strict=True)
    found = [state.merge(blob, own, events.kinds, horizon, covered) for blob, own in pairs]
    return [blob for blob, _ in found], Taken.total(taken for _, taken in found)


def order_of(source: EventSource, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the aliases that order rows of equal event time and availability: tie-breaker, then all others by name."""
    timed = {source.event_time, source.available_at}
    rest = sorted(source.columns.keys() - set(keys))
    return tuple(alias for alias in dict.fromkeys([*source.tie_breaker, *rest]) if alias not in timed)


def place_of(values: Sequence[Any]) -> list[tuple[bool, Any]]:
    """Return values so that they sort with missing ones first."""
    return [(value is not None, 0 if value is None else value) for value in values]


def check_kinds(names: Sequence[str], there: str, new: str) -> None:
    """Refuse values of another kind than those that are kept.

    Raises:
        Conflict: naming the columns.
    """
    if there != new:
        different = [name for name, one, other in zip(names, there, new, strict=True) if one != other]
        raise Conflict(
            f"The columns {', '.join(different)} have another type than what is kept online of them: the source's schema has changed.",
            next_step="Register the set over the new schema; its views become new versions beside the old ones.",
        )


def refuse_early(t: Instant, horizon: Instant) -> None:
    """Raise the error of a time that a state no longer answers."""
    raise InvalidInput(
        f"The online store answers from {iso(horizon)} on, and was asked for {iso(t)}: what was known then has been dropped.",
        next_step="Ask for a later time, declare a longer lateness of the source, or compute the features offline.",
        facts={"t": t, "horizon": horizon},
    )


def refuse_form() -> None:
    """Raise the error of a state that another version of Gateline wrote, in a form that would be misread."""
    raise Conflict(
        "The online store holds this view in the form of another version of Gateline.",
        next_step="Make it anew: gateline feature remove VIEW@N, then gateline feature materialise VIEW@N.",
    )
