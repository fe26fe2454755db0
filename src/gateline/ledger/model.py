"""What the ledger holds: entries, checkpoints, and what a verification found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateline.kernel.canonical import canonical_bytes
from gateline.ledger.merkle import leaf_hash

_ENTRY_DOMAIN = b"gateline-ledger-entry/1\x00"
ORIGIN = "gateline-ledger/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened, as it is hashed.

    Attributes:
        seq: Position in the ledger, from 0, without gaps.
        time: The server's clock in UTC microseconds; the order is given by `seq`, since clocks may lie.
        kind: Dotted, past tense: `model.version.approved`.
        actor: The principal that caused it.
        subject: Id of the record it is about.
        payload: JSON-able facts.
    """

    seq: int
    time: int
    kind: str
    actor: str
    subject: str
    payload: dict[str, Any]

    def content(self) -> bytes:
        """Return the bytes that are hashed: a domain, then the canonical JSON of all fields."""
        return _ENTRY_DOMAIN + canonical_bytes(self.as_dict())

    def leaf(self) -> bytes:
        """Return the leaf hash of the entry."""
        return leaf_hash(self.content())

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "seq": self.seq, "time": self.time, "kind": self.kind, "actor": self.actor, "subject": self.subject, "payload": self.payload,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A signed statement of the tree's size and root.

    Attributes:
        size: Number of entries covered.
        root: Hex root hash over them (RFC 9162).
        time: When it was signed, in UTC microseconds.
        envelope: The DSSE envelope that carries size, root and time.
    """

    size: int
    root: str
    time: int
    envelope: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"size": self.size, "root": self.root, "time": self.time, "envelope": self.envelope}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing a verification found wrong. `seq` names the entry, or is None when it concerns a checkpoint or key."""

    seq: int | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a full verification found: the ledger is sound when there are no problems."""

    entries: int
    checkpoints: int
    root: str
    problems: tuple[Problem, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "sound": self.sound,
            "entries": self.entries,
            "checkpoints": self.checkpoints,
            "root": self.root,
            "problems": [{"seq": problem.seq, "detail": problem.detail} for problem in self.problems],
        }
