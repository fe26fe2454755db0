"""The ledger: every change of a record leaves an entry, in the transaction that makes the change."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import NotFound
from gateline.ledger import store
from gateline.ledger.merkle import inclusion_proof, root
from gateline.ledger.model import ORIGIN, Checkpoint, Entry, Verification
from gateline.ledger.verify import verify_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from gateline.kernel.clock import Clock
    from gateline.kernel.records import Records
    from gateline.ledger.signing import SigningKey

CHECKPOINT_TYPE = "application/vnd.gateline.checkpoint+json"


class Transaction:
    """One change: rows, what the ledger says of it, and the events it sends.

    Attributes:
        session: The SQLAlchemy session of the change.
        now: The time of the change, in UTC microseconds.
        actor: Name of the principal that causes it.
    """

    def __init__(self, session: Session, now: int, actor: str) -> None:
        self.session = session
        self.now = now
        self.actor = actor
        self._entries: list[tuple[int, str, str, str, dict[str, Any]]] = []

    def record(self, kind: str, subject: str, payload: dict[str, Any] | None = None) -> None:
        """Say in the ledger what happened (`kind`, dotted past tense) to which record (`subject`)."""
        self._entries.append((self.now, kind, self.actor, subject, payload or {}))

    def publish(self, kind: str, payload: dict[str, Any]) -> None:
        """Send an event when, and only when, the change commits."""
        self.session.add(store.OutboxRow(kind=kind, payload=payload, created_at=self.now))

    def close(self) -> None:
        """Write the entries as the last statements before the commit."""
        self.session.flush()
        if self._entries:
            store.append(self.session, self._entries)


class Ledger:
    """The append-only record of what happened.

    Callers may rely on: an entry exists if and only if its change committed; positions have no gaps and never move; entries are never
    updated or deleted. They may not rely on times being in order.
    """

    def __init__(self, records: Records, clock: Clock, key: SigningKey) -> None:
        self.records = records
        self.clock = clock
        self.key = key

    @contextmanager
    def transaction(self, actor: str) -> Iterator[Transaction]:
        """Open a change by `actor`; it commits with its ledger entries and events, or leaves nothing."""
        with self.records.write() as session:
            change = Transaction(session, self.clock.now(), actor)
            yield change
            change.close()

    def sign(self, payload_type: str, payload: Any) -> dict[str, Any]:
        """Return a DSSE envelope by the installation's key."""
        return self.key.sign(payload_type, payload)

    def entries(self, *, start: int = 0, subject: str = "", kind: str = "", limit: int = 100) -> list[Entry]:
        """Return entries from position `start`, oldest first, optionally of one subject or kind."""
        with self.records.read() as session:
            return list(store.entries(session, start=start, subject=subject, kind=kind, limit=limit))

    def size(self) -> int:
        """Return the number of entries."""
        with self.records.read() as session:
            return store.size(session)

    def checkpoint(self) -> Checkpoint:
        """Sign size and root of the ledger as it stands; returns the earlier checkpoint when nothing was added since."""
        with self.records.write() as session:
            size, existing = store.size(session), store.checkpoints(session)
            if existing and existing[-1].size == size:
                return existing[-1]
            now = self.clock.now()
            tree_root = root(size, lambda level, index: store.read_node(session, level, index)).hex()
            payload = {"origin": ORIGIN, "size": size, "root": tree_root, "time": now}
            signed = Checkpoint(size=size, root=tree_root, time=now, envelope=self.sign(CHECKPOINT_TYPE, payload))
            session.add(store.CheckpointRow(size=size, root=tree_root, time=now, envelope=signed.envelope))
            return signed

    def prove(self, seq: int) -> dict[str, Any]:
        """Return an entry with its inclusion proof under the root of all entries (RFC 9162).

        Raises:
            NotFound: there is no such entry.
        """
        with self.records.read() as session:
            size = store.size(session)
            found = next(store.entries(session, start=seq, limit=1), None)
            if found is None or found.seq != seq:
                raise NotFound(f"The ledger has no entry {seq}; it has {size}.")

            def read(level: int, index: int) -> bytes:
                return store.read_node(session, level, index)

            path = inclusion_proof(seq, size, read)
            return {
                "entry": found.as_dict(),
                "size": size,
                "root": root(size, read).hex(),
                "leaf": found.leaf().hex(),
                "proof": [one.hex() for one in path],
            }

    def verify(self) -> Verification:
        """Recompute every leaf, node, root and signature."""
        return verify_records(self.records, self.key.public, CHECKPOINT_TYPE)
