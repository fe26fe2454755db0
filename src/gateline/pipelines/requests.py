"""Putting runs into the queue, each request once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from gateline.kernel.ids import new_id
from gateline.pipelines.limits import duplicate
from gateline.pipelines.model import OPEN_RUNS, RunState
from gateline.pipelines.store import PipelineRunRow

if TYPE_CHECKING:
    from gateline.ledger import Transaction
    from gateline.pipelines.schedule_model import RunRequest


def queue_run(tx: Transaction, wanted: RunRequest) -> PipelineRunRow:
    """Add a queued run; or return the one that the request key names already, or that this request repeats within the window."""
    if (existing := _named(tx, wanted.request_key)) is not None:
        return existing
    if not wanted.parent and not wanted.schedule:
        repeated = duplicate(tx.session, wanted.pipeline, wanted.parameters, tx.now)
        if repeated is not None:
            tx.record("pipeline.run.deduplicated", repeated.id, {"reason": wanted.reason, "request_key": wanted.request_key})
            return repeated
    run_id = new_id("prun")
    row = PipelineRunRow(
        id=run_id, pipeline=wanted.pipeline, state=RunState.QUEUED, parameters=wanted.parameters, reason=wanted.reason,
        requested_by=tx.actor, requested_at=tx.now, request_key=wanted.request_key or run_id, project=wanted.project,
        priority=wanted.priority, parent=wanted.parent, schedule=wanted.schedule, on_behalf_of=wanted.on_behalf_of,
    )  # fmt: skip
    try:
        with tx.session.begin_nested():
            tx.session.add(row)
    except IntegrityError:  # another control plane has just queued the run of this key
        existing = _named(tx, wanted.request_key)
        if existing is None:
            raise
        return existing
    facts = {"pipeline": wanted.pipeline, "parameters": wanted.parameters, "reason": wanted.reason}
    tx.record("pipeline.run.requested", run_id, facts | ({"on_behalf_of": wanted.on_behalf_of} if wanted.on_behalf_of else {}))
    return row


def is_unfinished(tx: Transaction, run_id: str) -> bool:
    """Return whether a run is queued or under way."""
    row = tx.session.get(PipelineRunRow, run_id) if run_id else None
    return row is not None and row.state in OPEN_RUNS


def _named(tx: Transaction, request_key: str) -> PipelineRunRow | None:
    return tx.session.scalar(select(PipelineRunRow).where(PipelineRunRow.request_key == request_key)) if request_key else None
