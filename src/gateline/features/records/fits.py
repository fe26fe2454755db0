"""The table of fits of feature set versions. Rows are only ever added, and each that is read is held against its digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.features.records.seals import fit_from_dict
from gateline.kernel.records import Json, Row

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gateline.features.records.model import FeatureFit

APPEND_ONLY_TABLES = ("feature_fit",)


class FeatureFitRow(Row):
    """One fit. `inputs` is the digest of what was asked for: two writers who ask for the same make one row."""

    __tablename__ = "feature_fit"
    __table_args__ = (
        UniqueConstraint("feature_set", "number", name="feature_fit_number"),
        UniqueConstraint("inputs", name="feature_fit_inputs"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    feature_set: Mapped[str] = mapped_column(Text)
    feature_set_digest: Mapped[str] = mapped_column(Text)
    number: Mapped[int]
    inputs: Mapped[str] = mapped_column(Text)
    dataset_versions: Mapped[dict[str, Any]]
    dataset_digests: Mapped[dict[str, Any]]
    start: Mapped[int | None]
    end: Mapped[int | None]
    transforms: Mapped[list[Any]] = mapped_column(Json)
    parameters: Mapped[list[Any]] = mapped_column(Json)
    types: Mapped[dict[str, Any]]
    rows: Mapped[int]
    rows_digest: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)


def add(session: Session, fit: FeatureFit, inputs: str) -> None:
    """Insert a fit."""
    session.add(FeatureFitRow(**fit.as_dict(), inputs=inputs))
    session.flush()


def by_inputs(session: Session, inputs: str) -> FeatureFit | None:
    """Return the fit that was made of what is asked for; raises IntegrityFailure when it was changed."""
    row = session.scalar(select(FeatureFitRow).where(FeatureFitRow.inputs == inputs))
    return None if row is None else _fit(row)


def find(session: Session, feature_set: str, number: int | None) -> FeatureFit | None:
    """Return one fit of a feature set version, or its newest; raises IntegrityFailure when it was changed."""
    query = select(FeatureFitRow).where(FeatureFitRow.feature_set == feature_set).order_by(FeatureFitRow.number.desc())
    if number is not None:
        query = query.where(FeatureFitRow.number == number)
    row = session.scalar(query.limit(1))
    return None if row is None else _fit(row)


def listed(session: Session, feature_set: str) -> list[FeatureFit]:
    """Return the fits of a feature set version, oldest first; raises IntegrityFailure when one was changed."""
    query = select(FeatureFitRow).where(FeatureFitRow.feature_set == feature_set).order_by(FeatureFitRow.number)
    return [_fit(row) for row in session.scalars(query)]


def newest_number(session: Session, feature_set: str) -> int:
    """Return the highest number of a feature set version's fits; 0 when there is none."""
    return session.scalar(select(func.max(FeatureFitRow.number)).where(FeatureFitRow.feature_set == feature_set)) or 0


def _fit(row: FeatureFitRow) -> FeatureFit:
    names = [column.name for column in FeatureFitRow.__table__.columns]
    return fit_from_dict({name: getattr(row, name) for name in names})
