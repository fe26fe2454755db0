"""The ledger's tables. Triggers made by the migration refuse every update and delete on the first three."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, Text, bindparam, func, insert, select, text
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row
from gateline.ledger.merkle import new_nodes
from gateline.ledger.model import Checkpoint, Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.orm import Session

APPEND_ONLY_TABLES = ("ledger_entry", "ledger_node", "ledger_checkpoint")
_APPEND_LOCK = 0x6761_7465
_READ_ROWS = 2_000


class EntryRow(Row):
    """One ledger entry."""

    __tablename__ = "ledger_entry"
    __table_args__ = (Index("ledger_entry_subject", "subject"), Index("ledger_entry_kind", "kind"))

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    time: Mapped[int]
    kind: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]]


class NodeRow(Row):
    """The hash of one complete subtree; level 0 holds the leaves."""

    __tablename__ = "ledger_node"

    level: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class CheckpointRow(Row):
    """One signed checkpoint."""

    __tablename__ = "ledger_checkpoint"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[str] = mapped_column(Text)
    time: Mapped[int]
    envelope: Mapped[dict[str, Any]]


class OutboxRow(Row):
    """One event on its way to those who act on it."""

    __tablename__ = "outbox_event"
    __table_args__ = (Index("outbox_event_pending", "delivered_at", "id"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, init=False)
    kind: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[int]
    delivered_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    attempts: Mapped[int] = mapped_column(BigInteger, default=0)
    failure: Mapped[str] = mapped_column(Text, default="")


_NEWEST = select(func.max(EntryRow.seq))
_NODE = select(NodeRow.hash).where(NodeRow.level == bindparam("level"), NodeRow.index == bindparam("index"))
_ADD_ENTRIES = insert(EntryRow)
_ADD_NODES = insert(NodeRow)
# Every change runs these: made once, and without the unit of work of the session, they cost a third.


def size(session: Session) -> int:
    """Return the number of entries."""
    newest = session.connection().scalar(_NEWEST)
    return 0 if newest is None else newest + 1


def read_node(session: Session, level: int, index: int) -> bytes:
    """Return a stored node; raises KeyError when it is missing."""
    found = session.connection().scalar(_NODE, {"level": level, "index": index})
    if found is None:
        raise KeyError((level, index))
    return found


def append(session: Session, entries: Sequence[tuple[int, str, str, str, dict[str, Any]]]) -> list[Entry]:
    """Append (time, kind, actor, subject, payload) tuples and the nodes they complete; one writer at a time."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _APPEND_LOCK})
    start, fresh, written = size(session), dict[tuple[int, int], bytes](), list[Entry]()

    def read(level: int, index: int) -> bytes:
        return fresh.get((level, index)) or read_node(session, level, index)

    for offset, (time, kind, actor, subject, payload) in enumerate(entries):
        entry = Entry(seq=start + offset, time=time, kind=kind, actor=actor, subject=subject, payload=payload)
        for level, index, found in new_nodes(entry.seq, entry.leaf(), read):
            fresh[level, index] = found
        written.append(entry)
    nodes = [{"level": level, "index": index, "hash": found} for (level, index), found in fresh.items()]
    session.connection().execute(_ADD_ENTRIES, [entry.as_dict() for entry in written])
    session.connection().execute(_ADD_NODES, nodes)
    return written


def to_entry(row: EntryRow) -> Entry:
    """Return the domain value of a row."""
    return Entry(seq=row.seq, time=row.time, kind=row.kind, actor=row.actor, subject=row.subject, payload=row.payload)


def entries(session: Session, *, start: int = 0, subject: str = "", kind: str = "", limit: int | None = None) -> Iterator[Entry]:
    """Yield entries in order from `start`, read in pages."""
    position, left = start, limit
    while left is None or left > 0:
        query = select(EntryRow).where(EntryRow.seq >= position).order_by(EntryRow.seq)
        if subject:
            query = query.where(EntryRow.subject == subject)
        if kind:
            query = query.where(EntryRow.kind == kind)
        page = session.scalars(query.limit(min(_READ_ROWS, left or _READ_ROWS))).all()
        session.expunge_all()
        yield from map(to_entry, page)
        if len(page) < min(_READ_ROWS, left or _READ_ROWS):
            return
        position = page[-1].seq + 1
        left = None if left is None else left - len(page)


def checkpoints(session: Session) -> list[Checkpoint]:
    """Return all checkpoints, smallest first."""
    rows = session.scalars(select(CheckpointRow).order_by(CheckpointRow.size)).all()
    return [Checkpoint(size=row.size, root=row.root, time=row.time, envelope=row.envelope) for row in rows]
