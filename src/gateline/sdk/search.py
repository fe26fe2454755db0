"""Hyper-parameter search: a step that is tried with many parameters, and the best of them.

    @search(direction="minimize", sampler="tpe", pruner="median", seed=7)
    def tune(trial: Trial, rows: pl.DataFrame) -> float: ...

    @pipeline
    def train():
        split = divide(prepare())
        space = {"rate": log_uniform(0.01, 0.3), "leaves": integers(8, 64)}
        best = tune.search(rows=split["train"], space=space, trials=40, max_parallel=2)
        return fit(split["train"], best)

Each trial is a step of its own, with its attempts, its log and its result. What comes out is that of the best trial:
`{"number": 7, "value": 0.12, "parameters": {"rate": 0.05, "leaves": 31}}`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from gateline.kernel.errors import InvalidInput, StepFailed
from gateline.kernel.limits import SEARCH_TRIALS_MAX
from gateline.pipelines import ArtifactKind, PlanNode, StepOutput, best_number, check_definition, plain_value
from gateline.sdk.drawing import Node, drawing
from gateline.sdk.pipeline import Step
from gateline.sdk.results import Each, Result
from gateline.sdk.sampling import importances
from gateline.sdk.trials import LocalStudy

if TYPE_CHECKING:
    from gateline.sdk.drawing import Graph

_TRIAL = "trial"
_RESERVED = ("space", "trials", "failures")
_RESULT = (StepOutput(name="result", kind=ArtifactKind.JSON),)


def uniform(low: float, high: float) -> dict[str, Any]:
    """Return a space of the numbers from `low` to `high`, both included."""
    return {"kind": "float", "low": low, "high": high, "log": False}


def log_uniform(low: float, high: float) -> dict[str, Any]:
    """Return a space of the numbers from `low`, above 0, to `high`, searched on a logarithmic scale."""
    return {"kind": "float", "low": low, "high": high, "log": True}


def integers(low: int, high: int, *, step: int = 1, log: bool = False) -> dict[str, Any]:
    """Return a space of the whole numbers from `low` to at most `high`, `step` apart; `log` for a logarithmic scale."""
    return {"kind": "integer", "low": low, "high": high, "log": log, "step": step}


def choices(*values: Any) -> dict[str, Any]:
    """Return a space of these JSON values, all different: text, numbers, lists, dictionaries, None."""
    return {"kind": "choice", "choices": list(values)}


def tpe(*, startup_trials: int = 10) -> dict[str, Any]:
    """Return the sampler that learns from earlier trials (tree-structured Parzen estimator); the first ones are random."""
    return {"kind": "tpe", "startup_trials": startup_trials}


def median(*, startup_trials: int = 5, warmup_steps: int = 0, interval_steps: int = 1) -> dict[str, Any]:
    """Return the pruner that stops a trial whose best value so far is worse than the median of complete trials at the same step.

    Args:
        startup_trials: No trial is stopped before so many are complete.
        warmup_steps: No trial is stopped before this step.
        interval_steps: It looks once in so many steps.
    """
    return {"kind": "median", "startup_trials": startup_trials, "warmup_steps": warmup_steps, "interval_steps": interval_steps}


_NAMED: dict[str, Callable[[], dict[str, Any] | None]] = {
    "tpe": tpe, "random": lambda: {"kind": "random"}, "median": median, "none": lambda: None,
}  # fmt: skip


class Search(Step[..., float]):
    """A step that returns the objective of one trial, and is searched for its best parameters.

    Attributes:
        definition: Direction, sampler, pruner and seed; the space comes with each search.
        best: The step that names the best trial.

    Raises:
        InvalidInput: the function takes no `trial`, or has a parameter of a reserved name.
    """

    def __init__(
        self, function: Callable[..., Any], *, direction: str = "minimize", sampler: Any = "tpe", pruner: Any = None, **options: Any
    ) -> None:
        super().__init__(function, **options)
        if _TRIAL not in self.signature.parameters:
            raise InvalidInput(f"Search '{self.name}' has no parameter '{_TRIAL}'.", next_step="Write: def tune(trial: Trial, …) -> float")
        taken = [name for name in _RESERVED if name in self.signature.parameters]
        if taken:
            raise InvalidInput(
                f"Search '{self.name}' has a parameter '{taken[0]}', a word that .search takes itself.", next_step="Rename it."
            )
        self.definition: dict[str, Any] = {
            "direction": direction, "sampler": _named(sampler), "pruner": _named(pruner), "seed": self.options.seed or 0,
        }  # fmt: skip
        check_definition({**self.definition, "space": {"any": uniform(0, 1)}}, f"search '{self.name}'")
        self.best: Step[..., Any] = Step(best_of, executor=self.options.executor, env=self.options.env)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function with a trial of your own; within a pipeline, `search` is called instead."""
        if drawing.get() is not None:
            raise InvalidInput(
                f"Search '{self.name}' is called like a step.", next_step=f"Write {self.variable}.search(space=…, trials=…)."
            )
        return super().__call__(*args, **kwargs)

    def map(self, **_: Any) -> Any:
        """Refuse: a search makes its own items."""
        raise InvalidInput(f"Search '{self.name}' is mapped.", next_step=f"Write {self.variable}.search(space=…, trials=…).")

    def search(
        self, *, space: Any, trials: int, max_parallel: int | None = 1, failures: int = 0, when: Any = None, **arguments: Any
    ) -> Any:
        """Try the function `trials` times, and return the best trial: its `number`, `value` and `parameters`.

        Trials run one after the other unless `max_parallel` says more; each then knows less of the others, and which parameters are tried
        depends on what ends first. More trials later go on where fewer ended.

        Args:
            space: For each parameter, by name, where its values come from: `uniform`, `log_uniform`, `integers` or `choices`.
            trials: How many, at most 1,000.
            max_parallel: How many may run at once; None for no limit of its own.
            failures: How many trials may fail, after their retries, before the search does.
            when: The result of a step that returns true or false: where it is false there is no search, and nothing that depends on it.
            arguments: What the function takes besides the trial.

        Raises:
            InvalidInput: the space is empty or unsound, a number is out of range, or the arguments do not fit the function.
            StepFailed: no trial was completed; in a plain call.
        """
        what = f"search '{self.name}'"
        if any(isinstance(one, Each) for one in arguments.values()) or type(space) is Result:
            raise InvalidInput(f"The space and the arguments of {what} are the same for all trials.", next_step="Give values, not each(…).")
        definition = plain_value({**self.definition, "space": space}, f"definition of {what}")
        check_definition(definition, what)
        _check_counts(what, trials=trials, max_parallel=max_parallel, failures=failures)
        bound = self._bound((), {**arguments, _TRIAL: None})
        del bound[_TRIAL]
        graph = drawing.get()
        if graph is not None:
            return self._draw(graph, bound, definition, trials=trials, max_parallel=max_parallel, failures=failures, when=when)
        if when is False:
            return None
        study = LocalStudy(failures_max=failures)
        tried = [
            study.carry_out(self.function, {**bound, _TRIAL: {"number": number, "search": definition}}, _TRIAL) for number in range(trials)
        ]
        return _best(tried, definition)

    def _draw(
        self, graph: Graph, bound: dict[str, Any], definition: dict[str, Any], *, trials: int, max_parallel: int | None, failures: int,
        when: Any,
    ) -> Result:  # fmt: skip
        """Add the node whose items are the trials, and the node that names the best."""
        drawn = self._add(
            graph, {**bound, _TRIAL: Each(list(range(trials)))}, over={_TRIAL: list(range(trials))}, max_parallel=max_parallel, when=when
        )
        node = graph.nodes[-1]
        arguments = {**node.plan.arguments, _TRIAL: {"fields": {"number": {"item": _TRIAL}, "search": {"value": definition}}}}
        plan = replace(node.plan, arguments=arguments, search={"argument": _TRIAL, "failures_max": failures}, outputs=_RESULT)
        graph.nodes[-1] = replace(node, plan=plan, study=lambda: LocalStudy(failures_max=failures))
        best = PlanNode(
            name=graph.free_name(f"{plan.name}-best"), step=f"{self.name}-best", reference=f"{plan.reference}.best",
            arguments={"trials": graph.reference(drawn, f"trials of search '{self.name}'"), "search": {"value": definition}},
            options=self.best.options, outputs=_BEST,
        )  # fmt: skip
        found = graph.add(Node(plan=best, function=best_of, local=node.local))
        return found["best"]


def search(
    *, direction: str = "minimize", sampler: Any = "tpe", pruner: Any = None, seed: int | None = None, **options: Any
) -> Callable[[Callable[..., Any]], Search]:
    """Make a function that returns a number for a trial one that is searched for its best parameters: `@search(pruner="median")`.

    Args:
        direction: `minimize` or `maximize`.
        sampler: Which parameters are tried: `tpe`, which learns from earlier trials, or `random`; or `tpe(startup_trials=20)`.
        pruner: When a trial that reports is stopped early: `median`, or `median(warmup_steps=10)`; None for never.
        seed: What the sampler, and in each trial the generators of Python and numpy, draw from.
        options: As `@step` has them; they hold for each trial.

    Raises:
        InvalidInput: an option is not allowed, or the function cannot be searched; the message says why.
    """
    return lambda function: Search(function, direction=direction, sampler=sampler, pruner=pruner, seed=seed, **options)


def best_of(
    trials: list[dict[str, Any]], search: dict[str, Any]
) -> tuple[Annotated[dict[str, Any], "best"], Annotated[dict[str, Any], "study"]]:
    """Return the best trial of a search, and the search as a whole.

    Raises:
        StepFailed: no trial was completed.
    """
    best = _best(trials, search)
    return best, {"best": best, "importances": importances(search, trials), "trials": trials, "search": search}


def _best(trials: list[dict[str, Any]], definition: dict[str, Any]) -> dict[str, Any]:
    """Return the best trial of a search; raises StepFailed when none was completed."""
    number = best_number(trials, definition["direction"])
    if number is None:
        states = ", ".join(sorted({f"{one['state']}" for one in trials}))
        raise StepFailed(f"None of the {len(trials)} trials of the search was completed: {states}.", next_step="Look at their logs.")
    found = next(one for one in trials if one["number"] == number)
    return {"number": number, "value": found["value"], "parameters": found["parameters"]}


_BEST = (StepOutput(name="best", kind=ArtifactKind.JSON), StepOutput(name="study", kind=ArtifactKind.JSON))


def _named(given: Any) -> Any:
    """Return what a name stands for; what is no name is left as it is, to be checked."""
    known = "none" if given is None else given
    return _NAMED[known]() if isinstance(known, str) and known in _NAMED else given


def _check_counts(what: str, *, trials: Any, max_parallel: Any, failures: Any) -> None:
    """Refuse numbers out of range; all are named."""
    ranges = {"trials": (trials, 1), "max_parallel": (max_parallel, 1), "failures": (failures, 0)}
    wrong = [
        f"{name} is {value!r:.80}, not a whole number from {least} to {SEARCH_TRIALS_MAX:,}"
        for name, (value, least) in ranges.items()
        if not (name == "max_parallel" and value is None)
        and (isinstance(value, bool) or not isinstance(value, int) or not least <= value <= SEARCH_TRIALS_MAX)
    ]
    if wrong:
        raise InvalidInput(f"The {what} cannot begin: {'; '.join(wrong)}.")
