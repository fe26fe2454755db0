"""The table of declarations that a feature is no personal data. Rows are only ever added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.features.marks.model import Removal
from gateline.kernel.records import Json, Row

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

APPEND_ONLY_TABLES = ("feature_personal_removal",)


class RemovalRow(Row):
    """One declaration; it holds for one way of making the feature."""

    __tablename__ = "feature_personal_removal"

    feature_set: Mapped[str] = mapped_column(Text, primary_key=True)
    feature: Mapped[str] = mapped_column(Text, primary_key=True)
    derivation: Mapped[str] = mapped_column(Text, primary_key=True)
    columns: Mapped[list[Any]] = mapped_column(Json)
    reason: Mapped[str] = mapped_column(Text)
    declared_at: Mapped[int]
    declared_by: Mapped[str] = mapped_column(Text)


def removals(session: Session, feature_set: str) -> dict[tuple[str, str], Removal]:
    """Return feature and derivation to the declaration, for one feature set."""
    rows = session.scalars(select(RemovalRow).where(RemovalRow.feature_set == feature_set))
    return {
        (row.feature, row.derivation): Removal(reason=row.reason, declared_by=row.declared_by, declared_at=row.declared_at) for row in rows
    }
