"""The table of dataset versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.data.model import DatasetVersion
from gateline.kernel.records import Json, Row

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class DatasetVersionRow(Row):
    """One dataset version, never changed; `request_digest` makes a repeated registration find it."""

    __tablename__ = "dataset_version"
    __table_args__ = (UniqueConstraint("name", "version", name="dataset_version_number"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(Text)
    request_digest: Mapped[str] = mapped_column(Text, unique=True)
    schema: Mapped[list[Any]] = mapped_column(Json)
    row_count: Mapped[int]
    profile: Mapped[dict[str, Any]]
    options: Mapped[dict[str, Any]]
    provenance: Mapped[dict[str, Any]]
    raw: Mapped[dict[str, Any]]
    table: Mapped[dict[str, Any]]
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)


def add(session: Session, version: DatasetVersion, request_digest: str) -> None:
    """Insert a version."""
    fields = version.as_dict()
    session.add(DatasetVersionRow(**fields, request_digest=request_digest))


def by_request(session: Session, request_digest: str) -> DatasetVersion | None:
    """Return the version that the same request made earlier."""
    row = session.scalar(select(DatasetVersionRow).where(DatasetVersionRow.request_digest == request_digest))
    return None if row is None else to_version(row)


def find(session: Session, name: str, version: int | None) -> DatasetVersion | None:
    """Return one version, or the newest one."""
    query = select(DatasetVersionRow).where(DatasetVersionRow.name == name).order_by(DatasetVersionRow.version.desc())
    if version is not None:
        query = query.where(DatasetVersionRow.version == version)
    row = session.scalar(query.limit(1))
    return None if row is None else to_version(row)


def newest_number(session: Session, name: str) -> int:
    """Return the highest version number of the name; 0 when there is none."""
    return session.scalar(select(func.max(DatasetVersionRow.version)).where(DatasetVersionRow.name == name)) or 0


def listed(session: Session, name: str | None) -> list[DatasetVersion]:
    """Return all versions of a name, or of all names, by name and number."""
    query = select(DatasetVersionRow).order_by(DatasetVersionRow.name, DatasetVersionRow.version)
    if name is not None:
        query = query.where(DatasetVersionRow.name == name)
    return [to_version(row) for row in session.scalars(query)]


def to_version(row: DatasetVersionRow) -> DatasetVersion:
    """Return the domain value of a row."""
    return DatasetVersion.from_dict({field: getattr(row, field) for field in DatasetVersion.__dataclass_fields__})
