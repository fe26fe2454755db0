"""What waits for runners: steps that are ready, runs to be drawn, and attempts whose runner is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, or_, select

from gateline.kernel.clock import SECOND
from gateline.pipelines.limits import obstacles
from gateline.pipelines.model import RunState, StepState
from gateline.pipelines.rules import LEASE_SECONDS
from gateline.pipelines.store import AttemptRow, PipelineRunRow, StepRunRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from gateline.pipelines.tasks import Runner

LOOKED_AT = 20
_READY = (
    select(StepRunRow.run_id, StepRunRow.node, StepRunRow.index)
    .join(PipelineRunRow, PipelineRunRow.id == StepRunRow.run_id)
    .where(StepRunRow.state == StepState.READY, StepRunRow.not_before <= bindparam("now"))
    .where(StepRunRow.executor.in_(bindparam("executors", expanding=True)))
    .where(PipelineRunRow.project == bindparam("project"), PipelineRunRow.state == RunState.RUNNING)
    .order_by(PipelineRunRow.priority.desc(), PipelineRunRow.requested_at, StepRunRow.position, StepRunRow.index)
    .limit(LOOKED_AT)
)
_READY_OF_RUN = _READY.where(StepRunRow.run_id == bindparam("run_id"))


def expired(session: Session, now: int) -> Sequence[AttemptRow]:
    """Return attempts under way whose lease has run out, or ends later than any lease could."""
    outside = or_(AttemptRow.lease_until <= now, AttemptRow.lease_until > now + LEASE_SECONDS * SECOND)
    return session.scalars(select(AttemptRow).where(AttemptRow.ended_at.is_(None), outside).limit(LOOKED_AT)).all()


def held_by(session: Session, runner: str, before: int) -> list[tuple[str, str, int, int]]:
    """Return run, node, index and attempt of what a runner was given before an instant and has not handed in."""
    query = select(AttemptRow).where(AttemptRow.ended_at.is_(None), AttemptRow.runner == runner, AttemptRow.started_at <= before)
    return [(row.run_id, row.node, row.index, row.attempt) for row in session.scalars(query)]


def ready(session: Session, runner: Runner, now: int) -> list[tuple[str, str, int]]:
    """Return the steps that the runner may take, the most urgent first."""
    asked = {"now": now, "executors": list(runner.executors), "project": runner.project, "run_id": runner.run_id}
    found = session.connection().execute(_READY_OF_RUN if runner.run_id else _READY, asked)
    return [(run_id, node, index) for run_id, node, index in found]


def undrawn(session: Session, runner: Runner, now: int) -> list[str]:
    """Return the runs that the runner may draw within the limits of their pipelines, the most urgent first."""
    full = list(obstacles(session, runner.pipelines, now))
    free = or_(PipelineRunRow.lease_until <= now, PipelineRunRow.lease_until > now + LEASE_SECONDS * SECOND)
    query = (
        select(PipelineRunRow.id)
        .where(PipelineRunRow.state == RunState.QUEUED, free, PipelineRunRow.pipeline.in_(runner.pipelines))
        .where(PipelineRunRow.project.in_(["", runner.project]))
        .where(or_(PipelineRunRow.lease_owner != "", PipelineRunRow.pipeline.notin_(full)))
        .order_by(PipelineRunRow.priority.desc(), PipelineRunRow.requested_at)
    )
    if runner.run_id:
        query = query.where(PipelineRunRow.id == runner.run_id)
    return list(session.scalars(query.limit(LOOKED_AT)))
