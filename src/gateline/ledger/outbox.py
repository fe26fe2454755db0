"""Delivery of events: in order within a kind, at least once, retried until handled. Handlers are idempotent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import select

from gateline.kernel.errors import GatelineError
from gateline.ledger.store import OutboxRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateline.kernel.clock import Clock
    from gateline.kernel.records import Records

Handler = Callable[[dict[str, Any]], None]

_log = structlog.get_logger(__name__)
_BATCH_ROWS = 100


class Outbox:
    """Events that committed with their change and wait for those who act on them.

    Args:
        records: The records database.
        clock: Tells when an event was delivered.
        handlers: For each kind of event, who acts on it. A kind without handlers counts as delivered.
    """

    def __init__(self, records: Records, clock: Clock, handlers: Mapping[str, Sequence[Handler]]) -> None:
        self._records = records
        self._clock = clock
        self._handlers = handlers

    def deliver(self) -> int:
        """Hand pending events to their handlers, oldest first, and return how many were delivered.

        A handler that raises a `GatelineError` leaves its event pending, with the failure noted; it and the events of its kind behind
        it are tried again on the next call, so that order is kept within a kind and one kind never holds up another.
        """
        with self._records.read() as session:
            query = select(OutboxRow).where(OutboxRow.delivered_at.is_(None)).order_by(OutboxRow.id).limit(_BATCH_ROWS)
            pending = session.scalars(query).all()
        held: set[str] = set()
        delivered = 0
        for event in pending:
            if event.kind in held:
                continue
            try:
                for handle in self._handlers.get(event.kind, ()):
                    handle(event.payload)
            except GatelineError as error:
                held.add(event.kind)
                if event.failure != str(error):
                    self._mark(event.id, failure=str(error))
                    _log.warning("event.failed", kind=event.kind, id=event.id, failure=str(error))
            else:
                self._mark(event.id)
                delivered += 1
        return delivered

    def _mark(self, event_id: int, *, failure: str = "") -> None:
        with self._records.write() as session:
            row = session.get_one(OutboxRow, event_id)
            row.attempts += 1
            row.failure = failure
            if not failure:
                row.delivered_at = self._clock.now()
