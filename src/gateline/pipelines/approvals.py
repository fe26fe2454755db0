"""Approvals: a step that waits with a question goes on, or fails, by the word of somebody else than who asked for the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from gateline.access import Permission, Role
from gateline.kernel.errors import Conflict, Denied, InvalidInput
from gateline.kernel.limits import TEXT_LENGTH_MAX
from gateline.kernel.passes import step_each
from gateline.pipelines.model import StepState
from gateline.pipelines.schedule_model import ApprovalState
from gateline.pipelines.schedule_store import ApprovalRow, to_approval
from gateline.pipelines.store import StepRunRow
from gateline.pipelines.work import locked

if TYPE_CHECKING:
    from gateline.access import Access, Principal
    from gateline.ledger import Ledger, Transaction
    from gateline.pipelines.schedule_model import StepApproval
    from gateline.pipelines.service import Pipelines
    from gateline.pipelines.store import PipelineRunRow

_SYSTEM = "gateline"


class Approvals:
    """Questions that steps wait with, and their answers.

    Args:
        ledger: Writes each change.
        access: Decides who may answer.
        pipelines: Moves the runs on.
    """

    def __init__(self, ledger: Ledger, access: Access, pipelines: Pipelines) -> None:
        self._ledger = ledger
        self._access = access
        self._pipelines = pipelines

    def of(self, run_id: str) -> list[StepApproval]:
        """Return the questions of a run in the order in which they were asked."""
        self._pipelines.get(run_id)
        with self._ledger.records.read() as session:
            query = select(ApprovalRow).where(ApprovalRow.run_id == run_id).order_by(ApprovalRow.asked_at, ApprovalRow.node)
            return [to_approval(row) for row in session.scalars(query)]

    def open(self) -> list[StepApproval]:
        """Return the questions that wait for an answer, oldest first."""
        with self._ledger.records.read() as session:
            query = select(ApprovalRow).where(ApprovalRow.state == ApprovalState.ASKED).order_by(ApprovalRow.asked_at)
            return [to_approval(row) for row in session.scalars(query.limit(1000))]

    def approve(self, principal: Principal, run_id: str, node: str, comment: str) -> StepApproval:
        """Let a step run.

        Raises:
            InvalidInput: no reason is given.
            Conflict: it does not wait for approval, or has its answer.
            Denied: a policy forbids it: who asked for the run, a service, or somebody without the role that the step names.
        """
        return self._answer(principal, run_id, node, comment, ApprovalState.APPROVED)

    def reject(self, principal: Principal, run_id: str, node: str, comment: str) -> StepApproval:
        """Let a step fail, and with it its run; raises as `approve` does."""
        return self._answer(principal, run_id, node, comment, ApprovalState.REJECTED)

    def reconcile(self) -> int:
        """Reject what nobody answered in time, and return how many questions these were."""
        now = self._ledger.clock.now()
        with self._ledger.records.read() as session:
            query = select(ApprovalRow).where(ApprovalRow.state == ApprovalState.ASKED, ApprovalRow.until <= now)
            late = {f"{row.run_id}/{row.node}": (row.run_id, row.node) for row in session.scalars(query)}
        return step_each(late, self._time_out, what="approval")

    def _time_out(self, place: tuple[str, str]) -> int:
        with self._ledger.transaction(_SYSTEM) as tx:
            run = locked(tx.session, place[0])
            row = tx.session.get(ApprovalRow, place, with_for_update=True, populate_existing=True)
            if row is None or row.state != ApprovalState.ASKED or row.until is None or row.until > tx.now:
                return 0
            _write(tx, run, row, ApprovalState.TIMED_OUT, "Nobody answered in time.")
        self._pipelines.desk.settle(place[0])
        return 1

    def _answer(self, principal: Principal, run_id: str, node: str, comment: str, answer: ApprovalState) -> StepApproval:
        if not comment.strip() or len(comment) > TEXT_LENGTH_MAX:
            raise InvalidInput("An answer needs a reason.", next_step=f"Say why, in at most {TEXT_LENGTH_MAX:,} characters.")
        subject = f"{run_id}/{node}"
        try:
            with self._ledger.transaction(principal.name) as tx:
                run = locked(tx.session, run_id)
                row = tx.session.get(ApprovalRow, (run_id, node), with_for_update=True, populate_existing=True)
                if row is None or row.state != ApprovalState.ASKED or node not in run.awaited.split(", "):
                    raise Conflict(
                        f"Step '{node}' of run {run_id} waits for no approval.", next_step=f"See: gateline pipeline show {run_id}"
                    )
                named = row.question not in set(Role) or row.question in principal.roles
                facts = {"author": run.on_behalf_of or run.requested_by, "contributors": [run.requested_by], "namedRole": named}
                self._access.require(principal, Permission.PIPELINE_APPROVE, resource=subject, facts=facts)
                _write(tx, run, row, answer, comment)
        except (Denied, Conflict) as refusal:
            with self._ledger.transaction(principal.name) as tx:
                said = {"answer": answer, "code": refusal.code, "reason": refusal.message}
                tx.record("pipeline.approval.refused", subject, said)
            raise
        self._pipelines.desk.settle(run_id)
        return next(one for one in self.of(run_id) if one.node == node)


def _write(tx: Transaction, run: PipelineRunRow, row: ApprovalRow, answer: ApprovalState, comment: str) -> None:
    """Write an answer down, and what it means for the step."""
    row.state, row.decided_by, row.decided_at, row.comment = answer, tx.actor, tx.now, comment
    for step in tx.session.scalars(select(StepRunRow).where(StepRunRow.run_id == run.id, StepRunRow.node == row.node)):
        if answer is ApprovalState.APPROVED:
            step.approved_by = tx.actor
        elif step.state == StepState.WAITING:
            why = "was not approved in time" if answer is ApprovalState.TIMED_OUT else f"was rejected by {tx.actor}: {comment}"
            step.state, step.ended_at, step.failure = StepState.FAILED, tx.now, why
    tx.record(f"pipeline.approval.{answer}", f"{run.id}/{row.node}", {"question": row.question, "comment": comment})
