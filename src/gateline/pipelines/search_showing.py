"""Shows trials outside, in MLflow: each as a run of its own, nested under one for the whole pipeline run.

The records are the truth; what is shown can lag behind, and is made whole by the next pass. A pass that dies between making a run outside
and writing its id down is noticed by a mark, and the run is then looked for instead of made twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from sqlalchemy import update

from gateline.kernel.canonical import canonical_bytes
from gateline.kernel.errors import Conflict, InvalidInput, NotFound
from gateline.kernel.passes import step_each
from gateline.kernel.run_names import TRIAL_FAILURE_TAG, TRIAL_STATE_TAG, TRIAL_TAG, WHOLE_RUN_TAG
from gateline.pipelines import search_store as trials
from gateline.pipelines.model import OPEN_RUNS, RunState, StepState
from gateline.pipelines.search_model import TrialState
from gateline.pipelines.search_rules import shown_state
from gateline.pipelines.search_store import MAKING, TrialRow, TrialValueRow
from gateline.pipelines.store import PipelineRunRow, StepRunRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateline.kernel.records import Records

_AT_ONCE = 20
_TEXT_MAX = 6_000
_STATUS = {
    TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "FINISHED", TrialState.FAILED: "FAILED", TrialState.CANCELLED: "KILLED",
}  # fmt: skip
_RUN_STATUS = {RunState.SUCCEEDED: "FINISHED", RunState.FAILED: "FAILED", RunState.CANCELLED: "KILLED"}
_log = structlog.get_logger(__name__)


class RunsOutside(Protocol):
    """Where trials are shown."""

    def ready(self) -> bool:
        """Return whether anything can be shown now."""
        ...

    def find(self, experiment: str, tag: str, value: str) -> str:
        """Return the id of the run with that tag, or nothing."""
        ...

    def make(self, experiment: str, name: str, *, tags: Mapping[str, str], params: Mapping[str, str], started_at: int, parent: str) -> str:
        """Make a run and return its id."""
        ...

    def log(self, run_id: str, values: Sequence[tuple[str, float, int, int]]) -> None:
        """Log metrics: name, value, microseconds since 1970, step."""
        ...

    def alive(self, run_ids: Sequence[str]) -> None:
        """Say that runs are under way."""
        ...

    def end(self, run_id: str, status: str, ended_at: int, tags: Mapping[str, str]) -> None:
        """End a run."""
        ...


@dataclass(frozen=True, slots=True)
class _Shown:
    """What of a trial is to be shown, as it was read."""

    run: PipelineRunRow
    row: TrialRow
    state: TrialState
    values: list[TrialValueRow]


class Showing:
    """Shows trials.

    Args:
        records: The records.
        outside: Where they are shown.
    """

    def __init__(self, records: Records, outside: RunsOutside) -> None:
        self._records = records
        self._outside = outside

    def reconcile(self) -> int:
        """Show what has changed, of at most twenty trials; returns how many. Nothing happens while MLflow is not ready."""
        if not self._outside.ready():
            return 0
        with self._records.read() as session:
            found = {
                f"{row.run_id}/{row.node}/{row.number}": (row.run_id, row.node, row.number)
                for row in trials.pending_trials(session, _AT_ONCE)
            }
        return step_each(found, self._show, what="showing a trial")

    def run_finished(self, event: dict[str, Any]) -> None:
        """Close what is shown of a run that is over."""
        with self._records.write() as session:
            mine = (TrialRow.run_id == event["run_id"], TrialRow.state == TrialState.RUNNING)
            session.execute(update(TrialRow).where(*mine).values(pending=1))
            run = session.get(PipelineRunRow, event["run_id"])
        if run is not None and run.mlflow_run_id:
            self._close(run)

    def _show(self, place: tuple[str, str, int]) -> int:
        facts = self._read(place)
        try:
            self._show_outside(facts)
        except (InvalidInput, NotFound, Conflict) as error:  # somebody deleted or froze the run there; the records do not suffer
            _log.warning("trial.not_shown", run_id=place[0], node=place[1], trial=place[2], failure=str(error))
        self._note(place, facts)
        return 1

    def _read(self, place: tuple[str, str, int]) -> _Shown:
        with self._records.read() as session:
            row, run = session.get_one(TrialRow, place), session.get_one(PipelineRunRow, place[0])
            step = session.get_one(StepRunRow, place)
            state = shown_state(TrialState(row.state), StepState(step.state))
            return _Shown(run=run, row=row, state=state, values=trials.values_to_show(session, row))

    def _show_outside(self, facts: _Shown) -> None:
        row, run = facts.row, facts.run
        looking = row.mlflow_run_id == MAKING
        if not row.mlflow_run_id:
            self._write(row, MAKING)
        parent = run.mlflow_run_id or self._make_parent(run, looking=looking)
        if row.mlflow_run_id in {"", MAKING}:
            row.mlflow_run_id = self._make(run, row, parent, looking=looking)
            self._write(row, row.mlflow_run_id)
        values = [("reported", _number(one.value), one.reported_at, one.step) for one in facts.values]
        if row.value is not None and facts.state is TrialState.COMPLETE:
            values.append(("objective", row.value, row.ended_at or row.asked_at, 0))
        self._outside.log(row.mlflow_run_id, values)
        if facts.state in _STATUS:
            tags = {TRIAL_STATE_TAG: facts.state.value} | ({TRIAL_FAILURE_TAG: row.failure[:_TEXT_MAX]} if row.failure else {})
            self._outside.end(row.mlflow_run_id, _STATUS[facts.state], row.ended_at or run.ended_at or row.asked_at, tags)
        else:
            self._outside.alive([parent, row.mlflow_run_id])

    def _make_parent(self, run: PipelineRunRow, *, looking: bool) -> str:
        """Return the run outside that stands for the pipeline run."""
        found = self._outside.find(run.pipeline, WHOLE_RUN_TAG, run.id) if looking else ""
        if not found:
            params = {name: _text(value) for name, value in run.parameters.items()}
            started = run.started_at or run.requested_at
            tags = {WHOLE_RUN_TAG: run.id}
            found = self._outside.make(run.pipeline, run.id, tags=tags, params=params, started_at=started, parent="")
        with self._records.write() as session:
            row = session.get_one(PipelineRunRow, run.id, with_for_update=True)
            row.mlflow_run_id = run.mlflow_run_id = found
        if row.state not in OPEN_RUNS:
            self._close(row)
        return found

    def _make(self, run: PipelineRunRow, row: TrialRow, parent: str, *, looking: bool) -> str:
        """Return the run outside that stands for a trial."""
        identity = f"{row.run_id}/{row.node}/{row.number}"
        found = self._outside.find(run.pipeline, TRIAL_TAG, identity) if looking else ""
        params = {name: _text(value) for name, value in row.parameters.items()}
        tags, name = {TRIAL_TAG: identity}, f"{row.node}[{row.number}]"
        return found or self._outside.make(run.pipeline, name, tags=tags, params=params, started_at=row.asked_at, parent=parent)

    def _write(self, row: TrialRow, mlflow_run_id: str) -> None:
        with self._records.write() as session:
            session.get_one(TrialRow, (row.run_id, row.node, row.number)).mlflow_run_id = mlflow_run_id

    def _note(self, place: tuple[str, str, int], facts: _Shown) -> None:
        """Remember what was shown; what has changed meanwhile stays to be shown."""
        with self._records.write() as session:
            row = session.get_one(TrialRow, place, with_for_update=True)
            for value in facts.values:
                now = session.get(TrialValueRow, (*place, value.step))
                if now is not None and (now.value, now.reported_at) == (value.value, value.reported_at):
                    now.shown = 1
            session.flush()
            state = shown_state(TrialState(row.state), StepState(session.get_one(StepRunRow, place).state))
            if state is facts.state and not trials.values_to_show(session, row):
                row.pending = 0

    def _close(self, run: PipelineRunRow) -> None:
        status = _RUN_STATUS.get(RunState(run.state))
        if status is not None:
            self._outside.end(run.mlflow_run_id, status, run.ended_at or run.requested_at, {})


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else canonical_bytes(value).decode()
    return text[:_TEXT_MAX]
