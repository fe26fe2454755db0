"""The tables of schedules, triggers, limits, backfills and approvals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.clock import SECOND
from gateline.kernel.records import Row
from gateline.pipelines.schedule_model import (
    ApprovalState,
    Backfill,
    BackfillState,
    CatchUp,
    Limits,
    Schedule,
    StepApproval,
    Trigger,
    TriggerSource,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateline.ledger import Transaction
    from gateline.pipelines.store import PipelineRunRow


class ScheduleRow(Row):
    """When a pipeline runs by the clock. Every nominal time up to `done_until` has been decided on."""

    __tablename__ = "pipeline_schedule"
    __table_args__ = (Index("pipeline_schedule_next", "next_at"),)

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    pipeline: Mapped[str] = mapped_column(Text)
    cron: Mapped[str] = mapped_column(Text)
    zone: Mapped[str] = mapped_column(Text)
    catch_up: Mapped[str] = mapped_column(Text)
    catch_up_max: Mapped[int]
    time_parameter: Mapped[str] = mapped_column(Text)
    parameters: Mapped[dict[str, Any]]
    project: Mapped[str] = mapped_column(Text)
    priority: Mapped[int]
    declared_by: Mapped[str] = mapped_column(Text)
    done_until: Mapped[int]
    next_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    paused_by: Mapped[str] = mapped_column(Text, default="")
    last_run_id: Mapped[str] = mapped_column(Text, default="")
    last_decision: Mapped[str] = mapped_column(Text, default="")


class TriggerRow(Row):
    """What else starts a pipeline. `pending` is the newest event that waits for the cool-down or a run to end."""

    __tablename__ = "pipeline_trigger"
    __table_args__ = (Index("pipeline_trigger_subject", "source", "subject"),)

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    pipeline: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    alert_kinds: Mapped[list[Any]]
    cool_down_seconds: Mapped[int]
    parameter: Mapped[str] = mapped_column(Text)
    parameters: Mapped[dict[str, Any]]
    project: Mapped[str] = mapped_column(Text)
    declared_by: Mapped[str] = mapped_column(Text)
    last_event_time: Mapped[int | None] = mapped_column(BigInteger, default=None)
    last_run_id: Mapped[str] = mapped_column(Text, default="")
    last_decision: Mapped[str] = mapped_column(Text, default="")
    pending: Mapped[str] = mapped_column(Text, default="")


class LimitsRow(Row):
    """How much of a pipeline may happen. Whoever lets a run begin locks this row."""

    __tablename__ = "pipeline_limits"

    pipeline: Mapped[str] = mapped_column(Text, primary_key=True)
    concurrent_max: Mapped[int | None] = mapped_column(BigInteger)
    runs_max: Mapped[int | None] = mapped_column(BigInteger)
    period_seconds: Mapped[int]
    cool_down_seconds: Mapped[int]
    deduplicate_seconds: Mapped[int]


class BackfillRow(Row):
    """Runs over a range. `position` items of this round have been asked for."""

    __tablename__ = "pipeline_backfill"
    __table_args__ = (Index("pipeline_backfill_state", "state"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    pipeline: Mapped[str] = mapped_column(Text)
    parameter: Mapped[str] = mapped_column(Text)
    parameters: Mapped[dict[str, Any]]
    items: Mapped[list[Any]]
    parallel_max: Mapped[int]
    project: Mapped[str] = mapped_column(Text)
    priority: Mapped[int]
    state: Mapped[str] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int]
    ended_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    round: Mapped[int] = mapped_column(BigInteger, default=0)
    position: Mapped[int] = mapped_column(BigInteger, default=0)


class ApprovalRow(Row):
    """The question that a step waits with, and its answer."""

    __tablename__ = "step_approval"
    __table_args__ = (Index("step_approval_open", "state", "until"),)

    run_id: Mapped[str] = mapped_column(Text, primary_key=True)
    node: Mapped[str] = mapped_column(Text, primary_key=True)
    question: Mapped[str] = mapped_column(Text)
    asked_at: Mapped[int]
    until: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text, default=ApprovalState.ASKED)
    decided_by: Mapped[str] = mapped_column(Text, default="")
    decided_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    comment: Mapped[str] = mapped_column(Text, default="")


def ask(tx: Transaction, run: PipelineRunRow, questions: Mapping[str, tuple[str, float | None]]) -> None:
    """Write down the questions that steps of a run wait with: node to question and seconds until it counts as rejected. Each once."""
    for node, (question, seconds) in questions.items():
        if tx.session.get(ApprovalRow, (run.id, node)) is None:
            until = None if seconds is None else tx.now + round(seconds * SECOND)
            tx.session.add(ApprovalRow(run_id=run.id, node=node, question=question, asked_at=tx.now, until=until))
            tx.record("pipeline.approval.asked", f"{run.id}/{node}", {"question": question, "until": until})
            tx.publish("pipeline.approval.asked", {"run_id": run.id, "pipeline": run.pipeline, "node": node, "question": question})


def withdraw(tx: Transaction, run: PipelineRunRow, nodes: Collection[str]) -> None:
    """Close the questions of steps that wait no longer, because their run goes another way; an answer stays."""
    for node in sorted(nodes):
        row = tx.session.get(ApprovalRow, (run.id, node))
        if row is not None and row.state == ApprovalState.ASKED:
            row.state, row.decided_by, row.decided_at = ApprovalState.WITHDRAWN, tx.actor, tx.now
            row.comment = "The run went another way."
            tx.record("pipeline.approval.withdrawn", f"{run.id}/{node}", {"question": row.question})


def to_schedule(row: ScheduleRow) -> Schedule:
    """Return the domain value of a schedule row."""
    return Schedule(
        name=row.name, pipeline=row.pipeline, cron=row.cron, zone=row.zone, catch_up=CatchUp(row.catch_up), catch_up_max=row.catch_up_max,
        time_parameter=row.time_parameter, parameters=row.parameters, project=row.project, priority=row.priority,
    )  # fmt: skip


def to_trigger(row: TriggerRow) -> Trigger:
    """Return the domain value of a trigger row."""
    return Trigger(
        name=row.name, pipeline=row.pipeline, source=TriggerSource(row.source), subject=row.subject, alert_kinds=tuple(row.alert_kinds),
        cool_down_seconds=row.cool_down_seconds, parameter=row.parameter, parameters=row.parameters, project=row.project,
    )  # fmt: skip


def to_limits(row: LimitsRow) -> Limits:
    """Return the domain value of a limits row."""
    return Limits(
        pipeline=row.pipeline, concurrent_max=row.concurrent_max, runs_max=row.runs_max, period_seconds=row.period_seconds,
        cool_down_seconds=row.cool_down_seconds, deduplicate_seconds=row.deduplicate_seconds,
    )  # fmt: skip


def to_backfill(row: BackfillRow, counts: dict[str, int]) -> Backfill:
    """Return the domain value of a backfill row."""
    return Backfill(
        id=row.id, pipeline=row.pipeline, parameter=row.parameter, items=tuple(row.items), parallel_max=row.parallel_max,
        state=BackfillState(row.state), created_by=row.created_by, created_at=row.created_at, ended_at=row.ended_at,
        left=len(row.items) - row.position, counts=counts,
    )  # fmt: skip


def to_approval(row: ApprovalRow) -> StepApproval:
    """Return the domain value of an approval row."""
    return StepApproval(
        run_id=row.run_id, node=row.node, question=row.question, asked_at=row.asked_at, until=row.until, state=ApprovalState(row.state),
        decided_by=row.decided_by, decided_at=row.decided_at, comment=row.comment,
    )  # fmt: skip


def write(row: Row, fields: Mapping[str, Any]) -> None:
    """Copy fields into a row."""
    for name, value in fields.items():
        setattr(row, name, value)
