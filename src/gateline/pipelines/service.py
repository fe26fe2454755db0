"""Use cases of pipelines: ask for a run, follow it, cancel it. What runners do is in `work`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_, select

from gateline.kernel.errors import Conflict, NotFound
from gateline.kernel.names import valid_name
from gateline.kernel.passes import step_each
from gateline.pipelines import store
from gateline.pipelines.model import OPEN_RUNS, PipelineRun, RunState, StepAttempt, StepState
from gateline.pipelines.plan_rules import plan_from_dict
from gateline.pipelines.requests import own_key, plain_parameters, queue_run
from gateline.pipelines.schedule_model import RunRequest
from gateline.pipelines.settling import close_run
from gateline.pipelines.store import AttemptRow, PipelineRunRow, PlanRow, StepRunRow
from gateline.pipelines.tasks import check_keys
from gateline.pipelines.work import Desk, locked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.access import Principal
    from gateline.data import ObjectStore
    from gateline.ledger import Ledger


class Pipelines:
    """Pipeline runs as records.

    Args:
        ledger: Writes each change.
        objects: Holds what steps return.

    Attributes:
        desk: Where runners get work and hand it in.
        searches: The trials of searches.
    """

    def __init__(self, ledger: Ledger, objects: ObjectStore) -> None:
        self._ledger = ledger
        self._objects = objects
        self.desk = Desk(ledger, objects)
        self.searches = self.desk.searches

    def request(
        self, actor: Principal, pipeline: str, parameters: Mapping[str, Any], *, reason: str = "", request_key: str = "",
        project: str = "", priority: int = 0,
    ) -> PipelineRun:  # fmt: skip
        """Queue a run. The same `request_key` again returns the run it named before.

        Args:
            actor: Who asks.
            pipeline: Name of the pipeline; a runner of a project that declares it draws the run.
            parameters: JSON-able arguments.
            reason: Why, in words.
            request_key: Makes the request idempotent. Without one, a request with parameters that another had within the window that the
                pipeline's limits name is that other run.
            project: Only runners of this project; empty: of any.
            priority: Runs with a greater one are worked on first.

        Raises:
            InvalidInput: a parameter is no JSON that can be kept, or the key is one of schedules, triggers or backfills.
            Conflict: the key named a request for another pipeline, or with other parameters.
        """
        valid_name("pipeline", pipeline)
        own_key(request_key)
        wanted = RunRequest(
            pipeline=pipeline, parameters=plain_parameters(pipeline, parameters), reason=reason, request_key=request_key, project=project,
            priority=priority,
        )  # fmt: skip
        with self._ledger.transaction(actor.name) as tx:
            row = queue_run(tx, wanted)
            if request_key and (row.pipeline, row.parameters) != (pipeline, wanted.parameters):
                raise Conflict(
                    f"The request key '{request_key}' names another request: {row.id}, of pipeline '{row.pipeline}'.",
                    next_step="Use a key of its own for each request.",
                )
            return store.to_run(row)

    def get(self, run_id: str) -> PipelineRun:
        """Return a run with its steps."""
        with self._ledger.records.read() as session:
            row = session.get(PipelineRunRow, run_id)
            if row is None:
                raise NotFound(f"There is no pipeline run '{run_id}'.", next_step="List them with: gateline pipeline list")
            return store.to_run(row, store.steps_of(session, run_id), store.jobs_of(session, run_id))

    def newest(self, *, limit: int = 50) -> list[PipelineRun]:
        """Return the newest runs, newest first, without their steps."""
        with self._ledger.records.read() as session:
            rows = session.scalars(select(PipelineRunRow).order_by(PipelineRunRow.requested_at.desc()).limit(limit)).all()
            return [store.to_run(row) for row in rows]

    def attempts(self, run_id: str) -> list[StepAttempt]:
        """Return every attempt at the steps of a run, oldest first."""
        with self._ledger.records.read() as session:
            query = select(AttemptRow).where(AttemptRow.run_id == run_id)
            return [store.to_attempt(row) for row in session.scalars(query.order_by(AttemptRow.started_at, AttemptRow.attempt))]

    def plan(self, run_id: str) -> dict[str, Any]:
        """Return the plan of a run; empty before a runner has drawn it."""
        with self._ledger.records.read() as session:
            row = session.get(PlanRow, run_id)
            return {} if row is None else row.plan

    def drawn(self, run_id: str) -> dict[str, Any]:
        """Return `plan`, `codes` by node and `environment` of a run, as its runner handed them in; empty before that."""
        with self._ledger.records.read() as session:
            row = session.get(PlanRow, run_id)
            return {} if row is None else {"plan": row.plan, "codes": row.codes, "environment": row.environment}

    def preview(self, plan: dict[str, Any], codes: dict[str, str], environment: str) -> dict[str, str]:
        """Say for each node of a plan what a run would do now: `reuse`, `run`, `skip`, `fail`, or `unknown` before earlier ones ran."""
        sound = plan_from_dict(plan)
        check_keys(sound, codes, environment)
        with self._ledger.records.read() as session:
            return self.desk.settling.preview(session, sound, codes, environment)

    def output(self, run_id: str, node: str, index: int, *, offset: int = 0) -> dict[str, Any]:
        """Return what the newest attempt at a step has written, from a position on.

        Returns:
            `attempt`; `text`; `offset`, the position after it, to ask from next; `over`, whether nothing will follow.
        """
        with self._ledger.records.read() as session:
            query = select(AttemptRow).where(AttemptRow.run_id == run_id, AttemptRow.node == node, AttemptRow.index == index)
            attempt = session.scalar(query.order_by(AttemptRow.attempt.desc()).limit(1))
            if attempt is None:
                return {"attempt": 0, "text": "", "offset": 0, "over": self.get(run_id).over}
            if attempt.ended_at is None:
                pieces = store.output_pieces(session, attempt)
                text = "".join(piece.text[max(0, offset - piece.offset) :] for piece in pieces)
                after = max([offset, *(piece.offset + len(piece.text) for piece in pieces)])
                return {"attempt": attempt.attempt, "text": text, "offset": after, "over": False}
        whole = b""
        if attempt.log_sha256:
            with self._objects.open_verified(attempt.log_sha256) as file:
                whole = file.read()
        text = whole.decode(errors="replace")
        return {"attempt": attempt.attempt, "text": text[offset:], "offset": len(text), "over": True}

    def cancel(self, actor: Principal, run_id: str) -> PipelineRun:
        """Ask for a run to end: what has not begun never will, and the runners stop what runs. A run that is over stays as it is."""
        with self._ledger.transaction(actor.name) as tx:
            row = locked(tx.session, run_id)
            if row.state in OPEN_RUNS and row.cancelled_at is None:
                row.cancelled_by, row.cancelled_at = tx.actor, tx.now
                tx.record("pipeline.run.cancelled", run_id)
                if row.state == RunState.QUEUED:
                    close_run(tx, row, RunState.CANCELLED, {})
                else:
                    self.desk.settling.settle(tx, row, {})
        return self.get(run_id)

    def retry(self, actor: Principal, run_id: str) -> PipelineRun:
        """Ask for a run with the parameters of another, drawn anew; steps whose code and inputs are as they were are reused."""
        earlier = self.get(run_id)
        return self.request(actor, earlier.pipeline, earlier.parameters, reason=f"Again after {run_id}.", project=earlier.project)

    def reconcile(self) -> int:
        """Make one pass: take steps from runners that are gone, and move on the runs that nobody moves. Returns how many changed."""
        changed = self.desk.take_back()
        busy = select(StepRunRow.run_id).where(
            StepRunRow.run_id == PipelineRunRow.id, StepRunRow.state.in_([StepState.READY, StepState.RUNNING]), StepRunRow.index >= 0
        )
        own = StepRunRow.run_id == PipelineRunRow.id
        decided = or_(StepRunRow.state == StepState.FAILED, and_(StepRunRow.state == StepState.WAITING, StepRunRow.approved_by != ""))
        movable = or_(PipelineRunRow.awaited == "", select(StepRunRow.run_id).where(own, decided).exists())
        with self._ledger.records.read() as session:
            query = select(PipelineRunRow.id).where(PipelineRunRow.state == RunState.RUNNING, movable, ~busy.exists())
            idle = {run_id: run_id for run_id in session.scalars(query)}
        return changed + step_each(idle, self._move, what="pipeline run")

    def _move(self, run_id: str) -> int:
        self.desk.settle(run_id)
        return 1
