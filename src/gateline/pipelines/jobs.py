"""Steps that run as jobs of another system, such as Ray: the job is on record before it exists, and takes its step over by itself.

A runner records the job, which brings a ticket that works once, and sends the job off. When the job begins, it hands in the ticket and
holds the step from then on under the lease that runners have: that its runner is gone does not matter any more, and that its node is gone
is noticed as with every runner. An attempt that follows a lost one has the same job, so that whoever claims it looks for that job first.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import Conflict, Unauthenticated
from gateline.pipelines.model import Outcome, RunState, StepState
from gateline.pipelines.rules import LEASE_SECONDS
from gateline.pipelines.store import AttemptRow, PipelineRunRow, StepRunRow
from gateline.pipelines.work import locked, lost_step

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gateline.access import Access, Principal
    from gateline.ledger import Ledger
    from gateline.pipelines.tasks import Held, StepClaim
    from gateline.pipelines.work import Desk

_EXTRA_SECONDS = 3600.0
_DAYS_30_SECONDS = 30 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a job gets for its ticket.

    Attributes:
        step: The step that it holds from now on.
        environment: Digest of the environment that the run was drawn in; in another one the step must not run.
        token: API token of the principal that sent the job; revoked when the attempt ends.
    """

    step: StepClaim
    environment: str
    token: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


class Jobs:
    """Steps under way elsewhere.

    Args:
        ledger: Writes each change.
        access: Makes the tokens of jobs.
        desk: Where steps are held.
    """

    def __init__(self, ledger: Ledger, access: Access, desk: Desk) -> None:
        self._ledger = ledger
        self._access = access
        self._desk = desk

    def send(self, actor: Principal, held: Held, runner: str, job: str) -> str:
        """Record the job that an attempt is about to be sent as, and return its ticket; an earlier ticket is worthless from then on.

        Args:
            actor: In whose name the job will work.
            held: The attempt.
            runner: Who holds it.
            job: URL under which the job will be found.

        Raises:
            Conflict: the runner has lost the step.
        """
        ticket = secrets.token_urlsafe(32)
        with self._ledger.transaction(actor.name) as tx:
            locked(tx.session, held.run_id)
            attempt = tx.session.get(AttemptRow, (held.run_id, held.node, held.index, held.attempt))
            if attempt is None or attempt.runner != runner or attempt.ended_at is not None:
                raise lost_step(held, runner, attempt)
            attempt.job = {"url": job, "ticket": sha256_bytes(ticket.encode()), "principal": actor.name, "token": ""}
            tx.record("pipeline.step.sent", f"{held.run_id}/{held.node}", {"attempt": held.attempt, "index": held.index, "job": job})
        return ticket

    def take(self, run_id: str, node: str, index: int, ticket: str, worker: str) -> Taken:
        """Give a step to the job that was sent for it. The ticket works once.

        Args:
            run_id: The run.
            node: The step.
            index: Which item of a mapped step; 0 for others.
            ticket: What `send` returned.
            worker: Name of the job as a runner, unique.

        Raises:
            Unauthenticated: the ticket is not that of the newest job of this step, or was used.
            Conflict: the step is over, or the run was cancelled.
        """
        place = (run_id, node, index)
        with self._ledger.records.read() as session:
            principal = str(_admitted(session, place, ticket).job["principal"])
        with self._ledger.transaction(principal) as tx:
            run = locked(tx.session, run_id)
            attempt = _admitted(tx.session, place, ticket)
            step = tx.session.get_one(StepRunRow, place, with_for_update=True)
            if not _is_wanted(run, step, attempt):
                raise Conflict(f"Step '{node}' of run {run_id} is {step.state}; its job is not wanted any more.", next_step="End the job.")
            if attempt.ended_at is None:
                attempt.runner, attempt.lease_until = worker, tx.now + LEASE_SECONDS * SECOND
            else:
                attempt = self._desk.begin(tx, run, step, worker)
            claim = self._desk.claim_of(tx, run, step, attempt)
            seconds = claim.node["options"]["timeout_seconds"]
            expires = tx.now + round((_DAYS_30_SECONDS if seconds is None else seconds + _EXTRA_SECONDS) * SECOND)
            secret, token = self._access.add_token(tx, principal, expires)
            attempt.job = {**attempt.job, "ticket": "", "token": token}
            facts = {"attempt": attempt.attempt, "index": index, "job": attempt.job["url"], "worker": worker}
            tx.record("pipeline.step.taken", f"{run_id}/{node}", facts)
            return Taken(step=claim, environment=self._desk.settling.drawn(tx.session, run_id).environment, token=secret)


def _admitted(session: Session, place: tuple[str, str, int], ticket: str) -> AttemptRow:
    """Return the newest attempt at a step, whose ticket this is."""
    same = (AttemptRow.run_id == place[0], AttemptRow.node == place[1], AttemptRow.index == place[2])
    attempt = session.scalar(select(AttemptRow).where(*same).order_by(AttemptRow.attempt.desc()).limit(1))
    known = "" if attempt is None else str(attempt.job.get("ticket", ""))
    if attempt is None or not known or not hmac.compare_digest(known, sha256_bytes(ticket.encode())):
        raise Unauthenticated("No job with that ticket is expected.", next_step="End the job; another one has its place, or it was taken.")
    return attempt


def _is_wanted(run: PipelineRunRow, step: StepRunRow, attempt: AttemptRow) -> bool:
    """Return whether the job of an attempt may work on its step."""
    if run.state != RunState.RUNNING or run.cancelled_at is not None:
        return False
    return attempt.ended_at is None or (attempt.outcome == Outcome.LOST and step.state == StepState.READY)
