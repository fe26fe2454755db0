"""The table of frozen runs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text, bindparam, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row


class RunSnapshotRow(Row):
    """One frozen run; never updated."""

    __tablename__ = "run_snapshot"

    run_id: Mapped[str] = mapped_column(Text, primary_key=True)
    digest: Mapped[str] = mapped_column(Text, index=True)
    document: Mapped[dict[str, Any]]
    frozen_at: Mapped[int]
    frozen_by: Mapped[str] = mapped_column(Text)


# made once, because each write to a run asks
FROZEN = select(RunSnapshotRow.__table__.c.run_id).where(RunSnapshotRow.run_id.in_(bindparam("run_ids", expanding=True)))
