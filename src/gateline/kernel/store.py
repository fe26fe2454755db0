"""The kernel's one table."""

from __future__ import annotations

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row


class LeaseRow(Row):
    """Who may do a thing that only one process may do, and until when."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    owner: Mapped[str] = mapped_column(Text)
    until: Mapped[int]
