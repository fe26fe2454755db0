"""Trials of a search, and the search as a whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from gateline.kernel.canonical import number


class TrialState(StrEnum):
    """Where a trial stands. `pruned` is an outcome like `complete`: the trial was seen to be hopeless, and stopped early."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    CANCELLED = "cancelled"


TRIED = (TrialState.COMPLETE, TrialState.PRUNED)
"""The states of trials that a sampler learns from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial of a search.

    Attributes:
        number: Which one, from 0; also its index among the items of the node.
        parameters: What it is tried with, fixed when it was asked for; empty before.
        value: What the objective returned; of a pruned trial, the value that it reported last.
        last_step: The last step that it reported a value for.
        failure: Why it failed.
        attempt: The attempt that took it up last; 0 before any.
        reused_from: The run that made it, when that was another.
        mlflow_run_id: The MLflow run that shows it, or empty.
    """

    number: int
    state: TrialState
    parameters: dict[str, Any]
    value: float | None
    last_step: int | None
    failure: str
    attempt: int
    asked_at: int | None
    ended_at: int | None
    reused_from: str
    mlflow_run_id: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; a value that JSON has no number for is text."""
        return {**asdict(self), "value": None if self.value is None else number(self.value)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A search as it stands.

    Attributes:
        definition: What is searched and how, as `search_space` describes.
        failures_max: How many trials may fail before the search does.
        trials: Every trial that is planned, by number.
        best: Number of the best complete trial; None before there is one.
    """

    run_id: str
    node: str
    definition: dict[str, Any]
    failures_max: int
    trials: tuple[Trial, ...]
    best: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        shallow = {name: getattr(self, name) for name in self.__slots__}
        return {**shallow, "trials": [trial.as_dict() for trial in self.trials]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a pruner compares a trial with.

    Attributes:
        completed: How many trials are complete.
        at_step: The values that these reported at the step in question.
    """

    completed: int
    at_step: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"completed": self.completed, "at_step": [number(value) for value in self.at_step]}
