"""Use cases of pipelines: ask for a run, execute its steps under a lease, reuse what was computed, retrain on alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from gateline.kernel.clock import SECOND, iso
from gateline.kernel.errors import Conflict, IntegrityFailure, NotFound
from gateline.kernel.ids import new_id
from gateline.kernel.names import valid_name
from gateline.pipelines import store
from gateline.pipelines.model import PipelineRun, Retraining, RunState, StepRun
from gateline.pipelines.rules import decide_start, may_claim
from gateline.pipelines.store import PipelineRunRow, RetrainingRow, StepRunRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.access import Principal
    from gateline.data import ObjectStore
    from gateline.ledger import Ledger, Transaction

ALERT_KINDS = ("monitoring.alert.opened", "monitoring.alert.repeated")
_LEASE_SECONDS = 30
_SYSTEM = "gateline"


class Pipelines:
    """Pipeline runs as records.

    Args:
        ledger: Writes each change.
        objects: Holds what steps return.
    """

    def __init__(self, ledger: Ledger, objects: ObjectStore) -> None:
        self._ledger = ledger
        self._objects = objects

    def request(
        self, actor: Principal, pipeline: str, parameters: Mapping[str, Any], *, reason: str = "", request_key: str = ""
    ) -> PipelineRun:
        """Queue a run. The same `request_key` again returns the run it named before."""
        valid_name("pipeline", pipeline)
        with self._ledger.transaction(actor.name) as tx:
            return store.to_run(tx.session, _queue(tx, pipeline, dict(parameters), reason, request_key))

    def get(self, run_id: str) -> PipelineRun:
        """Return a run with its steps."""
        with self._ledger.records.read() as session:
            row = session.get(PipelineRunRow, run_id)
            if row is None:
                raise NotFound(f"There is no pipeline run '{run_id}'.", next_step="List them with: gateline pipeline list")
            return store.to_run(session, row)

    def list(self, *, limit: int = 50) -> list[PipelineRun]:
        """Return the newest runs, newest first."""
        with self._ledger.records.read() as session:
            rows = session.scalars(select(PipelineRunRow).order_by(PipelineRunRow.requested_at.desc()).limit(limit)).all()
            return [store.to_run(session, row) for row in rows]

    def claim(self, actor: Principal, runner: str) -> PipelineRun | None:
        """Give the runner the oldest run that waits or whose runner is gone, under a lease of 30 seconds."""
        with self._ledger.records.read() as session:
            if session.scalar(_claimable().limit(1)) is None:
                return None
        with self._ledger.transaction(actor.name) as tx:
            for row in tx.session.scalars(_claimable().with_for_update(skip_locked=True)).all():
                if may_claim(RunState(row.state), row.lease_until, tx.now):
                    taken_over = row.lease_owner
                    row.state, row.lease_owner = RunState.RUNNING, runner
                    row.lease_until = tx.now + _LEASE_SECONDS * SECOND
                    tx.record("pipeline.run.claimed", row.id, {"runner": runner, "taken_over_from": taken_over})
                    return store.to_run(tx.session, row)
        return None

    def heartbeat(self, run_id: str, runner: str) -> None:
        """Prolong the runner's lease; refused when another runner has taken the run over."""
        with self._ledger.records.write() as session:
            row = _owned(session.get(PipelineRunRow, run_id), run_id, runner)
            row.lease_until = self._ledger.clock.now() + _LEASE_SECONDS * SECOND

    def start_step(self, actor: Principal, run_id: str, runner: str, name: str, key: str) -> StepRun:
        """Begin a step. When a step with the same key succeeded before and its artifact is whole, it is reused at once."""
        with self._ledger.records.read() as session:
            earlier = store.finished_step(session, key)
        reusable = earlier is not None and self._is_whole(earlier.artifact_sha256)
        with self._ledger.transaction(actor.name) as tx:
            _owned(tx.session.get(PipelineRunRow, run_id), run_id, runner)
            row = tx.session.get(StepRunRow, (run_id, name))
            attempt = 1 if row is None else row.attempt + 1
            fresh = StepRunRow(run_id=run_id, name=name, state=RunState.RUNNING, key=key, attempt=attempt, started_at=tx.now)
            if earlier is not None and reusable:
                fresh.state, fresh.ended_at = RunState.SUCCEEDED, tx.now
                fresh.artifact_kind, fresh.artifact_sha256, fresh.artifact_bytes = (
                    earlier.artifact_kind, earlier.artifact_sha256, earlier.artifact_bytes,
                )  # fmt: skip
                fresh.reused_from = "" if earlier.run_id == run_id else earlier.run_id
                tx.record("pipeline.step.reused", f"{run_id}/{name}", {"key": key, "from": earlier.run_id})
            return store.to_step(tx.session.merge(fresh))

    def finish_step(self, actor: Principal, run_id: str, runner: str, name: str, *, kind: str, sha256: str) -> StepRun:
        """Record what a step returned; its bytes must be in the object store already."""
        size_bytes = self._objects.path(sha256).stat().st_size
        with self._ledger.transaction(actor.name) as tx:
            _owned(tx.session.get(PipelineRunRow, run_id), run_id, runner)
            row = tx.session.get(StepRunRow, (run_id, name))
            if row is None:
                raise NotFound(f"The step '{name}' of run {run_id} was never started.")
            row.state, row.ended_at = RunState.SUCCEEDED, tx.now
            row.artifact_kind, row.artifact_sha256, row.artifact_bytes = kind, sha256, size_bytes
            tx.record("pipeline.step.finished", f"{run_id}/{name}", {"key": row.key, "sha256": sha256})
            return store.to_step(row)

    def finish(self, actor: Principal, run_id: str, runner: str, *, result: Mapping[str, Any], failure: str = "") -> PipelineRun:
        """Close a run: succeeded with a result, or failed with the reason. Sends `pipeline.run.finished`."""
        with self._ledger.transaction(actor.name) as tx:
            row = _owned(tx.session.get(PipelineRunRow, run_id), run_id, runner)
            row.state = RunState.FAILED if failure else RunState.SUCCEEDED
            row.result, row.failure, row.lease_until = dict(result), failure, 0
            for step in tx.session.scalars(select(StepRunRow).where(StepRunRow.run_id == run_id, StepRunRow.state == RunState.RUNNING)):
                step.state, step.ended_at = RunState.FAILED, tx.now
            summary = {"pipeline": row.pipeline, "state": row.state, "result": row.result, "failure": failure}
            tx.record("pipeline.run.finished", run_id, summary)
            tx.publish("pipeline.run.finished", {"run_id": run_id, **summary})
            return store.to_run(tx.session, row)

    def set_retraining(self, actor: Principal, plan: Retraining) -> Retraining:
        """Declare when alerts of an endpoint start a pipeline."""
        with self._ledger.transaction(actor.name) as tx:
            row = tx.session.get(RetrainingRow, plan.endpoint)
            fields = plan.as_dict() | {"alert_kinds": list(plan.alert_kinds)}
            if row is None:
                tx.session.add(RetrainingRow(**fields))
            else:
                for name, value in fields.items():
                    setattr(row, name, value)
            tx.record("pipeline.retraining.declared", plan.endpoint, fields)
            return plan

    def on_alert(self, alert: dict[str, Any]) -> None:
        """Start a candidate's training when the endpoint's plan says so. Handles one event of `ALERT_KINDS`, idempotently."""
        with self._ledger.transaction(_SYSTEM) as tx:
            row = tx.session.get(RetrainingRow, alert["endpoint"])
            plan = None if row is None else store.to_retraining(row)
            last = None if row is None else row.last_event_time
            unfinished = row is not None and _is_unfinished(tx, row.last_run_id)
            decision = decide_start(plan, alert["kind"], alert["window_end"], last, unfinished=unfinished)
            facts = {"alert_id": alert["alert_id"], "kind": alert["kind"], "reason": decision.reason}
            if row is None or plan is None or not decision.start:
                tx.record("pipeline.retraining.declined", alert["endpoint"], facts)
                return
            arguments = plan.parameters | {"as_of": iso(alert["window_end"])}
            key = f"alert/{alert['alert_id']}/{alert['window_end']}"
            run = _queue(tx, plan.pipeline, arguments, f"{decision.reason} {alert['sentence']}".strip(), key)
            row.last_event_time, row.last_run_id = alert["window_end"], run.id
            tx.record("pipeline.retraining.started", alert["endpoint"], facts | {"run_id": run.id})

    def _is_whole(self, sha256: str) -> bool:
        """Return whether a stored artifact still has the bytes of its digest; a damaged one is computed again."""
        try:
            self._objects.verify(sha256)
        except (IntegrityFailure, NotFound):
            return False
        return True


def _claimable() -> Any:
    return select(PipelineRunRow).where(PipelineRunRow.state.in_([RunState.QUEUED, RunState.RUNNING])).order_by(PipelineRunRow.requested_at)


def _queue(tx: Transaction, pipeline: str, parameters: dict[str, Any], reason: str, request_key: str) -> PipelineRunRow:
    """Add a queued run, or return the one that the request key names already."""
    run_id = new_id("prun")
    if request_key:
        existing = tx.session.scalar(select(PipelineRunRow).where(PipelineRunRow.request_key == request_key))
        if existing is not None:
            return existing
    row = PipelineRunRow(
        id=run_id, pipeline=pipeline, state=RunState.QUEUED, parameters=parameters, reason=reason, requested_by=tx.actor,
        requested_at=tx.now, request_key=request_key or run_id,
    )  # fmt: skip
    tx.session.add(row)
    tx.session.flush()
    tx.record("pipeline.run.requested", run_id, {"pipeline": pipeline, "parameters": parameters, "reason": reason})
    return row


def _is_unfinished(tx: Transaction, run_id: str) -> bool:
    row = tx.session.get(PipelineRunRow, run_id) if run_id else None
    return row is not None and row.state in {RunState.QUEUED, RunState.RUNNING}


def _owned(row: PipelineRunRow | None, run_id: str, runner: str) -> PipelineRunRow:
    """Return the row when the runner holds its lease."""
    if row is None:
        raise NotFound(f"There is no pipeline run '{run_id}'.")
    if row.state != RunState.RUNNING or row.lease_owner != runner:
        raise Conflict(
            f"Run {run_id} is {row.state} under '{row.lease_owner or 'nobody'}', not under '{runner}'.",
            next_step="Another runner took it over; stop working on it.",
        )
    return row
