"""What runners do: take a run or a step under a lease, keep it, say how it ended. A lease that was lost counts for nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from gateline.access import revoke
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import Conflict, NotFound
from gateline.pipelines import queue, store
from gateline.pipelines.ahead import is_same, steps_ahead
from gateline.pipelines.board import WHOLE
from gateline.pipelines.limits import may_begin
from gateline.pipelines.model import Outcome, RunState, StepRun, StepState
from gateline.pipelines.plan_rules import plan_from_dict
from gateline.pipelines.rules import LEASE_SECONDS, decide_next, is_due_for_renewal, is_held
from gateline.pipelines.searches import Searches, end_trial, fail_trial
from gateline.pipelines.settling import Settling, close_run
from gateline.pipelines.store import AttemptRow, PipelineRunRow, PlanRow, StepRunRow
from gateline.pipelines.tasks import FAR, Held, Report, Runner, StepClaim, Work, check_keys, check_outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from gateline.access import Principal
    from gateline.data import ObjectStore
    from gateline.ledger import Ledger, Transaction

_SYSTEM = "gateline"
_ON_ITS_WAY = 5 * SECOND
"""How long the answer may take that gives a runner a step."""


class Desk:
    """Where runners get work and hand it in.

    Args:
        ledger: Writes each change.
        objects: Holds what steps return.
    """

    def __init__(self, ledger: Ledger, objects: ObjectStore) -> None:
        self._ledger = ledger
        self._objects = objects
        self._since = ledger.clock.now()
        self.settling = Settling(objects)
        self.searches = Searches(ledger, self.settling)

    def claim(self, actor: Principal, runner: Runner) -> Work:
        """Give the runner the next thing to do, under a lease of `LEASE_SECONDS`."""
        now = self._ledger.clock.now()
        with self._ledger.records.read() as session:
            late = bool(self._late(session, now))
            if not late and not queue.ready(session, runner, now) and not queue.undrawn(session, runner, now):
                return Work()
        if late:
            self.take_back()
        with self._ledger.transaction(actor.name) as tx:
            return self._next(tx, runner)

    def draw(self, actor: Principal, run_id: str, runner: Runner, plan: dict[str, Any], codes: dict[str, str], environment: str) -> Work:
        """Keep the plan that a runner drew; steps that were computed before are over at once. Gives the runner what comes next.

        Raises:
            InvalidInput: the plan cannot be carried out; every mistake is named.
            Conflict: the run has another plan already.
        """
        check_keys(plan_from_dict(plan), codes, environment)
        with self._ledger.transaction(actor.name) as tx:
            run = locked(tx.session, run_id)
            if run.state == RunState.QUEUED:
                _require_drawer(run, runner.name)
                tx.session.add(PlanRow(run_id=run_id, plan=plan, codes=codes, environment=environment))
                run.state, run.project, run.started_at, run.lease_owner, run.lease_until = RunState.RUNNING, runner.project, tx.now, "", 0
                tx.session.flush()
                tx.record("pipeline.run.started", run_id, {"project": run.project, "runner": runner.name, "nodes": len(plan["nodes"])})
                unknown = self.settling.settle(tx, run, {})
            elif tx.session.get(PlanRow, run_id) is None:
                raise Conflict(f"Run {run_id} is {run.state}; no plan is wanted any more.", next_step="Ask for other work.")
            elif self.settling.drawn(tx.session, run_id).plan.as_dict() != plan:
                raise Conflict(f"Run {run_id} has another plan.", next_step="Another runner has drawn it; ask for work again.")
            else:
                unknown = set()
            work = Work() if unknown else self._next(tx, runner)
        return self._look(actor, run_id, unknown, runner) if unknown else work

    def refuse(self, actor: Principal, run_id: str, runner: str, failure: str) -> None:
        """Close a run that cannot be drawn."""
        with self._ledger.transaction(actor.name) as tx:
            run = locked(tx.session, run_id)
            _require_drawer(run, runner)
            run.failure = failure
            close_run(tx, run, RunState.FAILED, {})

    def heartbeat(self, runner: str, held: Sequence[Held], drawing: str = "") -> list[str]:
        """Keep the runner's leases, and take what its steps wrote. Returns for each: `go_on`, `cancel`, or `gone` when it lost it."""
        answers, due = [], []
        with self._ledger.records.read() as session:
            now = self._ledger.clock.now()
            for one in held:
                row = session.get(AttemptRow, (one.run_id, one.node, one.index, one.attempt))
                run = session.get(PipelineRunRow, one.run_id)
                gone = row is None or run is None or row.runner != runner or row.ended_at is not None
                answers.append("gone" if gone else "cancel" if run is not None and run.cancelled_at is not None else "go_on")
                if row is not None and not gone and (one.text or is_due_for_renewal(row.lease_until, now)):
                    due.append(one)
            run = session.get(PipelineRunRow, drawing) if drawing else None
            known = {(one.run_id, one.node, one.index, one.attempt) for one in held}
            unheld = [place for place in queue.held_by(session, runner, now - _ON_ITS_WAY) if place not in known]
        for place in unheld:  # the answer that gave it out was lost with a server or a connection
            self._lose(_SYSTEM, place, "Its runner does not know of it.", of=runner)
        if due or (run is not None and is_due_for_renewal(run.lease_until, now)):
            self._renew(runner, due, drawing)
        return answers

    def finish(
        self, actor: Principal, held: Held, runner: str, report: Report, *, ahead: Sequence[tuple[str, Report]] = (),
        then: Runner | None = None,
    ) -> tuple[StepRun, Work]:  # fmt: skip
        """Record how an attempt ended; the same report again changes nothing. Gives the runner what comes next when it asks `then`.

        Args:
            actor: Who reports.
            held: The attempt.
            runner: Whose it is.
            report: How it ended.
            ahead: Nodes and reports of the steps that were given ahead with it, in the order of their execution.
            then: Who asks for more.

        Raises:
            NotFound: an artifact was never stored.
            InvalidInput: it has other outputs than the plan says.
            Conflict: the runner has lost the step.
        """
        unknown: set[str] = set()
        report, ahead = self._sized(report), [(node, self._sized(one)) for node, one in ahead]
        with self._ledger.transaction(actor.name) as tx:
            run = locked(tx.session, held.run_id)
            step, attempt = store.attempt_at(tx.session, held.run_id, held.node, held.index, held.attempt) or (None, None)
            if step is None or attempt is None or attempt.runner != runner or (attempt.ended_at and attempt.outcome != report.outcome):
                raise lost_step(held, runner, attempt)
            if attempt.ended_at is None:
                check_outputs(self.settling.drawn(tx.session, run.id).nodes[step.node], report)
                self._end(tx, run, step, attempt, report)
                unknown = self._go_on(tx, run, step) or self._take_ahead(tx, run, runner, ahead)
            work = self._next(tx, then) if then is not None and not unknown else Work()
            ended = store.to_step(step, mapped=self.settling.drawn(tx.session, run.id).nodes[step.node].over is not None)
        return ended, (self._look(actor, held.run_id, unknown, then) if unknown else work)

    def _take_ahead(self, tx: Transaction, run: PipelineRunRow, runner: str, ahead: Sequence[tuple[str, Report]]) -> set[str]:
        """Record steps that a runner was given ahead, up to one that need not, or must not, be executed now: the rest counts for nothing.

        Their results belong to the inputs that they have now: each follows from what was recorded before it.
        """
        for node, report in ahead:
            step = tx.session.get(StepRunRow, (run.id, node, 0))
            if step is None or self.settling.drawn(tx.session, run.id).nodes[node].over is not None:
                return set()
            check_outputs(self.settling.drawn(tx.session, run.id).nodes[node], report)
            if is_same(step, report):
                continue
            if step.state != StepState.READY or step.attempts or run.state != RunState.RUNNING or run.cancelled_at is not None:
                return set()
            attempt = self.begin(tx, run, step, runner)
            attempt.started_at = step.started_at = tx.now - round(report.seconds * SECOND)
            self._end(tx, run, step, attempt, report)
            unknown = self._go_on(tx, run, step)
            if unknown or report.outcome is not Outcome.SUCCEEDED:
                return unknown
        return set()

    def take_back(self) -> int:
        """Take steps from runners that were not heard of in time, and return how many."""
        with self._ledger.records.read() as session:
            lost = [(row.run_id, row.node, row.index, row.attempt) for row in self._late(session, self._ledger.clock.now())]
        for place in lost:
            self._lose(_SYSTEM, place, f"Its runner was not heard of for {LEASE_SECONDS} s.", of="")
        return len(lost)

    def withdraw(self, actor: Principal, runner: str) -> int:
        """Take back at once what a runner holds that is known to be dead, and return how many attempts these were."""
        with self._ledger.records.read() as session:
            lost = queue.held_by(session, runner, self._ledger.clock.now())
            drawing = select(PipelineRunRow.id).where(PipelineRunRow.state == RunState.QUEUED, PipelineRunRow.lease_owner == runner)
            undrawn = list(session.scalars(drawing))
        for place in lost:
            self._lose(actor.name, place, "Its runner died.", of=runner)
        if undrawn:
            with self._ledger.records.write() as session:
                for run in session.scalars(drawing.with_only_columns(PipelineRunRow).with_for_update()):
                    run.lease_until = 0
        return len(lost)

    def _late(self, session: Session, now: int) -> Sequence[AttemptRow]:
        """Return attempts whose runners were silent for too long. Right after its own start, a server gives them time to be heard."""
        self._since = min(self._since, now)
        return [] if now < self._since + LEASE_SECONDS * SECOND else queue.expired(session, now)

    def _lose(self, actor: str, place: tuple[str, str, int, int], detail: str, *, of: str) -> None:
        """End an attempt of a runner that is gone, or of any whose lease has run out."""
        with self._ledger.transaction(actor) as tx:
            run = locked(tx.session, place[0])
            attempt = tx.session.get(AttemptRow, place, with_for_update=True, populate_existing=True)
            if attempt is None or attempt.ended_at is not None:
                return
            if attempt.runner != of if of else is_held(attempt.lease_until, tx.now):
                return
            step = tx.session.get_one(StepRunRow, place[:3])
            self._end(tx, run, step, attempt, Report(outcome=Outcome.LOST, detail=f"{detail} It was {attempt.runner}."))
            unknown = self._go_on(tx, run, step)
        self._look(None, place[0], unknown, None)

    def settle(self, run_id: str) -> None:
        """Move a run on as far as it can go."""
        with self._ledger.transaction(_SYSTEM) as tx:
            run = locked(tx.session, run_id)
            unknown = self.settling.settle(tx, run, {}) if run.state == RunState.RUNNING else set()
        self._look(None, run_id, unknown, None)

    def _look(self, actor: Principal | None, run_id: str, unknown: set[str], runner: Runner | None) -> Work:
        """Look at stored files outside of any transaction until the run can go on."""
        known, work = dict[str, bool](), Work()
        while unknown:
            known |= self.settling.look(unknown)
            with self._ledger.transaction(actor.name if actor else _SYSTEM) as tx:
                run = locked(tx.session, run_id)
                unknown = self.settling.settle(tx, run, known) if run.state == RunState.RUNNING else set()
                if runner is not None and not unknown:
                    work = self._next(tx, runner)
        return work

    def _next(self, tx: Transaction, runner: Runner) -> Work:
        """Give out a ready step, or else a run to draw."""
        tx.session.flush()
        for place in queue.ready(tx.session, runner, tx.now):
            run = locked(tx.session, place[0])
            step = tx.session.get(StepRunRow, place)  # whoever changes it has locked its run
            if step is None or step.state != StepState.READY or run.state != RunState.RUNNING or run.cancelled_at is not None:
                continue
            if step.executor != FAR and self.settling.drawn(tx.session, run.id).nodes[step.node].options.cpus > runner.cpus:
                continue
            attempt = self.begin(tx, run, step, runner.name)
            ahead = steps_ahead(self.settling, tx.session, run, step, runner)
            return Work(step=replace(self.claim_of(tx, run, step, attempt), ahead=ahead))
        for run_id in queue.undrawn(tx.session, runner, tx.now):
            run = locked(tx.session, run_id)
            if run.state == RunState.QUEUED and not is_held(run.lease_until, tx.now):
                if not run.lease_owner and not may_begin(tx.session, run.pipeline, tx.now):
                    continue
                run.lease_owner, run.lease_until = runner.name, tx.now + LEASE_SECONDS * SECOND
                return Work(draw=store.to_run(run))
        return Work()

    def begin(self, tx: Transaction, run: PipelineRunRow, step: StepRunRow, runner: str) -> AttemptRow:
        """Begin an attempt at a step that is ready. One that follows a lost one has the job of that."""
        step.state, step.attempts, step.started_at = StepState.RUNNING, step.attempts + 1, step.started_at or tx.now
        attempt = AttemptRow(
            run_id=run.id, node=step.node, index=step.index, attempt=step.attempts, runner=runner,
            lease_until=tx.now + LEASE_SECONDS * SECOND, started_at=tx.now,
        )  # fmt: skip
        if step.executor == FAR and step.attempts > 1:
            before = tx.session.get_one(AttemptRow, (run.id, step.node, step.index, step.attempts - 1))
            attempt.job = {**before.job, "token": ""} if before.job and before.outcome == Outcome.LOST else {}
        tx.session.add(attempt)
        return attempt

    def claim_of(self, tx: Transaction, run: PipelineRunRow, step: StepRunRow, attempt: AttemptRow) -> StepClaim:
        """Return what a runner needs to know to execute an attempt."""
        drawn = self.settling.drawn(tx.session, run.id)
        node = drawn.nodes[step.node]
        return StepClaim(
            run_id=run.id, pipeline=run.pipeline, parameters=run.parameters, node=node.as_dict(), index=step.index, attempt=attempt.attempt,
            arguments=self.settling.arguments(tx.session, step, node), key=step.key, code=drawn.codes.get(step.node, ""),
            lease_seconds=LEASE_SECONDS, job=attempt.job.get("url", ""),
        )  # fmt: skip

    def _renew(self, runner: str, due: Sequence[Held], drawing: str) -> None:
        with self._ledger.records.write() as session:
            until = self._ledger.clock.now() + LEASE_SECONDS * SECOND
            for one in due:
                row = session.get(AttemptRow, (one.run_id, one.node, one.index, one.attempt), with_for_update=True)
                if row is not None and row.runner == runner and row.ended_at is None:
                    row.lease_until = until
                    if one.text:
                        store.keep_output(session, row, one.offset, one.text)
            run = session.get(PipelineRunRow, drawing, with_for_update=True) if drawing else None
            if run is not None and run.state == RunState.QUEUED and run.lease_owner == runner:
                run.lease_until = until

    def _end(self, tx: Transaction, run: PipelineRunRow, step: StepRunRow, attempt: AttemptRow, report: Report) -> None:
        """Write the end of an attempt, and what becomes of its step."""
        written = store.take_output(tx.session, attempt) if step.executor != "inline" else ""
        attempt.ended_at, attempt.outcome, attempt.detail = tx.now, report.outcome, report.detail
        attempt.cpu_seconds, attempt.peak_memory_bytes = report.cpu_seconds, report.peak_memory_bytes
        attempt.log_sha256 = report.log_sha256 or (self._objects.put_bytes(written.encode()).sha256 if written else "")
        facts: dict[str, Any] = {"attempt": attempt.attempt, "index": step.index}
        if attempt.job:
            facts["job"] = attempt.job["url"]
            revoke(tx, attempt.job["token"])
        if report.outcome is Outcome.SUCCEEDED:
            step.state, step.ended_at, step.failure = StepState.SUCCEEDED, tx.now, ""
            step.artifacts = [one.as_dict() for one in report.artifacts]
            facts |= {"key": step.key, "artifacts": [one.sha256 for one in report.artifacts]}
            if self.settling.drawn(tx.session, run.id).nodes[step.node].search is not None:
                end_trial(tx, step, self.settling.read(report.artifacts[0]) if report.artifacts else None)
            tx.record("pipeline.step.finished", f"{step.run_id}/{step.node}", facts)
            return
        node = self.settling.drawn(tx.session, run.id).nodes[step.node]
        before = store.outcomes(tx.session, step.run_id, step.node, step.index, earlier_than=attempt.attempt)
        follows = decide_next(
            report.outcome, before, node.options, detail=report.detail, cancelled=run.cancelled_at is not None, retry=report.retry
        )
        step.state, step.failure = follows.state, follows.failure
        step.not_before = tx.now + round(follows.wait_seconds * SECOND) if follows.wait_seconds else 0
        step.ended_at = None if follows.state is StepState.READY else tx.now
        if follows.state is StepState.FAILED:
            fail_trial(tx, step, node, self._objects)
        facts |= {"outcome": report.outcome, "detail": report.detail, "then": step.state}
        tx.record("pipeline.step.failed", f"{step.run_id}/{step.node}", facts)

    def _go_on(self, tx: Transaction, run: PipelineRunRow, step: StepRunRow) -> set[str]:
        """Write down what follows for the run; returns the files to look at first."""
        tx.session.flush()
        if step.state == StepState.READY:
            if run.failure or run.cancelled_at is not None:
                return self.settling.settle(tx, run, {})
            return set()
        mapped = self.settling.drawn(tx.session, run.id).nodes[step.node].over is not None
        if mapped and step.state == StepState.SUCCEEDED:
            whole = tx.session.get_one(StepRunRow, (step.run_id, step.node, WHOLE))
            whole.unfinished -= 1
            if whole.unfinished > 0 and not run.failure and run.cancelled_at is None:
                places = (StepRunRow.run_id == run.id, StepRunRow.node == step.node, StepRunRow.index >= 0)
                waiting = select(StepRunRow).where(*places, StepRunRow.state == StepState.WAITING)
                following = tx.session.scalar(waiting.order_by(StepRunRow.index).limit(1))
                if following is not None:
                    following.state = StepState.READY
                return set()
            tx.session.flush()
        simple = step.state == StepState.SUCCEEDED and not mapped and not run.failure and run.cancelled_at is None
        if simple and self.settling.follow(tx, run, step.node):
            return set()
        return self.settling.settle(tx, run, {})

    def _sized(self, report: Report) -> Report:
        """Return the report with the true sizes of its artifacts; raises NotFound when one is not stored."""
        sized = (replace(one, size_bytes=self._objects.path(one.sha256).stat().st_size) for one in report.artifacts)
        return replace(report, artifacts=tuple(sized))


def locked(session: Session, run_id: str) -> PipelineRunRow:
    """Return a run's row, locked: all that changes its steps waits here for each other."""
    held: dict[str, PipelineRunRow] = session.info.setdefault("locked_runs", {})
    if run_id not in held:
        row = store.locked_run(session, run_id)
        if row is None:
            raise NotFound(f"There is no pipeline run '{run_id}'.", next_step="List them with: gateline pipeline list")
        held[run_id] = row
    return held[run_id]


def _require_drawer(run: PipelineRunRow, runner: str) -> None:
    if run.state != RunState.QUEUED or run.lease_owner != runner:
        raise Conflict(
            f"Run {run.id} is {run.state} under '{run.lease_owner or 'nobody'}', not to be drawn by '{runner}'.",
            next_step="Another runner took it over; ask for work again.",
        )


def lost_step(held: Held, runner: str, attempt: AttemptRow | None) -> Conflict:
    """Return what a runner is told that speaks of a step it does not hold."""
    why = "was never begun" if attempt is None else f"ended with {attempt.outcome}" if attempt.ended_at else f"is {attempt.runner}'s"
    return Conflict(
        f"Attempt {held.attempt} at step '{held.node}' of run {held.run_id} {why}; '{runner}' does not hold it.",
        next_step="The step was taken over; stop working on it.",
    )
