"""Schedules: what is due by the clock is queued once, whoever looks, however often, and however the clock jumps."""

from __future__ import annotations

from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from gateline.kernel.clock import iso
from gateline.kernel.errors import InvalidInput, NotFound
from gateline.kernel.names import valid_name
from gateline.kernel.passes import step_each
from gateline.pipelines.cron import Cron, cron, next_time
from gateline.pipelines.requests import plain_parameters, queue_run
from gateline.pipelines.schedule_model import CatchUp, RunRequest, Schedule
from gateline.pipelines.schedule_rules import CATCH_UP_MAX, DUE_MAX, decide_due
from gateline.pipelines.schedule_store import ScheduleRow, to_schedule, write

if TYPE_CHECKING:
    from gateline.access import Principal
    from gateline.ledger import Ledger, Transaction
    from gateline.pipelines.schedule_rules import Due

_SYSTEM = "gateline"
NEXT_SHOWN_MAX = 100


class Schedules:
    """Schedules as records.

    Args:
        ledger: Writes each change.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def set(self, actor: Principal, schedule: Schedule) -> dict[str, Any]:
        """Declare a schedule, or declare it anew. Times from now on count; it stays paused if it was.

        Raises:
            InvalidInput: naming what is wrong with it.
        """
        valid_name("schedule", schedule.name)
        valid_name("pipeline", schedule.pipeline)
        plain_parameters(schedule.pipeline, schedule.parameters)
        Cron(schedule.cron, schedule.zone)
        if not 1 <= schedule.catch_up_max <= CATCH_UP_MAX:
            raise InvalidInput(
                f"{schedule.catch_up_max} missed times are too many to catch up.", next_step=f"Give a number from 1 to {CATCH_UP_MAX:,}."
            )
        fields = schedule.as_dict()
        with self._ledger.transaction(actor.name) as tx:
            row = tx.session.get(ScheduleRow, schedule.name, with_for_update=True, populate_existing=True)
            if row is None:
                row = ScheduleRow(**fields, declared_by=actor.name, done_until=tx.now)
                tx.session.add(row)
            else:
                write(row, {**fields, "declared_by": actor.name, "done_until": max(row.done_until, tx.now)})
            row.next_at = next_time(row.cron, row.zone, row.done_until)
            tx.record("pipeline.schedule.declared", schedule.name, fields)
        return self.get(schedule.name)

    def get(self, name: str, *, shown: int = 5) -> dict[str, Any]:
        """Return a schedule with its next nominal times, whether it is paused, and what was decided last."""
        with self._ledger.records.read() as session:
            row = session.get(ScheduleRow, name)
            if row is None:
                raise _missing(name)
            return _told(row, min(shown, NEXT_SHOWN_MAX))

    def all(self) -> list[dict[str, Any]]:
        """Return every schedule by name, with the next time of each."""
        with self._ledger.records.read() as session:
            return [_told(row, 1) for row in session.scalars(select(ScheduleRow).order_by(ScheduleRow.name))]

    def pause(self, actor: Principal, name: str) -> dict[str, Any]:
        """Let no time of a schedule start a run. What is queued or under way goes on."""
        return self._change(actor, name, paused=True)

    def resume(self, actor: Principal, name: str) -> dict[str, Any]:
        """Go on with a schedule. Times that passed meanwhile are not caught up: a backfill does that."""
        return self._change(actor, name, paused=False)

    def remove(self, actor: Principal, name: str) -> None:
        """Remove a schedule; its runs stay."""
        with self._ledger.transaction(actor.name) as tx:
            tx.session.delete(_locked(tx, name))
            tx.record("pipeline.schedule.removed", name)

    def times(self, name: str, start: int, end: int, most: int) -> list[int]:
        """Return the nominal times of a schedule from an instant to another, both included, at most a number and one more."""
        with self._ledger.records.read() as session:
            row = session.get(ScheduleRow, name)
            if row is None:
                raise _missing(name)
            times = cron(row.cron, row.zone).times(start - 1)
            return list(islice(takewhile(lambda one: one <= end, times), most + 1))

    def reconcile(self) -> int:
        """Queue what is due, and return how many schedules were looked at."""
        now = self._ledger.clock.now()
        with self._ledger.records.read() as session:
            query = select(ScheduleRow.name).where(ScheduleRow.next_at <= now, ScheduleRow.paused_by == "")
            due = {name: name for name in session.scalars(query.order_by(ScheduleRow.next_at))}
        return step_each(due, self._tick, what="schedule")

    def _tick(self, name: str) -> int:
        with self._ledger.transaction(_SYSTEM) as tx:
            row = tx.session.get(ScheduleRow, name, with_for_update=True, populate_existing=True)
            if row is None or row.paused_by or row.next_at is None or row.next_at > tx.now:
                return 0  # another control plane was faster, or somebody changed it
            times = list(
                islice(takewhile(lambda one: one <= tx.now, cron(row.cron, row.zone).times(row.done_until)), DUE_MAX + 1)
            )  # fmt: skip
            complete = len(times) <= DUE_MAX
            due = decide_due(times[:DUE_MAX], tx.now, CatchUp(row.catch_up), row.catch_up_max, complete=complete)
            _carry_out(tx, row, due)
            row.done_until = due.done_until or row.done_until
            row.next_at = next_time(row.cron, row.zone, row.done_until)
            return 1

    def _change(self, actor: Principal, name: str, *, paused: bool) -> dict[str, Any]:
        with self._ledger.transaction(actor.name) as tx:
            row = _locked(tx, name)
            if bool(row.paused_by) != paused:
                row.paused_by = actor.name if paused else ""
                if not paused:
                    row.done_until = max(row.done_until, tx.now)
                    row.next_at = next_time(row.cron, row.zone, row.done_until)
                tx.record("pipeline.schedule.paused" if paused else "pipeline.schedule.resumed", name)
        return self.get(name)


def _carry_out(tx: Transaction, row: ScheduleRow, due: Due) -> None:
    """Queue the runs of nominal times, and say which were skipped."""
    for nominal in due.run:
        text = iso(nominal)
        given = {row.time_parameter: text} if row.time_parameter else {}
        wanted = RunRequest(
            pipeline=row.pipeline, parameters=row.parameters | given, reason=f"Schedule {row.name}, for {text}.", project=row.project,
            request_key=f"schedule/{row.name}/{text}", schedule=row.name, priority=row.priority, on_behalf_of=row.declared_by,
        )  # fmt: skip
        row.last_run_id = queue_run(tx, wanted).id
        row.last_decision = f"{text}: run {row.last_run_id} was asked for."
    if due.skipped:
        facts = {"count": len(due.skipped), "first": iso(due.skipped[0]), "last": iso(due.skipped[-1]), "catch_up": row.catch_up}
        tx.record("pipeline.schedule.skipped", row.name, facts)
        if not due.run:
            row.last_decision = f"{facts['last']}: {facts['count']} missed times were skipped, as catch-up '{row.catch_up}' says."


def _locked(tx: Transaction, name: str) -> ScheduleRow:
    row = tx.session.get(ScheduleRow, name, with_for_update=True, populate_existing=True)
    if row is None:
        raise _missing(name)
    return row


def _told(row: ScheduleRow, shown: int) -> dict[str, Any]:
    times = islice(cron(row.cron, row.zone).times(row.done_until), shown)
    return {
        **to_schedule(row).as_dict(), "declared_by": row.declared_by, "paused_by": row.paused_by, "done_until": iso(row.done_until),
        "next": [] if row.paused_by else [iso(one) for one in times], "last_run_id": row.last_run_id, "last_decision": row.last_decision,
    }  # fmt: skip


def _missing(name: str) -> NotFound:
    return NotFound(f"There is no schedule '{name}'.", next_step="List them with: gateline pipeline schedule list")
