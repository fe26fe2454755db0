"""The tables of releases and rollouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Index, Text, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row
from gateline.rollout.model import Baseline, Release, Rollout, RolloutPlan, RolloutState

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

ACTIVE = (RolloutState.CANARY, RolloutState.PAUSED, RolloutState.PROBATION)


class ReleaseRow(Row):
    """An approved version on its way to an endpoint."""

    __tablename__ = "release"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    model_version: Mapped[str] = mapped_column(Text)
    endpoint: Mapped[str] = mapped_column(Text)
    approval_id: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)
    rollout_id: Mapped[str] = mapped_column(Text)


class RolloutRow(Row):
    """How a release is carried out."""

    __tablename__ = "rollout"
    __table_args__ = (Index("rollout_endpoint_state", "endpoint", "state"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    release_id: Mapped[str] = mapped_column(Text)
    endpoint: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    candidate: Mapped[str] = mapped_column(Text)
    champion: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    plan: Mapped[dict[str, Any]]
    canary_skipped_reason: Mapped[str] = mapped_column(Text)
    started_at: Mapped[int]
    started_event_time: Mapped[int]
    reason: Mapped[str] = mapped_column(Text)
    step: Mapped[int] = mapped_column(BigInteger, default=0)
    first_generation: Mapped[int] = mapped_column(BigInteger, default=0)
    step_generation: Mapped[int] = mapped_column(BigInteger, default=0)
    promoted_event_time: Mapped[int] = mapped_column(BigInteger, default=0)
    ended_at: Mapped[int] = mapped_column(BigInteger, default=0)
    looks_done: Mapped[int] = mapped_column(BigInteger, default=0)
    baseline: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    analysis: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    comparison: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    decided_after: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)


def to_release(row: ReleaseRow) -> Release:
    """Return the domain value of a release row."""
    return Release(
        id=row.id, model_version=row.model_version, endpoint=row.endpoint, approval_id=row.approval_id, created_at=row.created_at,
        created_by=row.created_by, rollout_id=row.rollout_id,
    )  # fmt: skip


def to_rollout(row: RolloutRow) -> Rollout:
    """Return the domain value of a rollout row."""
    return Rollout(
        id=row.id, release_id=row.release_id, endpoint=row.endpoint, model=row.model, candidate=row.candidate, champion=row.champion,
        state=RolloutState(row.state), plan=RolloutPlan.from_dict(row.plan), canary_skipped_reason=row.canary_skipped_reason,
        step=row.step, first_generation=row.first_generation, step_generation=row.step_generation, started_at=row.started_at,
        started_event_time=row.started_event_time, promoted_event_time=row.promoted_event_time, ended_at=row.ended_at,
        looks_done=row.looks_done, reason=row.reason, baseline=Baseline.from_dict(row.baseline) if row.baseline else None,
        analysis=row.analysis, comparison=row.comparison, decided_after=row.decided_after,
    )  # fmt: skip


def active(session: Session, endpoint: str = "") -> list[RolloutRow]:
    """Return rollouts that are not over, oldest first, of one endpoint or of all."""
    query = select(RolloutRow).where(RolloutRow.state.in_(ACTIVE)).order_by(RolloutRow.started_at)
    if endpoint:
        query = query.where(RolloutRow.endpoint == endpoint)
    return list(session.scalars(query).all())
