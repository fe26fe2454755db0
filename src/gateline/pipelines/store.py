"""The tables of pipeline runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Index, Text, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row
from gateline.pipelines.model import Artifact, PipelineRun, Retraining, RunState, StepRun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class PipelineRunRow(Row):
    """One requested execution."""

    __tablename__ = "pipeline_run"
    __table_args__ = (Index("pipeline_run_state", "state", "requested_at"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    pipeline: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    parameters: Mapped[dict[str, Any]]
    reason: Mapped[str] = mapped_column(Text)
    requested_by: Mapped[str] = mapped_column(Text)
    requested_at: Mapped[int]
    request_key: Mapped[str] = mapped_column(Text, unique=True)
    lease_owner: Mapped[str] = mapped_column(Text, default="")
    lease_until: Mapped[int] = mapped_column(BigInteger, default=0)
    result: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    failure: Mapped[str] = mapped_column(Text, default="")


class StepRunRow(Row):
    """One step of one run; the newest attempt."""

    __tablename__ = "step_run"
    __table_args__ = (Index("step_run_key", "key", "state"),)

    run_id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int]
    started_at: Mapped[int]
    ended_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    artifact_kind: Mapped[str] = mapped_column(Text, default="")
    artifact_sha256: Mapped[str] = mapped_column(Text, default="")
    artifact_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    reused_from: Mapped[str] = mapped_column(Text, default="")


class RetrainingRow(Row):
    """When alerts of an endpoint start a pipeline."""

    __tablename__ = "retraining"

    endpoint: Mapped[str] = mapped_column(Text, primary_key=True)
    pipeline: Mapped[str] = mapped_column(Text)
    alert_kinds: Mapped[list[Any]]
    cool_down_seconds: Mapped[int]
    parameters: Mapped[dict[str, Any]]
    last_event_time: Mapped[int | None] = mapped_column(BigInteger, default=None)
    last_run_id: Mapped[str] = mapped_column(Text, default="")


def to_step(row: StepRunRow) -> StepRun:
    """Return the domain value of a step row."""
    artifact = None
    if row.artifact_sha256:
        artifact = Artifact(kind=row.artifact_kind, sha256=row.artifact_sha256, size_bytes=row.artifact_bytes)
    return StepRun(
        run_id=row.run_id, name=row.name, state=RunState(row.state), key=row.key, attempt=row.attempt, artifact=artifact,
        reused_from=row.reused_from, started_at=row.started_at, ended_at=row.ended_at,
    )  # fmt: skip


def to_run(session: Session, row: PipelineRunRow) -> PipelineRun:
    """Return the domain value of a run row, with its steps in order of start."""
    steps = session.scalars(select(StepRunRow).where(StepRunRow.run_id == row.id).order_by(StepRunRow.started_at, StepRunRow.name))
    return PipelineRun(
        id=row.id, pipeline=row.pipeline, state=RunState(row.state), parameters=row.parameters, reason=row.reason,
        requested_by=row.requested_by, requested_at=row.requested_at, lease_owner=row.lease_owner, lease_until=row.lease_until,
        result=row.result, failure=row.failure, steps=tuple(to_step(one) for one in steps),
    )  # fmt: skip


def to_retraining(row: RetrainingRow) -> Retraining:
    """Return the domain value of a retraining row."""
    return Retraining(
        endpoint=row.endpoint, pipeline=row.pipeline, alert_kinds=tuple(row.alert_kinds), cool_down_seconds=row.cool_down_seconds,
        parameters=row.parameters,
    )  # fmt: skip


def finished_step(session: Session, key: str) -> StepRunRow | None:
    """Return the newest executed step with this key that succeeded."""
    query = select(StepRunRow).where(StepRunRow.key == key, StepRunRow.state == RunState.SUCCEEDED, StepRunRow.reused_from == "")
    return session.scalar(query.order_by(StepRunRow.ended_at.desc()).limit(1))
