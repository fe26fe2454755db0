"""The tables of pipeline runs."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Double, Index, Text, bindparam, delete, func, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.kernel.records import Row
from gateline.pipelines.model import Artifact, Outcome, PipelineRun, RunState, StepAttempt, StepRun, StepState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.orm import Session


OUTPUT_HEAD = 512 << 10
OUTPUT_TAIL = 512 << 10


class PipelineRunRow(Row):
    """One requested execution. The lease is that of the runner that draws its plan."""

    __tablename__ = "pipeline_run"
    __table_args__ = (
        Index("pipeline_run_state", "state", "requested_at"),
        Index("pipeline_run_parent", "parent", "state"),
        Index("pipeline_run_pipeline", "pipeline", "state"),
    )

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
    project: Mapped[str] = mapped_column(Text, default="", server_default="")
    priority: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    parent: Mapped[str] = mapped_column(Text, default="", server_default="")
    schedule: Mapped[str] = mapped_column(Text, default="", server_default="")
    mlflow_run_id: Mapped[str] = mapped_column(Text, default="", server_default="")
    started_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    ended_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    cancelled_by: Mapped[str] = mapped_column(Text, default="", server_default="")
    cancelled_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    awaited: Mapped[str] = mapped_column(Text, default="", server_default="")
    held: Mapped[str] = mapped_column(Text, default="", server_default="")
    on_behalf_of: Mapped[str] = mapped_column(Text, default="", server_default="")


class PlanRow(Row):
    """What a runner drew for a run; written once."""

    __tablename__ = "pipeline_plan"

    run_id: Mapped[str] = mapped_column(Text, primary_key=True)
    plan: Mapped[dict[str, Any]]
    codes: Mapped[dict[str, Any]]
    environment: Mapped[str] = mapped_column(Text)


class StepRunRow(Row):
    """One step of one run: a node, or an item of a mapped one."""

    __tablename__ = "step_run"
    __table_args__ = (Index("step_run_key", "key", "state"), Index("step_run_open", "state", "run_id"))

    run_id: Mapped[str] = mapped_column(Text, primary_key=True)
    node: Mapped[str] = mapped_column(Text, primary_key=True)
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    position: Mapped[int]
    state: Mapped[str] = mapped_column(Text)
    executor: Mapped[str] = mapped_column(Text, default="process")
    key: Mapped[str] = mapped_column(Text, default="")
    artifacts: Mapped[list[Any]] = mapped_column(default_factory=list)
    reused_from: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(BigInteger, default=0)
    failure: Mapped[str] = mapped_column(Text, default="")
    started_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    ended_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    not_before: Mapped[int] = mapped_column(BigInteger, default=0)
    width: Mapped[int | None] = mapped_column(BigInteger, default=None)
    unfinished: Mapped[int] = mapped_column(BigInteger, default=0)
    approved_by: Mapped[str] = mapped_column(Text, default="")


class AttemptRow(Row):
    """One runner's try at one step. Its job, when it has one: url, principal, hash of its ticket, id of its token."""

    __tablename__ = "step_attempt"
    __table_args__ = (Index("step_attempt_open", "ended_at", "lease_until"),)

    run_id: Mapped[str] = mapped_column(Text, primary_key=True)
    node: Mapped[str] = mapped_column(Text, primary_key=True)
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    runner: Mapped[str] = mapped_column(Text)
    lease_until: Mapped[int]
    started_at: Mapped[int]
    ended_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    outcome: Mapped[str] = mapped_column(Text, default="")
    detail: Mapped[str] = mapped_column(Text, default="")
    cpu_seconds: Mapped[float | None] = mapped_column(Double, default=None)
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger, default=None)
    log_sha256: Mapped[str] = mapped_column(Text, default="")
    job: Mapped[dict[str, Any]] = mapped_column(default_factory=dict, server_default="{}")


class OutputRow(Row):
    """A piece of what an attempt under way has written; dropped when the attempt ends."""

    __tablename__ = "step_output"

    run_id: Mapped[str] = mapped_column(Text, primary_key=True)
    node: Mapped[str] = mapped_column(Text, primary_key=True)
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    offset: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(Text)


def to_step(row: StepRunRow, *, mapped: bool = False, job: str = "") -> StepRun:
    """Return the domain value of a step row; whether its node is mapped decides about its name."""
    name = f"{row.node}[{row.index}]" if mapped and row.index >= 0 else row.node
    return StepRun(
        run_id=row.run_id, node=row.node, name=name, index=row.index, state=StepState(row.state), key=row.key,
        artifacts=to_artifacts(row.artifacts),
        reused_from=row.reused_from, attempts=row.attempts, failure=row.failure, started_at=row.started_at, ended_at=row.ended_at,
        width=row.width, approved_by=row.approved_by, job=job,
    )  # fmt: skip


def to_artifacts(stored: Sequence[dict[str, Any]]) -> tuple[Artifact, ...]:
    """Return the artifacts of a step row."""
    return tuple(Artifact(**one) for one in stored)


def to_attempt(row: AttemptRow) -> StepAttempt:
    """Return the domain value of an attempt row."""
    return StepAttempt(
        run_id=row.run_id, node=row.node, index=row.index, attempt=row.attempt, runner=row.runner, lease_until=row.lease_until,
        started_at=row.started_at, ended_at=row.ended_at, outcome=Outcome(row.outcome) if row.outcome else None, detail=row.detail,
        cpu_seconds=row.cpu_seconds, peak_memory_bytes=row.peak_memory_bytes, log_sha256=row.log_sha256,
        job=row.job.get("url", ""),
    )  # fmt: skip


def to_run(
    row: PipelineRunRow, steps: Sequence[StepRunRow] = (), jobs: Mapping[tuple[str, int], str] = MappingProxyType({})
) -> PipelineRun:
    """Return the domain value of a run row, with its steps in the order of the plan and, by node and index, the jobs they were sent as."""
    busy = any(one.state in {StepState.READY, StepState.RUNNING} for one in steps)
    mapped = {one.node for one in steps if one.index < 0}
    state = RunState.WAITING if row.awaited and not busy and row.state == RunState.RUNNING else RunState(row.state)
    return PipelineRun(
        id=row.id, pipeline=row.pipeline, state=state, parameters=row.parameters, project=row.project, reason=row.reason,
        requested_by=row.requested_by, requested_at=row.requested_at, started_at=row.started_at, ended_at=row.ended_at,
        priority=row.priority, parent=row.parent, schedule=row.schedule, cancelled_by=row.cancelled_by, result=row.result,
        failure=row.failure, mlflow_run_id=row.mlflow_run_id, on_behalf_of=row.on_behalf_of,
        held=row.held if row.state == RunState.QUEUED and not row.lease_owner else "",
        steps=tuple(to_step(one, mapped=one.node in mapped, job=jobs.get((one.node, one.index), "")) for one in steps),
    )  # fmt: skip


def jobs_of(session: Session, run_id: str) -> dict[tuple[str, int], str]:
    """Return the jobs that attempts under way were sent as, by node and index."""
    query = select(AttemptRow.node, AttemptRow.index, AttemptRow.job).where(AttemptRow.run_id == run_id, AttemptRow.ended_at.is_(None))
    return {(node, index): str(job["url"]) for node, index, job in session.execute(query) if job}


_FINISHED = (
    select(StepRunRow.run_id, StepRunRow.artifacts)
    .where(StepRunRow.key == bindparam("key"), StepRunRow.state == StepState.SUCCEEDED, StepRunRow.reused_from == "")
    .order_by(StepRunRow.ended_at.desc())
    .limit(1)
)
_OF_NODES = select(StepRunRow).where(StepRunRow.run_id == bindparam("run_id"), StepRunRow.node.in_(bindparam("nodes", expanding=True)))
_RUN = select(PipelineRunRow).where(PipelineRunRow.id == bindparam("run_id"))
_LOCKED_RUN = _RUN.with_for_update().execution_options(populate_existing=True)
_ATTEMPT = (
    select(StepRunRow, AttemptRow)
    .where(AttemptRow.run_id == StepRunRow.run_id, AttemptRow.node == StepRunRow.node, AttemptRow.index == StepRunRow.index)
    .where(AttemptRow.run_id == bindparam("run_id"), AttemptRow.node == bindparam("node"))
    .where(AttemptRow.index == bindparam("item"), AttemptRow.attempt == bindparam("attempt"))
)
_BUSY = (
    select(StepRunRow.node)
    .where(StepRunRow.run_id == bindparam("run_id"), StepRunRow.state.in_([StepState.READY, StepState.RUNNING]), StepRunRow.index >= 0)
    .limit(1)
)
_LAST = (
    select(PipelineRunRow.id)
    .where(PipelineRunRow.pipeline == bindparam("pipeline"), PipelineRunRow.state == RunState.SUCCEEDED)
    .where(PipelineRunRow.project == bindparam("project"))
    .order_by(PipelineRunRow.ended_at.desc())
    .limit(1)
)
_QUICK = (
    select(StepRunRow.node)
    .where(StepRunRow.run_id == bindparam("run_id"), StepRunRow.index == 0, StepRunRow.state == StepState.SUCCEEDED)
    .where(StepRunRow.reused_from == "", StepRunRow.ended_at - StepRunRow.started_at <= bindparam("at_most"))
)
_TAKE_OUTPUT = (
    delete(OutputRow)
    .where(OutputRow.run_id == bindparam("run_id"), OutputRow.node == bindparam("node"))
    .where(OutputRow.index == bindparam("item"), OutputRow.attempt == bindparam("attempt"))
    .returning(OutputRow.offset, OutputRow.text)
)


def locked_run(session: Session, run_id: str) -> PipelineRunRow | None:
    """Return a run's row as it is now, locked until the end of the transaction."""
    return session.scalar(_LOCKED_RUN, {"run_id": run_id})


def attempt_at(session: Session, run_id: str, node: str, index: int, attempt: int) -> tuple[StepRunRow, AttemptRow] | None:
    """Return a step with one of the attempts at it."""
    found = session.execute(_ATTEMPT, {"run_id": run_id, "node": node, "item": index, "attempt": attempt}).first()
    return None if found is None else (found[0], found[1])


def steps_of_nodes(session: Session, run_id: str, nodes: Collection[str]) -> list[StepRunRow]:
    """Return the steps of some nodes of a run."""
    return list(session.scalars(_OF_NODES, {"run_id": run_id, "nodes": list(nodes)})) if nodes else []


def quick_nodes(session: Session, run: PipelineRunRow, at_most: int) -> frozenset[str]:
    """Return the nodes that took at most so many microseconds the last time that the pipeline of a run succeeded."""
    last = session.connection().scalar(_LAST, {"pipeline": run.pipeline, "project": run.project})
    return frozenset(session.connection().scalars(_QUICK, {"run_id": last, "at_most": at_most})) if last else frozenset()


def have_succeeded(session: Session, run_id: str, places: Sequence[tuple[str, int]]) -> bool:
    """Return whether steps of a run, by node and index, have all succeeded."""
    rows = steps_of_nodes(session, run_id, {node for node, _ in places})
    return set(places) <= {(row.node, row.index) for row in rows if row.state == StepState.SUCCEEDED}


def is_busy(session: Session, run_id: str) -> bool:
    """Return whether a runner has a step of a run, or can get one."""
    return session.connection().scalar(_BUSY, {"run_id": run_id}) is not None


def steps_of(session: Session, run_id: str) -> list[StepRunRow]:
    """Return the steps of a run in the order of its plan, a mapped node before its items."""
    query = select(StepRunRow).where(StepRunRow.run_id == run_id).order_by(StepRunRow.position, StepRunRow.index)
    return list(session.scalars(query))


def finished_step(session: Session, key: str) -> tuple[str, tuple[Artifact, ...]] | None:
    """Return run and artifacts of the newest executed step with this key that succeeded, as written so far."""
    found = session.connection().execute(_FINISHED, {"key": key}).first()
    return None if found is None else (found.run_id, to_artifacts(found.artifacts))


def outcomes(session: Session, run_id: str, node: str, index: int, *, earlier_than: int) -> dict[Outcome, int]:
    """Return how often attempts at a step before one of this number ended in which way."""
    place = (AttemptRow.run_id == run_id, AttemptRow.node == node, AttemptRow.index == index, AttemptRow.attempt < earlier_than)
    query = select(AttemptRow.outcome, func.count()).where(*place)
    return {Outcome(outcome): count for outcome, count in session.execute(query.group_by(AttemptRow.outcome)) if outcome}


def same_attempt(table: type[AttemptRow | OutputRow], attempt: AttemptRow) -> tuple[Any, ...]:
    """Return the conditions that a row of a table belongs to an attempt."""
    return (
        table.run_id == attempt.run_id, table.node == attempt.node, table.index == attempt.index, table.attempt == attempt.attempt,
    )  # fmt: skip


def output_pieces(session: Session, attempt: AttemptRow) -> list[OutputRow]:
    """Return what an attempt under way has written, in order."""
    return list(session.scalars(select(OutputRow).where(*same_attempt(OutputRow, attempt)).order_by(OutputRow.offset)))


def take_output(session: Session, attempt: AttemptRow) -> str:
    """Remove what an attempt under way has written, and return it in order."""
    place = {"run_id": attempt.run_id, "node": attempt.node, "item": attempt.index, "attempt": attempt.attempt}
    pieces = session.connection().execute(_TAKE_OUTPUT, place).all()
    return "".join(text for _, text in sorted((piece.offset, piece.text) for piece in pieces))


def keep_output(session: Session, attempt: AttemptRow, offset: int, text: str) -> None:
    """Keep a piece of what an attempt under way has written: the begin and the newest, `OUTPUT_HEAD` and `OUTPUT_TAIL` characters."""
    session.merge(
        OutputRow(run_id=attempt.run_id, node=attempt.node, index=attempt.index, attempt=attempt.attempt, offset=offset, text=text)
    )
    if offset > OUTPUT_HEAD + OUTPUT_TAIL:
        between = (OutputRow.offset > OUTPUT_HEAD, OutputRow.offset < offset - OUTPUT_TAIL)
        session.execute(delete(OutputRow).where(*same_attempt(OutputRow, attempt), *between))
