"""One trial of a search, as the objective sees it, and where its parameters come from: the records of a run, or this process."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from gateline.kernel.errors import InvalidInput, Pruned, StepFailed
from gateline.kernel.limits import TRIAL_VALUES_MAX
from gateline.pipelines import Comparison, TrialState
from gateline.sdk.sampling import is_hopeless, propose

if TYPE_CHECKING:
    from gateline.sdk.client import Client

_SEND_SECONDS = 1.0
_SENT_AT_ONCE = 1_000
_STEP_MAX = 2**31 - 1


class Study(Protocol):
    """What a trial needs of the search that it belongs to."""

    def ask(self, number: int, definition: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a trial; the same however often they are asked for."""
        ...

    def report(self, number: int, values: Mapping[int, float], compare: int | None) -> Comparison | None:
        """Keep values by step, and return what to compare with at one of them."""
        ...


class Trial:
    """The trial that an objective is called for.

    Outside of a search, such as in a test, make one of parameters: `tune(Trial({"rate": 0.1}), rows)`; it is never pruned.

    Args:
        parameters: What is tried.
        number: Which trial of the search, from 0.
        definition: The definition of the search.
        study: The search; None for none.

    Attributes:
        parameters: What is tried, by name; `trial["rate"]` is short for one of them.
        number: Which trial of the search, from 0.
    """

    def __init__(
        self, parameters: Mapping[str, Any], *, number: int = 0, definition: Mapping[str, Any] | None = None, study: Study | None = None
    ) -> None:
        self.parameters = dict(parameters)
        self.number = number
        self._definition = definition
        self._study = study
        self._values: dict[int, float] = {}
        self._unsent: dict[int, float] = {}
        self._send_at = 0.0

    def __getitem__(self, name: str) -> Any:
        """Return a parameter.

        Raises:
            InvalidInput: the space of the search has none of that name.
        """
        if name not in self.parameters:
            known = ", ".join(sorted(self.parameters))
            raise InvalidInput(f"The search has no parameter {name!r:.100}.", next_step=f"Its space has: {known}.")
        return self.parameters[name]

    @property
    def last_value(self) -> float | None:
        """What was reported at the greatest step; None when that was nothing or no finite number."""
        value = self._values[max(self._values)] if self._values else math.nan
        return value if math.isfinite(value) else None

    def report(self, value: float, step: int) -> None:
        """Report a value of the objective before the end, such as the loss after a round.

        A step that was reported before keeps its new value. Values are sent at most once a second, with `should_prune`, and all of them
        when the objective returns.

        Raises:
            InvalidInput: the value is no number, the step no whole number from 0, or there are more than 10,000 steps.
        """
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"Trial {self.number} reports a {type(value).__name__}, not a number.") from error
        if type(step) is not int or not 0 <= step <= _STEP_MAX:
            raise InvalidInput(f"Trial {self.number} reports at step {step!r:.80}, not a whole number from 0.")
        if step not in self._values and len(self._values) >= TRIAL_VALUES_MAX:
            raise InvalidInput(f"Trial {self.number} reports at more than {TRIAL_VALUES_MAX:,} steps.", next_step="Report every tenth.")
        self._values[step] = self._unsent[step] = number
        if time.monotonic() >= self._send_at:
            self.flush()

    def should_prune(self) -> bool:
        """Return whether the trial is hopeless beside those that are complete, by what it reported; then raise `Pruned`."""
        if self._study is None or self._definition is None or self._definition["pruner"] is None or not self._values:
            return False
        step = max(self._values)
        compared = self._send(step)
        if compared is None:
            return False
        return is_hopeless(self._definition, self._values, step, completed=compared.completed, at_step=compared.at_step)

    def flush(self) -> None:
        """Send what was reported."""
        self._send(None)

    def _send(self, compare: int | None) -> Comparison | None:
        found, unsent = None, list(self._unsent.items())
        self._send_at = time.monotonic() + _SEND_SECONDS
        if self._study is not None and (unsent or compare is not None):
            pieces = [dict(unsent[start : start + _SENT_AT_ONCE]) for start in range(0, len(unsent), _SENT_AT_ONCE)] or [{}]
            for piece in pieces:
                found = self._study.report(self.number, piece, compare if piece is pieces[-1] else None)
        self._unsent.clear()
        return found


def try_out(objective: Callable[..., Any], arguments: Mapping[str, Any], name: str, study: Study) -> dict[str, Any]:
    """Carry out one trial and return its result: `number`, `state`, `value` and `parameters`.

    Args:
        objective: Called with a `Trial` and the other arguments; returns a number, or raises `Pruned` (or Optuna's own exception for it).
        arguments: Its arguments; that of the name below is `{"number": …, "search": definition}`.
        name: Name of the parameter that takes the trial.
        study: The search.

    Raises:
        StepFailed: the objective returned no finite number. What it raises comes through as it is.
    """
    number, definition = arguments[name]["number"], arguments[name]["search"]
    trial = Trial(study.ask(number, definition), number=number, definition=definition, study=study)
    found: dict[str, Any] = {"number": number, "parameters": trial.parameters}
    try:
        value = objective(**{**arguments, name: trial})
    except _pruning():
        trial.flush()
        return {**found, "state": TrialState.PRUNED.value, "value": trial.last_value}
    trial.flush()
    return {**found, "state": TrialState.COMPLETE.value, "value": _objective_value(value, number, trial.parameters)}


def _pruning() -> tuple[type[Exception], ...]:
    """Return the exceptions that say that a trial is pruned: ours, and Optuna's where it is loaded."""
    optuna = sys.modules.get("optuna")
    return (Pruned,) if optuna is None else (Pruned, optuna.TrialPruned)


def _objective_value(value: Any, number: int, parameters: Mapping[str, Any]) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
        told = f"a {type(value).__name__}"
    else:
        told = str(found)
    if isinstance(value, str | bytes | bool) or not math.isfinite(found):
        told = f"a {type(value).__name__}" if isinstance(value, str | bytes | bool) else told
        raise StepFailed(
            f"The objective of trial {number} returned {told}, not a finite number, for {dict(parameters)}.",
            next_step="Return a number, raise Pruned for a trial that is not worth going on, or allow trials to fail with failures=.",
        )
    return found


@dataclass(slots=True, kw_only=True)
class RecordedStudy:
    """A search of a recorded run.

    Attributes:
        client: Of the server that has the records.
        run_id: The run.
        node: The search.
        attempt: Which attempt at the trial this is.
    """

    client: Client
    run_id: str
    node: str
    attempt: int

    def ask(self, number: int, definition: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the records have for the trial, or else fix there what the sampler proposes."""
        place = f"/pipeline-runs/{self.run_id}/searches/{self.node}"
        trials = self.client.get(place)["trials"]
        fixed: dict[str, Any] = next((one["parameters"] for one in trials if one["number"] == number), {})
        parameters = fixed or propose(definition, number, trials)
        asked = self.client.post(f"{place}/trials/{number}/ask", json={"attempt": self.attempt, "parameters": parameters})
        found: dict[str, Any] = asked["parameters"]
        return found

    def report(self, number: int, values: Mapping[int, float], compare: int | None) -> Comparison | None:
        """Send values to the records."""
        told = [[step, value if math.isfinite(value) else str(value)] for step, value in values.items()]
        body = {"attempt": self.attempt, "values": told, "compare": compare}
        answer = self.client.post(f"/pipeline-runs/{self.run_id}/searches/{self.node}/trials/{number}/report", json=body)
        if answer["compare"] is None:
            return None
        return Comparison(completed=answer["compare"]["completed"], at_step=tuple(map(float, answer["compare"]["at_step"])))


@dataclass(slots=True, kw_only=True)
class LocalStudy:
    """A search in this process, without records.

    Attributes:
        failures_max: How many trials may fail before the search does.
    """

    failures_max: int = 0
    _trials: dict[int, dict[str, Any]] = field(default_factory=dict)
    _values: dict[int, dict[int, float]] = field(default_factory=dict)

    def ask(self, number: int, definition: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the sampler proposes after the trials so far."""
        parameters = propose(definition, number, list(self._trials.values()))
        self._trials[number] = {
            "number": number, "state": TrialState.RUNNING, "parameters": parameters, "value": None, "last_step": None,
        }  # fmt: skip
        self._values[number] = {}
        return parameters

    def report(self, number: int, values: Mapping[int, float], compare: int | None) -> Comparison | None:
        """Keep values until the search is over."""
        self._values[number].update(values)
        if compare is None:
            return None
        complete = [one["number"] for one in self._trials.values() if one["state"] == TrialState.COMPLETE]
        at_step = [self._values[one][compare] for one in complete if compare in self._values[one]]
        return Comparison(completed=len(complete), at_step=tuple(at_step))

    def carry_out(self, objective: Callable[..., Any], arguments: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Carry out one trial; as many may fail as the search allows, and what one more raises comes through."""
        number = arguments[name]["number"]
        try:
            found = try_out(objective, arguments, name, self)
        except Exception as error:  # the boundary to the user's code
            failed = sum(1 for one in self._trials.values() if one["state"] == TrialState.FAILED)
            if number not in self._trials or failed >= self.failures_max:
                raise
            told = f"{type(error).__name__}: {error}"
            found = {**self._trials[number], "state": TrialState.FAILED.value, "value": None, "failure": told}
        values = self._values[number]
        self._trials[number] |= {"state": TrialState(found["state"]), "value": found["value"], "last_step": max(values, default=None)}
        return found
