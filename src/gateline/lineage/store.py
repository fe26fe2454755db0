"""The tables of lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Index, Text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class NodeRow(Row):
    """A thing that has a history."""

    __tablename__ = "lineage_node"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    label: Mapped[str] = mapped_column(Text)


class EdgeRow(Row):
    """Target was derived from source."""

    __tablename__ = "lineage_edge"
    __table_args__ = (Index("lineage_edge_target", "target_kind", "target_id"),)

    source_kind: Mapped[str] = mapped_column(Text, primary_key=True)
    source_id: Mapped[str] = mapped_column(Text, primary_key=True)
    target_kind: Mapped[str] = mapped_column(Text, primary_key=True)
    target_id: Mapped[str] = mapped_column(Text, primary_key=True)
    relation: Mapped[str] = mapped_column(Text, primary_key=True)
    created_at: Mapped[int]


def insert_once(session: Session, table: type[Row], values: dict[str, Any]) -> bool:
    """Insert a row unless one with its key exists, also when another transaction inserts the same; return whether it was added."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    first_key = next(iter(table.__table__.primary_key))
    return session.execute(insert(table).values(**values).on_conflict_do_nothing().returning(first_key)).first() is not None
