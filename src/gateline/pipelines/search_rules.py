"""Pure decisions about searches: which trial is best, where a trial stands, and what is wrong with a search in a plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateline.kernel.limits import SEARCH_TRIALS_MAX
from gateline.pipelines.model import StepState
from gateline.pipelines.search_model import TRIED, TrialState
from gateline.pipelines.search_space import definition_mistakes

if TYPE_CHECKING:
    from collections.abc import Iterable


def best_number(trials: Iterable[Mapping[str, Any]], direction: str) -> int | None:
    """Return the number of the best complete trial, of equals the first; None when none is complete.

    >>> tried = [{"number": n, "state": "complete", "value": value} for n, value in enumerate([0.3, 0.1, 0.1])]
    >>> best_number(tried, "minimize"), best_number(tried, "maximize")
    (1, 0)
    """
    sign = 1 if direction == "minimize" else -1
    ranked = [(sign * one["value"], one["number"]) for one in trials if one["state"] == TrialState.COMPLETE]
    return min(ranked)[1] if ranked else None


def shown_state(recorded: TrialState, step: StepState) -> TrialState:
    """Return where a trial stands, by its own record and by the step that carries it out."""
    if step is StepState.SUCCEEDED:
        return recorded
    states = {StepState.RUNNING: TrialState.RUNNING, StepState.FAILED: TrialState.FAILED, StepState.CANCELLED: TrialState.CANCELLED}
    return states.get(step, TrialState.WAITING)


def ending(document: Any) -> tuple[TrialState, float | None]:
    """Return state and value that the result of a trial tells; what is no such result counts as failed.

    >>> ending({"state": "complete", "value": 0.5})
    (<TrialState.COMPLETE: 'complete'>, 0.5)
    """
    state, value = (document.get("state"), document.get("value")) if isinstance(document, Mapping) else (None, None)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        if state in TRIED:
            return TrialState(state), float(value)
    elif state == TrialState.PRUNED and value is None:
        return TrialState.PRUNED, None
    return TrialState.FAILED, None


def search_mistakes(node: Mapping[str, Any], what: str) -> list[str]:
    """Return what is wrong with the search of a node of a plan that is one, one part of a sentence each.

    Its `search` has the argument that holds the trial, and how many trials may fail. That argument is made of the trial's number, an item
    of the only list that the node is mapped over, and of the definition.
    """
    search, over, arguments = node["search"], node.get("over"), node["arguments"]
    if not isinstance(search, dict) or search.keys() != {"argument", "failures_max"}:
        return [f"the search of {what} has not exactly argument and failures_max"]
    failures = search["failures_max"]
    if isinstance(failures, bool) or not isinstance(failures, int) or not 0 <= failures <= SEARCH_TRIALS_MAX:
        return [f"failures_max of the search of {what} is {failures!r:.80}, not a whole number from 0 to {SEARCH_TRIALS_MAX:,}"]
    if not isinstance(over, dict) or len(over) != 1 or not isinstance(arguments, dict):
        return [f"{what} is a search and is not mapped over its trials"]
    name, numbers = next(iter(over.items()))
    values = numbers.get("value") if isinstance(numbers, dict) else None
    if (
        not isinstance(values, list)
        or not values
        or [type(one) for one in values] != [int] * len(values)
        or values != [*range(len(values))]
    ):
        return [f"the trials of {what} are not numbered from 0"]
    if len(values) > SEARCH_TRIALS_MAX:
        return [f"{what} has {len(values):,} trials; {SEARCH_TRIALS_MAX:,} are allowed"]
    found = arguments.get(search["argument"]) if isinstance(search["argument"], str) else None
    fields = found.get("fields") if isinstance(found, dict) else None
    if not isinstance(fields, dict) or fields.keys() != {"number", "search"} or fields["number"] != {"item": name}:
        return [f"the search of {what} has no argument that holds its trials"]
    definition = fields["search"].get("value") if isinstance(fields["search"], dict) else None
    return [f"the search of {what}: {mistake}" for mistake in definition_mistakes(definition)]
