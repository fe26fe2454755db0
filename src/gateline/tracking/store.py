"""The table of frozen runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class RunSnapshotRow(Row):
    """One frozen run; never updated."""

    __tablename__ = "run_snapshot"

    run_id: Mapped[str] = mapped_column(Text, primary_key=True)
    digest: Mapped[str] = mapped_column(Text, index=True)
    document: Mapped[dict[str, Any]]
    frozen_at: Mapped[int]
    frozen_by: Mapped[str] = mapped_column(Text)


def frozen_among(session: Session, run_ids: list[str]) -> set[str]:
    """Return those of the run ids that are frozen."""
    return set(session.scalars(select(RunSnapshotRow.run_id).where(RunSnapshotRow.run_id.in_(run_ids))))
