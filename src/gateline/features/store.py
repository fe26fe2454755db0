"""The table of feature set versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.features.records import fits as fit_store
from gateline.features.records import views as view_store
from gateline.features.records.codec import version_from_dict
from gateline.kernel.records import Json, Row

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gateline.features.model import FeatureSetVersion


TABLES_ELSEWHERE = (
    view_store.FeatureViewRow,
    view_store.FeatureViewVersionRow,
    view_store.FeatureViewUseRow,
    view_store.FeatureBackfillRow,
    fit_store.FeatureFitRow,
)
"""These tables stand in files of their own, and belong to the domain like those here."""


class FeatureSetVersionRow(Row):
    """One feature set version, never changed."""

    __tablename__ = "feature_set_version"
    __table_args__ = (
        UniqueConstraint("name", "version", name="feature_set_version_number"),
        UniqueConstraint("name", "digest", name="feature_set_version_digest"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(Text)
    definition_digest: Mapped[str] = mapped_column(Text)
    definition: Mapped[dict[str, Any]]
    dataset_versions: Mapped[dict[str, Any]]
    dataset_digests: Mapped[dict[str, Any]]
    features: Mapped[list[Any]] = mapped_column(Json)
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)


def add(session: Session, version: FeatureSetVersion) -> None:
    """Insert a version."""
    session.add(FeatureSetVersionRow(**version.as_dict()))


def by_digest(session: Session, name: str, digest: str) -> FeatureSetVersion | None:
    """Return the version of the name with this digest."""
    query = select(FeatureSetVersionRow).where(FeatureSetVersionRow.name == name, FeatureSetVersionRow.digest == digest)
    row = session.scalar(query)
    return None if row is None else to_version(row)


def find(session: Session, name: str, version: int) -> FeatureSetVersion | None:
    """Return one version."""
    row = session.scalar(select(FeatureSetVersionRow).where(FeatureSetVersionRow.name == name, FeatureSetVersionRow.version == version))
    return None if row is None else to_version(row)


def newest_number(session: Session, name: str) -> int:
    """Return the highest version number of the name; 0 when there is none."""
    return session.scalar(select(func.max(FeatureSetVersionRow.version)).where(FeatureSetVersionRow.name == name)) or 0


def listed(session: Session, name: str | None) -> list[FeatureSetVersion]:
    """Return all versions of a name, or of all names, by name and number."""
    query = select(FeatureSetVersionRow).order_by(FeatureSetVersionRow.name, FeatureSetVersionRow.version)
    if name is not None:
        query = query.where(FeatureSetVersionRow.name == name)
    return [to_version(row) for row in session.scalars(query)]


def to_version(row: FeatureSetVersionRow) -> FeatureSetVersion:
    """Return the domain value of a row."""
    fields = ("id", "digest", "definition", "dataset_versions", "dataset_digests", "features", "created_at", "created_by")
    return version_from_dict({field: getattr(row, field) for field in fields})
