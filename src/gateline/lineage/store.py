"""The tables of lineage."""

from __future__ import annotations

from sqlalchemy import Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row


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
