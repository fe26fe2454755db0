"""Limits of pipelines: asked when a run is to begin. A run that may not begin waits in the queue, and says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, or_, select

from gateline.kernel.clock import SECOND
from gateline.kernel.errors import InvalidInput
from gateline.kernel.names import valid_name
from gateline.pipelines.model import RunState
from gateline.pipelines.schedule_model import Limits, Usage
from gateline.pipelines.schedule_rules import obstacle
from gateline.pipelines.schedule_store import LimitsRow, to_limits, write
from gateline.pipelines.store import PipelineRunRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.orm import Session

    from gateline.access import Principal
    from gateline.ledger import Ledger

_SYSTEM = "gateline"
_LOOKED_AT = 1_000


class PipelineLimits:
    """The limits of each pipeline as records.

    Args:
        ledger: Writes each change.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def get(self, pipeline: str) -> dict[str, Any]:
        """Return the limits of a pipeline, what counts against them, and why no run may begin now, if so."""
        with self._ledger.records.read() as session:
            row = session.get(LimitsRow, pipeline)
            limits = Limits(pipeline=pipeline) if row is None else to_limits(row)
            usage = _usage(session, limits, self._ledger.clock.now())
            return {
                **limits.as_dict(), "under_way": usage.under_way, "begun_in_period": usage.begun, "obstacle": obstacle(limits, usage),
            }  # fmt: skip

    def set(self, actor: Principal, limits: Limits) -> dict[str, Any]:
        """Set the limits of a pipeline. Runs that are under way go on."""
        valid_name("pipeline", limits.pipeline)
        counts = {"concurrent_max": limits.concurrent_max, "runs_max": limits.runs_max, "period_seconds": limits.period_seconds}
        wrong = [name for name, value in counts.items() if value is not None and value < 1]
        if wrong or min(limits.cool_down_seconds, limits.deduplicate_seconds) < 0:
            raise InvalidInput(
                f"Limits of {limits.pipeline} are out of range: {', '.join(wrong) or 'negative seconds'}.",
                next_step="Counts and the period are at least 1; leave a limit out for none.",
            )
        with self._ledger.transaction(actor.name) as tx:
            row = tx.session.get(LimitsRow, limits.pipeline, with_for_update=True)
            if row is None:
                tx.session.add(LimitsRow(**limits.as_dict()))
            else:
                write(row, limits.as_dict())
            tx.record("pipeline.limits.set", limits.pipeline, limits.as_dict())
        return self.get(limits.pipeline)

    def reconcile(self) -> int:
        """Write down why queued runs wait, and forget it when they need not. Returns how many changed."""
        now = self._ledger.clock.now()
        waiting = (PipelineRunRow.state == RunState.QUEUED, PipelineRunRow.lease_owner == "")
        with self._ledger.records.read() as session:
            reasons = obstacles(session, session.scalars(select(LimitsRow.pipeline)).all(), now)
            concerned = or_(PipelineRunRow.pipeline.in_(reasons), PipelineRunRow.held != "")
            rows = session.scalars(select(PipelineRunRow).where(*waiting, concerned).limit(_LOOKED_AT))
            changed = [row.id for row in rows if row.held != reasons.get(row.pipeline, "")]
        if not changed:
            return 0
        with self._ledger.transaction(_SYSTEM) as tx:
            query = select(PipelineRunRow).where(PipelineRunRow.id.in_(changed), *waiting).order_by(PipelineRunRow.id)
            for row in tx.session.scalars(query.with_for_update()):
                row.held = reasons.get(row.pipeline, "")
                if row.held:
                    tx.record("pipeline.run.deferred", row.id, {"reason": row.held})
        return len(changed)


def obstacles(session: Session, pipelines: Iterable[str], now: int) -> dict[str, str]:
    """Return for each pipeline of which no further run may begin now: why."""
    rows = session.scalars(select(LimitsRow).where(LimitsRow.pipeline.in_(pipelines))).all()
    found = {row.pipeline: obstacle(limits := to_limits(row), _usage(session, limits, now)) for row in rows}
    return {pipeline: reason for pipeline, reason in found.items() if reason}


def may_begin(session: Session, pipeline: str, now: int) -> bool:
    """Return whether a run of a pipeline may begin; until the end of the transaction, nobody else finds the same."""
    row = session.get(LimitsRow, pipeline, with_for_update=True, populate_existing=True)
    return row is None or not obstacle(limits := to_limits(row), _usage(session, limits, now))


def duplicate(session: Session, pipeline: str, parameters: dict[str, Any], now: int, *, project: str = "") -> PipelineRunRow | None:
    """Return the run that a request with these parameters repeats, within the pipeline's window; requests wait here for each other.

    A request for runners of one project repeats only a run of that project; one for any project repeats any.
    """
    row = session.get(LimitsRow, pipeline, with_for_update=True, populate_existing=True)
    if row is None or not row.deduplicate_seconds:
        return None
    query = (
        select(PipelineRunRow)
        .where(PipelineRunRow.pipeline == pipeline, PipelineRunRow.parameters == parameters)
        .where(PipelineRunRow.requested_at > now - row.deduplicate_seconds * SECOND, PipelineRunRow.requested_at <= now)
        .where(PipelineRunRow.state.notin_([RunState.FAILED, RunState.CANCELLED]), PipelineRunRow.cancelled_at.is_(None))
        .where(PipelineRunRow.failure == "")
    )
    if project:
        query = query.where(PipelineRunRow.project == project)
    return session.scalar(query.order_by(PipelineRunRow.requested_at.desc()).limit(1))


def _usage(session: Session, limits: Limits, now: int) -> Usage:
    """Return what counts against limits. A run that a runner is drawing counts as begun now, until it is drawn or over."""
    own = PipelineRunRow.pipeline == limits.pipeline
    drawing = and_(PipelineRunRow.state == RunState.QUEUED, PipelineRunRow.lease_owner != "")
    begun = and_(PipelineRunRow.started_at > now - limits.period_seconds * SECOND, PipelineRunRow.started_at <= now)
    drawn = session.scalar(select(func.count()).where(own, drawing)) or 0
    running = session.scalar(select(func.count()).where(own, PipelineRunRow.state == RunState.RUNNING)) or 0
    recent = session.scalar(select(func.count()).where(own, begun)) or 0
    last = session.scalar(select(func.max(PipelineRunRow.started_at)).where(own, PipelineRunRow.started_at <= now))
    cooling = last is not None and now - last < limits.cool_down_seconds * SECOND
    return Usage(under_way=running + drawn, begun=recent + drawn, last_begin=now if drawn else last if cooling else None)
