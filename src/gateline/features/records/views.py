"""The tables of views: versions, what the catalogue says, who uses them, and which intervals have been backfilled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, UniqueConstraint, delete, func, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.features.records.model import FeatureViewCard, FeatureViewVersion
from gateline.kernel.records import Json, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session


class FeatureViewRow(Row):
    """A view by its name; changes as people describe, promote and deprecate it."""

    __tablename__ = "feature_view"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    owner: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    tags: Mapped[list[Any]] = mapped_column(Json)
    promoted: Mapped[int | None] = mapped_column(default=None)
    deprecated: Mapped[str] = mapped_column(Text, default="")
    successor: Mapped[str] = mapped_column(Text, default="")


class FeatureViewVersionRow(Row):
    """One version of a view; only where its values are kept changes."""

    __tablename__ = "feature_view_version"
    __table_args__ = (
        UniqueConstraint("name", "version", name="feature_view_version_number"),
        UniqueConstraint("name", "fingerprint", name="feature_view_version_fingerprint"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    fingerprint: Mapped[str] = mapped_column(Text)
    feature_set: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    dataset: Mapped[str] = mapped_column(Text)
    entity: Mapped[list[Any]] = mapped_column(Json)
    features: Mapped[list[Any]] = mapped_column(Json)
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)
    online_since: Mapped[int | None] = mapped_column(default=None)
    removed_at: Mapped[int | None] = mapped_column(default=None)


class FeatureViewUseRow(Row):
    """A feature set version uses a view version."""

    __tablename__ = "feature_view_use"

    view: Mapped[str] = mapped_column(Text, primary_key=True)
    feature_set: Mapped[str] = mapped_column(Text, primary_key=True)


class FeatureBackfillRow(Row):
    """An interval of a dataset version whose rows are all in the online store; `(start, end]` of availability."""

    __tablename__ = "feature_backfill"

    view: Mapped[str] = mapped_column(Text, primary_key=True)
    dataset_version: Mapped[str] = mapped_column(Text, primary_key=True)
    start: Mapped[int] = mapped_column(primary_key=True)
    end: Mapped[int] = mapped_column(primary_key=True)
    rows: Mapped[int]
    done_at: Mapped[int]


def find(session: Session, name: str, version: int) -> FeatureViewVersion | None:
    """Return one version."""
    row = session.scalar(select(FeatureViewVersionRow).where(FeatureViewVersionRow.name == name, FeatureViewVersionRow.version == version))
    return None if row is None else _version(row)


def by_fingerprint(session: Session, name: str, fingerprint: str) -> FeatureViewVersion | None:
    """Return the version of a view with this fingerprint."""
    query = select(FeatureViewVersionRow).where(FeatureViewVersionRow.name == name, FeatureViewVersionRow.fingerprint == fingerprint)
    row = session.scalar(query)
    return None if row is None else _version(row)


def versions(
    session: Session, *, names: Sequence[str] | None = None, source: str | None = None, online: bool = False
) -> list[FeatureViewVersion]:
    """Return versions by name and number, optionally those of some views, those that read a source, or those kept online."""
    query = select(FeatureViewVersionRow).order_by(FeatureViewVersionRow.name, FeatureViewVersionRow.version)
    if names is not None:
        query = query.where(FeatureViewVersionRow.name.in_(names))
    if source is not None:
        query = query.where(FeatureViewVersionRow.source == source)
    return [one for row in session.scalars(query) if (one := _version(row)).online or not online]


def cards(session: Session, names: Sequence[str] | None = None) -> list[FeatureViewCard]:
    """Return what the catalogue says of views, or of those named, by name."""
    found: dict[str, list[FeatureViewVersion]] = {}
    for version in versions(session, names=names):
        found.setdefault(version.name, []).append(version)
    query = select(FeatureViewRow).order_by(FeatureViewRow.name)
    if names is not None:
        query = query.where(FeatureViewRow.name.in_(names))
    return [
        FeatureViewCard(
            name=row.name, owner=row.owner, description=row.description, tags=tuple(row.tags), promoted=row.promoted,
            deprecated=row.deprecated, successor=row.successor, versions=tuple(found.get(row.name, ())),
        )
        for row in session.scalars(query)
    ]  # fmt: skip


def newest_number(session: Session, name: str) -> int:
    """Return the highest number of a view; 0 when there is none."""
    return session.scalar(select(func.max(FeatureViewVersionRow.version)).where(FeatureViewVersionRow.name == name)) or 0


def users(session: Session, views: Sequence[str]) -> list[str]:
    """Return the ids of the feature set versions that use any of the view versions, sorted."""
    return sorted(set(session.scalars(select(FeatureViewUseRow.feature_set).where(FeatureViewUseRow.view.in_(views)))))


def used(session: Session, feature_set: str) -> list[FeatureViewVersion]:
    """Return the view versions that a feature set version uses."""
    ids = select(FeatureViewUseRow.view).where(FeatureViewUseRow.feature_set == feature_set)
    return [_version(row) for row in session.scalars(select(FeatureViewVersionRow).where(FeatureViewVersionRow.id.in_(ids)))]


def backfilled(session: Session, view: str) -> list[FeatureBackfillRow]:
    """Return the intervals of a view version that are done, by their begin."""
    return list(session.scalars(select(FeatureBackfillRow).where(FeatureBackfillRow.view == view).order_by(FeatureBackfillRow.start)))


def forget_backfills(session: Session, view: str) -> None:
    """Forget which intervals are done, when the values have been removed."""
    session.execute(delete(FeatureBackfillRow).where(FeatureBackfillRow.view == view))


def _version(row: FeatureViewVersionRow) -> FeatureViewVersion:
    return FeatureViewVersion(
        id=row.id, name=row.name, version=row.version, fingerprint=row.fingerprint, feature_set=row.feature_set, source=row.source,
        dataset=row.dataset, entity=tuple(row.entity), features=tuple(row.features), created_at=row.created_at, created_by=row.created_by,
        online_since=row.online_since, removed_at=row.removed_at,
    )  # fmt: skip
