"""Backfills: one run for each item of a range, a few at a time, until all are done or somebody cancels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from gateline.access import Principal, PrincipalKind
from gateline.kernel.clock import iso
from gateline.kernel.errors import Conflict, InvalidInput, NotFound
from gateline.kernel.ids import new_id
from gateline.kernel.limits import MAP_ITEMS_MAX
from gateline.kernel.names import valid_name
from gateline.kernel.passes import step_each
from gateline.pipelines.model import OPEN_RUNS, RunState
from gateline.pipelines.requests import plain_parameters, queue_run
from gateline.pipelines.schedule_model import Backfill, BackfillState, RunRequest
from gateline.pipelines.schedule_store import BackfillRow, to_backfill
from gateline.pipelines.store import PipelineRunRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gateline.data import Datasets
    from gateline.ledger import Ledger, Transaction
    from gateline.pipelines.schedules import Schedules
    from gateline.pipelines.service import Pipelines

PARALLEL_MAX = 100
_SYSTEM = Principal(name="gateline", kind=PrincipalKind.SERVICE, roles=frozenset())


class Backfills:
    """Backfills as records.

    Args:
        ledger: Writes each change.
        pipelines: Cancels runs.
        schedules: Know their nominal times.
        datasets: Know their versions.
    """

    def __init__(self, ledger: Ledger, pipelines: Pipelines, schedules: Schedules, datasets: Datasets) -> None:
        self._ledger = ledger
        self._pipelines = pipelines
        self._schedules = schedules
        self._datasets = datasets

    def times(self, schedule: str, start: int, end: int) -> list[str]:
        """Return the items of a range of a schedule's nominal times (UTC microseconds, both ends included)."""
        return [iso(one) for one in self._schedules.times(schedule, start, end, MAP_ITEMS_MAX)]

    def versions(self, dataset: str, first: int, last: int) -> list[str]:
        """Return the items of a range of a dataset's versions, both ends included."""
        if last - first >= MAP_ITEMS_MAX:
            raise _too_many()
        return [self._datasets.get(dataset, number).id for number in range(first, last + 1)]

    def start(
        self, actor: Principal, pipeline: str, parameter: str, items: list[str], *, parameters: dict[str, Any], parallel_max: int = 1,
        project: str = "", priority: int = 0,
    ) -> Backfill:  # fmt: skip
        """Begin a backfill; its runs are queued by the next passes.

        Args:
            actor: Who asks.
            pipeline: What is run.
            parameter: The parameter that gets the item.
            items: One run for each, in this order.
            parameters: The other arguments, the same for all.
            parallel_max: How many of its runs may be queued or under way at once.
            project: Only runners of this project; empty: of any.
            priority: Of its runs.
        """
        valid_name("pipeline", pipeline)
        plain_parameters(pipeline, parameters)
        mistakes = []
        if not items:
            mistakes.append("the range is empty")
        if not parameter:
            mistakes.append("no parameter is named that gets the item")
        if not 1 <= parallel_max <= PARALLEL_MAX:
            mistakes.append(f"{parallel_max} runs at once are not between 1 and {PARALLEL_MAX}")
        if mistakes:
            raise InvalidInput(f"The backfill of '{pipeline}' cannot begin: {'; '.join(mistakes)}.", next_step="Mend all of these.")
        if len(items) > MAP_ITEMS_MAX:
            raise _too_many()
        with self._ledger.transaction(actor.name) as tx:
            row = BackfillRow(
                id=new_id("fill"), pipeline=pipeline, parameter=parameter, parameters=parameters, items=list(dict.fromkeys(items)),
                parallel_max=parallel_max, project=project, priority=priority, state=BackfillState.RUNNING, created_by=actor.name,
                created_at=tx.now,
            )  # fmt: skip
            tx.session.add(row)
            facts = {"pipeline": pipeline, "items": len(items), "first": items[0], "last": items[-1], "parallel_max": parallel_max}
            tx.record("pipeline.backfill.started", row.id, facts | {"parameters": parameters, "parameter": parameter})
            return to_backfill(row, {})

    def get(self, backfill_id: str) -> Backfill:
        """Return a backfill, with the number of its runs in each state."""
        with self._ledger.records.read() as session:
            row = session.get(BackfillRow, backfill_id)
            if row is None:
                raise _missing(backfill_id)
            return to_backfill(row, _counts(session, row.id))

    def all(self, *, limit: int = 50) -> list[Backfill]:
        """Return the newest backfills, newest first."""
        with self._ledger.records.read() as session:
            rows = session.scalars(select(BackfillRow).order_by(BackfillRow.created_at.desc(), BackfillRow.id).limit(limit)).all()
            return [to_backfill(row, _counts(session, row.id)) for row in rows]

    def cancel(self, actor: Principal, backfill_id: str) -> Backfill:
        """Ask for no more runs, and cancel those that are queued or under way."""
        with self._ledger.transaction(actor.name) as tx:
            row = _locked(tx, backfill_id)
            if row.state == BackfillState.RUNNING:
                row.state, row.ended_at = BackfillState.CANCELLED, tx.now
                tx.record("pipeline.backfill.cancelled", row.id, {"left": len(row.items) - row.position})
        self._cancel_runs(actor, backfill_id)
        return self.get(backfill_id)

    def resume(self, actor: Principal, backfill_id: str) -> Backfill:
        """Go on with a backfill that was cancelled or is done: the items without a run that succeeded are run."""
        with self._ledger.transaction(actor.name) as tx:
            row = _locked(tx, backfill_id)
            if row.state == BackfillState.RUNNING:
                raise Conflict(f"Backfill {row.id} is running.", next_step=f"See: gateline pipeline backfill show {row.id}")
            if _open(tx.session, row.id):
                raise Conflict(f"Runs of backfill {row.id} are still being cancelled.", next_step="Try again in some seconds.")
            row.state, row.ended_at, row.round, row.position = BackfillState.RUNNING, None, row.round + 1, 0
            tx.record("pipeline.backfill.resumed", row.id, {"round": row.round})
        return self.get(backfill_id)

    def reconcile(self) -> int:
        """Queue the next runs of every backfill, and finish cancelling. Returns how many backfills were looked at."""
        with self._ledger.records.read() as session:
            running = list(session.scalars(select(BackfillRow.id).where(BackfillRow.state == BackfillState.RUNNING)))
            uncancelled = (PipelineRunRow.state.in_(OPEN_RUNS), PipelineRunRow.cancelled_at.is_(None))
            query = select(BackfillRow.id).join(PipelineRunRow, PipelineRunRow.parent == BackfillRow.id).distinct()
            stopping = list(session.scalars(query.where(BackfillRow.state == BackfillState.CANCELLED, *uncancelled)))
        done = step_each({one: one for one in running}, self._go_on, what="backfill")
        return done + step_each({one: one for one in stopping}, lambda one: self._cancel_runs(_SYSTEM, one), what="backfill")

    def _go_on(self, backfill_id: str) -> int:
        with self._ledger.transaction(_SYSTEM.name) as tx:
            row = _locked(tx, backfill_id)
            if row.state != BackfillState.RUNNING:
                return 0
            free, done = row.parallel_max - _open(tx.session, row.id), _succeeded(tx.session, row) if row.round else set()
            while row.position < len(row.items) and free > 0:
                item = row.items[row.position]
                if item not in done:
                    queue_run(tx, _request(row, item))
                    free -= 1
                row.position += 1
            if row.position == len(row.items) and free == row.parallel_max:
                row.state, row.ended_at = BackfillState.DONE, tx.now
                tx.record("pipeline.backfill.finished", row.id, {"runs": _counts(tx.session, row.id)})
            return 1

    def _cancel_runs(self, actor: Principal, backfill_id: str) -> int:
        with self._ledger.records.read() as session:
            query = select(PipelineRunRow.id).where(PipelineRunRow.parent == backfill_id, PipelineRunRow.state.in_(OPEN_RUNS))
            runs = list(session.scalars(query.where(PipelineRunRow.cancelled_at.is_(None))))
        for run_id in runs:
            self._pipelines.cancel(actor, run_id)
        return 1


def _request(row: BackfillRow, item: str) -> RunRequest:
    return RunRequest(
        pipeline=row.pipeline, parameters=row.parameters | {row.parameter: item}, reason=f"Backfill {row.id}, for {item}.",
        request_key=f"backfill/{row.id}/{row.round}/{item}", project=row.project, priority=row.priority, parent=row.id,
        on_behalf_of=row.created_by,
    )  # fmt: skip


def _counts(session: Session, backfill_id: str) -> dict[str, int]:
    """Return the number of a backfill's runs in each state."""
    query = select(PipelineRunRow.state, func.count()).where(PipelineRunRow.parent == backfill_id).group_by(PipelineRunRow.state)
    return {state: count for state, count in session.execute(query.order_by(PipelineRunRow.state))}  # noqa: C416 - rows, not pairs


def _open(session: Session, backfill_id: str) -> int:
    return session.scalar(select(func.count()).where(PipelineRunRow.parent == backfill_id, PipelineRunRow.state.in_(OPEN_RUNS))) or 0


def _succeeded(session: Session, row: BackfillRow) -> set[str]:
    """Return the items whose run succeeded."""
    query = select(PipelineRunRow.parameters).where(PipelineRunRow.parent == row.id, PipelineRunRow.state == RunState.SUCCEEDED)
    return {str(given[row.parameter]) for given in session.scalars(query)}


def _locked(tx: Transaction, backfill_id: str) -> BackfillRow:
    row = tx.session.get(BackfillRow, backfill_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise _missing(backfill_id)
    return row


def _missing(backfill_id: str) -> NotFound:
    return NotFound(f"There is no backfill '{backfill_id}'.", next_step="List them with: gateline pipeline backfill list")


def _too_many() -> InvalidInput:
    return InvalidInput(f"A backfill has at most {MAP_ITEMS_MAX:,} runs.", next_step="Take a shorter range, and another one after it.")
