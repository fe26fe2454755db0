"""The tables of the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Index, Integer, Text, UniqueConstraint, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.errors import NotFound
from gateline.kernel.records import Row
from gateline.registry.model import Approval, HistoryEntry, HistoryKind, Meaning, Model, ModelVersion, ModelVersionId, State

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class ModelRow(Row):
    """A named model and how many versions it has."""

    __tablename__ = "model"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    versions: Mapped[int]
    created_at: Mapped[int]


class VersionRow(Row):
    """One model version."""

    __tablename__ = "model_version"
    __table_args__ = (UniqueConstraint("name", "version"), Index("model_version_digest", "digest"))

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(Text)
    files: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(Text)
    run_id: Mapped[str] = mapped_column(Text)
    run_digest: Mapped[str] = mapped_column(Text)
    gate_run_id: Mapped[str] = mapped_column(Text)
    gates_passed: Mapped[bool]
    gates_reason: Mapped[str] = mapped_column(Text)
    feature_set: Mapped[str] = mapped_column(Text)
    feature_set_digest: Mapped[str] = mapped_column(Text)
    dataset_versions: Mapped[dict[str, Any]]
    training_frame: Mapped[str] = mapped_column(Text)
    metrics: Mapped[dict[str, Any]]
    owner: Mapped[str] = mapped_column(Text)
    trained_from: Mapped[int]
    trained_until: Mapped[int]
    description: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)


class PlacementRow(Row):
    """The one version of a model that is placed in an environment."""

    __tablename__ = "model_placement"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    environment: Mapped[str] = mapped_column(Text, primary_key=True)
    model_version: Mapped[str] = mapped_column(Text)
    since: Mapped[int]


class ApprovalRow(Row):
    """One signature; a person signs a version once."""

    __tablename__ = "model_approval"
    __table_args__ = (UniqueConstraint("model_version", "principal"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    model_version: Mapped[str] = mapped_column(Text)
    principal: Mapped[str] = mapped_column(Text)
    roles: Mapped[list[Any]]
    meaning: Mapped[str] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text)
    signed_at: Mapped[int]
    subjects: Mapped[dict[str, Any]]
    envelope: Mapped[dict[str, Any]]


class HistoryRow(Row):
    """One thing that happened to a version."""

    __tablename__ = "model_history"
    __table_args__ = (Index("model_history_name", "name", "id"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, init=False)
    name: Mapped[str] = mapped_column(Text)
    model_version: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    at: Mapped[int]
    actor: Mapped[str] = mapped_column(Text)
    from_state: Mapped[str] = mapped_column(Text)
    to_state: Mapped[str] = mapped_column(Text)
    environment: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)


def lock_model(session: Session, name: str, now: int) -> ModelRow:
    """Return the row of a model, made when missing, locked until the transaction ends: changes of one model follow each other."""
    query = select(ModelRow).where(ModelRow.name == name).with_for_update().execution_options(populate_existing=True)
    row = session.scalar(query)
    if row is not None:
        return row
    try:
        with session.begin_nested():
            session.add(ModelRow(name=name, versions=0, created_at=now))
    except IntegrityError:  # another registration made it first; its commit is awaited by the lock
        session.expire_all()
    return session.scalars(query).one()


def version_row(session: Session, version_id: str) -> VersionRow:
    """Return the row of a version as it now stands; raises NotFound."""
    query = select(VersionRow).where(VersionRow.id == version_id).execution_options(populate_existing=True)
    row = session.scalar(query)
    if row is None:
        raise NotFound(f"There is no model version '{version_id}'.", next_step="List them: gateline model list")
    return row


def same_version(session: Session, name: str, *, run_id: str, digest: str, gate_run_id: str) -> VersionRow | None:
    """Return the version that an equal registration made, or None."""
    query = select(VersionRow).where(
        VersionRow.name == name, VersionRow.run_id == run_id, VersionRow.digest == digest, VersionRow.gate_run_id == gate_run_id
    )
    return session.scalars(query.order_by(VersionRow.version).limit(1)).first()


def versions(session: Session, name: str) -> list[ModelVersion]:
    """Return all versions of a model, newest first."""
    query = select(VersionRow).where(VersionRow.name == name).order_by(VersionRow.version.desc())
    return [to_version(row) for row in session.scalars(query)]


def models(session: Session) -> list[Model]:
    """Return all models by name, with what is placed where."""
    placed: dict[str, dict[str, str]] = {}
    for row in session.scalars(select(PlacementRow).order_by(PlacementRow.environment)):
        placed.setdefault(row.name, {})[row.environment] = row.model_version
    rows = session.scalars(select(ModelRow).where(ModelRow.versions > 0).order_by(ModelRow.name))
    return [Model(name=row.name, versions=row.versions, environments=placed.get(row.name, {})) for row in rows]


def placements(session: Session, name: str) -> list[PlacementRow]:
    """Return where versions of a model are placed, the latest placement first."""
    query = select(PlacementRow).where(PlacementRow.name == name).order_by(PlacementRow.since.desc(), PlacementRow.environment)
    return list(session.scalars(query))


def approvals(session: Session, version_id: str) -> list[Approval]:
    """Return the signatures under a version, oldest first."""
    query = select(ApprovalRow).where(ApprovalRow.model_version == version_id).order_by(ApprovalRow.signed_at, ApprovalRow.id)
    return [to_approval(row) for row in session.scalars(query)]


def history(session: Session, name: str, limit: int) -> list[HistoryEntry]:
    """Return what happened to the versions of a model, oldest first; the newest `limit` entries."""
    query = select(HistoryRow).where(HistoryRow.name == name).order_by(HistoryRow.id.desc()).limit(limit)
    return [to_history(row) for row in reversed(session.scalars(query).all())]


def to_version(row: VersionRow) -> ModelVersion:
    """Return the domain value of a row."""
    return ModelVersion(
        id=ModelVersionId(row.id), name=row.name, version=row.version, digest=row.digest, files=row.files, state=State(row.state),
        run_id=row.run_id, run_digest=row.run_digest, gate_run_id=row.gate_run_id, gates_passed=row.gates_passed,
        gates_reason=row.gates_reason, feature_set=row.feature_set, feature_set_digest=row.feature_set_digest,
        dataset_versions=row.dataset_versions, training_frame=row.training_frame, metrics=row.metrics, owner=row.owner,
        trained_from=row.trained_from, trained_until=row.trained_until, description=row.description, created_at=row.created_at,
        created_by=row.created_by,
    )  # fmt: skip


def to_approval(row: ApprovalRow) -> Approval:
    """Return the domain value of a row."""
    return Approval(
        id=row.id, model_version=ModelVersionId(row.model_version), principal=row.principal, roles=tuple(row.roles),
        meaning=Meaning(row.meaning), comment=row.comment, signed_at=row.signed_at, subjects=row.subjects, envelope=row.envelope,
    )  # fmt: skip


def to_history(row: HistoryRow) -> HistoryEntry:
    """Return the domain value of a row."""
    return HistoryEntry(
        model_version=ModelVersionId(row.model_version), kind=HistoryKind(row.kind), at=row.at, actor=row.actor, from_state=row.from_state,
        to_state=row.to_state, environment=row.environment, reason=row.reason,
    )  # fmt: skip
