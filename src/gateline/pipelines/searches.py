"""Searches: each trial's parameters are fixed once, in a record, before it is tried; what it reports and how it ends is kept with them.

A trial is an item of a mapped node: its lease, its attempts and its result are those of that step. Samplers run where the trial does; they
see the trials before it through `study`, and propose.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from gateline.kernel.errors import Conflict, InvalidInput, NotFound, TooLarge
from gateline.kernel.limits import TRIAL_VALUES_MAX
from gateline.pipelines import search_store as trials
from gateline.pipelines.model import Artifact, StepState
from gateline.pipelines.search_model import Comparison, Study, Trial, TrialState
from gateline.pipelines.search_rules import best_number, ending, shown_state
from gateline.pipelines.search_space import parameter_mistakes
from gateline.pipelines.search_store import TrialRow, TrialValueRow
from gateline.pipelines.store import AttemptRow, PlanRow, StepRunRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session

    from gateline.access import Principal
    from gateline.data import ObjectStore
    from gateline.ledger import Ledger, Transaction
    from gateline.pipelines.plan import PlanNode
    from gateline.pipelines.settling import Settling
    from gateline.pipelines.tasks import Held

_FAILURE_CHARACTERS_MAX = 4_000


class Searches:
    """The trials of searches as records.

    Args:
        ledger: Writes each change.
        settling: Knows the plans of runs.
    """

    def __init__(self, ledger: Ledger, settling: Settling) -> None:
        self._ledger = ledger
        self._settling = settling

    def study(self, run_id: str, node: str) -> Study:
        """Return a search of a run with its trials, those that the run reuses included.

        Raises:
            NotFound: the run has no such search, or no plan yet.
        """
        with self._ledger.records.read() as session:
            found = self._node(session, run_id, node)
            rows, items = trials.trials_of(session, run_id, node), trials.items_of_search(session, run_id, node)
            last = trials.last_values(session, rows.values())
            shown = tuple(_trial(item, rows.get(item.index), last) for item in items)
        definition = definition_of(found)
        best = best_number([{"number": one.number, "state": one.state, "value": one.value} for one in shown], definition["direction"])
        failures_max = found.search["failures_max"] if found.search else 0
        return Study(run_id=run_id, node=node, definition=definition, failures_max=failures_max, trials=shown, best=best)

    def ask(self, actor: Principal, held: Held, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Fix the parameters of a trial and return them. What was fixed before stays: an attempt after a crash tries the same again.

        Args:
            actor: Who asks.
            held: The attempt that is to try them; its index is the number of the trial.
            parameters: What the sampler proposes.

        Raises:
            InvalidInput: they are not in the space of the search.
            Conflict: the attempt is not under way.
        """
        with self._ledger.transaction(actor.name) as tx:
            _require_held(tx.session, held)
            space = definition_of(self._node(tx.session, held.run_id, held.node))["space"]
            row = _locked_trial(tx.session, held)
            if row is None:
                mistakes = parameter_mistakes(space, parameters)
                if mistakes:
                    raise InvalidInput(f"Trial {held.index} of search '{held.node}' cannot be tried: {'; '.join(mistakes)}.")
                step = tx.session.get_one(StepRunRow, (held.run_id, held.node, held.index))
                row = TrialRow(
                    run_id=held.run_id, node=held.node, number=held.index, key=step.key, parameters=dict(parameters), asked_at=tx.now
                )
                tx.session.add(row)
                facts = {"number": held.index, "parameters": row.parameters}
                tx.record("pipeline.trial.asked", f"{held.run_id}/{held.node}", facts)
            if held.attempt > row.attempt:
                trials.forget_values(tx.session, row)
            row.attempt, row.pending = held.attempt, 1
            return dict(row.parameters)

    def report(self, held: Held, values: Sequence[tuple[int, float]], compare: int | None = None) -> Comparison | None:
        """Keep values that a trial reported, by step, and return what to compare it with at one of the steps.

        Raises:
            TooLarge: it has reported at more than 10,000 steps.
            Conflict: the attempt is not under way, or has not asked.
        """
        with self._ledger.records.write() as session:
            _require_held(session, held)
            row = _locked_trial(session, held)
            if row is None:
                raise Conflict(f"Trial {held.index} of search '{held.node}' has no parameters yet.", next_step="Ask for them first.")
            now = self._ledger.clock.now()
            for step, value in values:
                kept = None if math.isnan(value) else value
                session.merge(
                    TrialValueRow(
                        run_id=held.run_id, node=held.node, number=held.index, step=step, value=kept, reported_at=now, shown=0
                    )
                )  # fmt: skip
            session.flush()
            if values and trials.reported(session, row) > TRIAL_VALUES_MAX:
                raise TooLarge(
                    f"Trial {held.index} of search '{held.node}' reports at more than {TRIAL_VALUES_MAX:,} steps.",
                    next_step="Report every tenth or hundredth.",
                )
            row.pending = 1
            if compare is None:
                return None
            completed, at_step = trials.values_at(session, held.run_id, held.node, compare)
            return Comparison(completed=completed, at_step=tuple(at_step))

    def _node(self, session: Session, run_id: str, node: str) -> PlanNode:
        if session.get(PlanRow, run_id) is None:
            raise NotFound(f"There is no drawn pipeline run '{run_id}'.", next_step="List runs with: gateline pipeline list")
        nodes = self._settling.drawn(session, run_id).nodes
        if node not in nodes or nodes[node].search is None:
            known = ", ".join(name for name, one in nodes.items() if one.search is not None) or "none"
            raise NotFound(f"Run {run_id} has no search '{node}'.", next_step=f"Its searches are: {known}.")
        return nodes[node]


def definition_of(node: PlanNode) -> dict[str, Any]:
    """Return the definition of the search of a node that is one."""
    argument = node.arguments[node.search["argument"]] if node.search else {}
    found: dict[str, Any] = argument["fields"]["search"]["value"]
    return found


def end_trial(tx: Transaction, step: StepRunRow, document: Any) -> None:
    """Write how a trial ended whose step has succeeded, in the transaction that says so."""
    row = tx.session.get(TrialRow, (step.run_id, step.node, step.index))
    if row is not None:
        row.state, row.value = ending(document)
        row.failure, row.ended_at, row.pending = "", tx.now, 1


def fail_trial(tx: Transaction, step: StepRunRow, node: PlanNode, objects: ObjectStore) -> bool:
    """Write that a trial failed whose step has. Returns whether the search goes on: the step has then succeeded with that as its result.

    What failed before the trial was asked for, such as a missing package, would fail every trial, and ends the search.
    """
    row = tx.session.get(TrialRow, (step.run_id, step.node, step.index))
    if row is None or row.attempt < step.attempts or node.search is None:
        return False
    row.state, row.failure = TrialState.FAILED, step.failure[:_FAILURE_CHARACTERS_MAX]
    row.ended_at, row.pending = tx.now, 1
    tx.session.flush()
    if trials.failed_trials(tx.session, step.run_id, step.node) > node.search["failures_max"]:
        return False
    document = {"number": row.number, "state": row.state, "value": None, "parameters": row.parameters, "failure": row.failure}
    stored = objects.put_bytes(json.dumps(document).encode())
    artifact = Artifact(kind="json", sha256=stored.sha256, size_bytes=stored.size_bytes)
    step.state, step.failure, step.artifacts = StepState.SUCCEEDED, "", [artifact.as_dict()]
    step.key = ""  # so that a later run tries it again
    return True


def _trial(item: StepRunRow, row: TrialRow | None, last: Mapping[tuple[str, str, int], TrialValueRow]) -> Trial:
    """Return a trial as its step and its record tell it."""
    if row is None:
        state = shown_state(TrialState.FAILED, StepState(item.state))
        return Trial(
            number=item.index, state=state, parameters={}, value=None, last_step=None, failure=item.failure, attempt=0, asked_at=None,
            ended_at=None, reused_from=item.reused_from, mlflow_run_id="",
        )  # fmt: skip
    state, newest = shown_state(TrialState(row.state), StepState(item.state)), last.get((row.run_id, row.node, row.number))
    return Trial(
        number=item.index, state=state, parameters=row.parameters, value=row.value, last_step=newest.step if newest else None,
        failure=row.failure or item.failure, attempt=row.attempt, asked_at=row.asked_at, ended_at=row.ended_at,
        reused_from=item.reused_from, mlflow_run_id="" if row.mlflow_run_id == trials.MAKING else row.mlflow_run_id,
    )  # fmt: skip


def _locked_trial(session: Session, held: Held) -> TrialRow | None:
    """Return a trial's row, locked before its values are, as all do that write both."""
    return session.get(TrialRow, (held.run_id, held.node, held.index), with_for_update=True)


def _require_held(session: Session, held: Held) -> None:
    """Refuse an attempt that is over, or that another has followed."""
    place = (held.run_id, held.node, held.index)
    row = session.get(AttemptRow, (*place, held.attempt), with_for_update=True, populate_existing=True)
    later = select(AttemptRow.attempt).where(
        AttemptRow.run_id == held.run_id, AttemptRow.node == held.node, AttemptRow.index == held.index, AttemptRow.attempt > held.attempt
    )
    if row is None or row.ended_at is not None or session.scalar(later.limit(1)) is not None:
        raise Conflict(
            f"Attempt {held.attempt} at trial {held.index} of search '{held.node}' of run {held.run_id} is not under way.",
            next_step="The trial was taken over; stop working on it.",
        )
