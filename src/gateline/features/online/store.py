"""The online store: one blob for each view and entity, read in microseconds, and written so that no update is ever lost.

A writer reads the blobs with their revisions, works out new ones, and commits them all at once; the commit takes place only if nobody
changed one of them in between. What is in a blob is the affair of `state`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateline.kernel.clock import Instant


class Entry(msgspec.Struct, frozen=True, gc=False):
    """The blob of an entity as it stands, with the revision that a later commit is held against."""

    revision: int
    blob: bytes


class Change(msgspec.Struct, frozen=True, gc=False):
    """A blob to be written. A batch makes thousands of them, which the search for garbage need not know: they refer to nothing that could.

    Attributes:
        view: Fingerprint of the view.
        key: The entity key as text.
        expected: Revision of the entry that the change was made from; None when there was none.
        blob: The new blob; None removes the entry.
    """

    view: str
    key: str
    expected: int | None
    blob: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a view has come. Marks only ever move forward.

    Attributes:
        watermark: Latest availability of any event that was taken in; None before the first.
        covered: Instant up to which backfills have delivered everything; None before the first.
        horizon: Earliest time that is still answered; None before the first event.
    """

    watermark: Instant | None = None
    covered: Instant | None = None
    horizon: Instant | None = None

    def advanced(self, other: Mark) -> Mark:
        """Return the later of both in each respect."""
        return Mark(
            watermark=_later(self.watermark, other.watermark),
            covered=_later(self.covered, other.covered),
            horizon=_later(self.horizon, other.horizon),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is kept of a view: entities, and bytes of their blobs."""

    keys: int
    size_bytes: int


class OnlineStore(Protocol):
    """Where the state of online views is kept. Every method may be called from any thread.

    Every method raises Unavailable when the store does not answer.
    """

    def get_many(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        """Return the blob of each key, in order; None where there is none."""
        ...

    def entries(self, view: str, keys: Sequence[str]) -> list[Entry | None]:
        """Return blob and revision of each key, in order; None where there is none."""
        ...

    def commit(self, changes: Sequence[Change], marks: Mapping[str, Mark]) -> bool:
        """Write all changes and advance the marks, durably, or nothing; False when an entry is no longer the expected one.

        Raises:
            StorageFull: there is no room; nothing was written.
        """
        ...

    def mark(self, view: str) -> Mark:
        """Return how far the view has come."""
        ...

    def keys(self, view: str) -> Iterator[str]:
        """Yield the key of every entry, in no order; of entries that are written meanwhile, some may be left out or come twice."""
        ...

    def extent(self, view: str) -> Extent:
        """Return how much is kept of the view."""
        ...

    def views(self) -> list[str]:
        """Return the fingerprints of all views of which something is kept, sorted."""
        ...

    def drop(self, view: str) -> None:
        """Remove everything of the view."""
        ...

    def close(self) -> None:
        """Give back every connection."""
        ...


def new_revision() -> int:
    """Return a revision that no entry had before, so that a removed and rewritten entry is never taken for the old one."""
    return secrets.randbits(62) + 1


def _later(one: Instant | None, other: Instant | None) -> Instant | None:
    known = [value for value in (one, other) if value is not None]
    return max(known, default=None)
