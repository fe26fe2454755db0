"""Putting runs into the queue, each request once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from gateline.kernel.errors import InvalidInput
from gateline.kernel.ids import new_id
from gateline.pipelines.limits import duplicate
from gateline.pipelines.model import OPEN_RUNS, RunState
from gateline.pipelines.store import PipelineRunRow
from gateline.pipelines.values import plain_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.ledger import Transaction
    from gateline.pipelines.schedule_model import RunRequest


_RESERVED = ("schedule/", "backfill/", "alert/", "dataset/")


def own_key(request_key: str) -> None:
    """Check that a key that a caller chose is none of those that schedules, triggers and backfills give their runs.

    Raises:
        InvalidInput: it begins like one of these.
    """
    if request_key.startswith(_RESERVED):
        raise InvalidInput(
            f"The request key '{request_key[:200]}' is reserved: it begins with {request_key.partition('/')[0]}/.",
            next_step="Begin it otherwise, such as with the name of your system.",
        )


def plain_parameters(pipeline: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a run as plain JSON.

    Raises:
        InvalidInput: one is something that no record can hold; the message says where.
        TooLarge: they are nested too deep, or larger than 1 MiB.
    """
    plain: dict[str, Any] = plain_value(dict(parameters), f"parameter set of pipeline '{pipeline}'")
    return plain


def queue_run(tx: Transaction, wanted: RunRequest) -> PipelineRunRow:
    """Add a queued run; or return the one that the request key names already, or that this request repeats within the window."""
    if (existing := _named(tx, wanted.request_key)) is not None:
        return existing
    if not wanted.parent and not wanted.schedule:
        repeated = duplicate(tx.session, wanted.pipeline, wanted.parameters, tx.now, project=wanted.project)
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
