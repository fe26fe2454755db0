"""Pipelines as plain Python: typed step functions and a function that connects them.

    @step(retries=2, memory="2GiB")
    def fit(rows: pl.DataFrame, rate: float = 0.1) -> Annotated[Path, "booster"]: ...

    @pipeline
    def train(rounds: int = 200):
        rows = prepare()
        trials = fit.map(rows=rows, rate=each([0.1, 0.2]), max_parallel=2)
        best = pick(trials)
        return release(best, when=good_enough(best))

Calling a step outside a pipeline is an ordinary call. Inside a function marked `@pipeline` it adds a node to an explicit graph, so each
engine can run the same definition; results are not known there, and Python that branches on them is refused. `when=` and `.map` are the
only control flow.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from gateline.kernel.errors import InvalidInput
from gateline.kernel.names import valid_name
from gateline.pipelines import PlanNode, items_of
from gateline.sdk.drawing import Graph, Node, drawing
from gateline.sdk.options import step_options
from gateline.sdk.outputs import outputs_of
from gateline.sdk.results import Each, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateline.pipelines import StepOptions

P = ParamSpec("P")
R = TypeVar("R")

_RESERVED = ("when", "max_parallel")


class Step(Generic[P, R]):
    """A function whose result is kept under the digest of all it depends on.

    Attributes:
        name: The function's name with dashes.
        function: The function; it must not depend on anything but its arguments, its code and the run's context.
        options: How it is carried out.
        signature: What it takes.
        variable: Name of the function in Python.

    Raises:
        InvalidInput: it is no plain function, or takes `*args`, `**kwargs`, positional-only or reserved parameters.
    """

    def __init__(self, function: Callable[P, R], **options: Any) -> None:
        self.name = _name_of("step", function)
        self.signature = inspect.signature(function)
        _check_parameters(self.name, self.signature)
        self.options: StepOptions = step_options(self.name, **options)
        self.function = function
        self.variable = function.__name__
        functools.update_wrapper(self, function)

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def __call__(self, *args: Any, when: Any, **kwargs: Any) -> R: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function, or add a node when a pipeline is being drawn.

        Args:
            args: As the function takes them; results of steps stand for their values.
            kwargs: As the function takes them; and `when=`, the result of a step that returns true or false: where it is false this step
                is skipped, and so is all that depends on it.

        Raises:
            InvalidInput: the arguments do not fit the function, or are neither JSON nor results.
        """
        graph, when = drawing.get(), kwargs.pop("when", None)
        if any(isinstance(one, Each) for one in (*args, *kwargs.values())):
            raise InvalidInput(f"Step '{self.name}' is called with each(…).", next_step=f"Write {self.variable}.map(…).")
        if graph is not None:
            return self._add(graph, self._bound(args, kwargs), when=when)
        return self.function(*args, **kwargs) if _holds(when, self.name) else None

    def map(self, *, max_parallel: int | None = None, when: Any = None, **arguments: Any) -> Any:
        """Call the step once for each element of the arguments marked with `each(…)`; the result is the list of results, in order.

        Args:
            max_parallel: How many calls may run at once; None for no limit of its own.
            when: As for a single call; it decides about all of them.
            arguments: As the function takes them. Those marked with `each(…)` have the same length.

        Raises:
            InvalidInput: nothing is marked, lengths differ, or the arguments do not fit the function.
        """
        bound = self._bound((), arguments)
        over = {name: value.values for name, value in bound.items() if isinstance(value, Each)}
        if not over:
            raise InvalidInput(f"Step '{self.name}' is mapped over nothing.", next_step="Mark an argument, such as rate=each([0.1, 0.2]).")
        if max_parallel is not None and (type(max_parallel) is not int or max_parallel < 1):
            raise InvalidInput(f"max_parallel of step '{self.name}' is {max_parallel!r:.80}.", next_step="Give a whole number from 1.")
        known = {name: values for name, values in over.items() if not isinstance(values, Result)}
        items = items_of(known, self.name) if known else []
        graph = drawing.get()
        if graph is not None:
            return self._add(graph, bound, over=over, max_parallel=max_parallel, when=when)
        call: Callable[..., Any] = self.function
        return [call(**{**bound, **item}) for item in items] if _holds(when, self.name) else None

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments by parameter, defaults included."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            parameters = str(self.signature.replace(return_annotation=inspect.Signature.empty))
            raise InvalidInput(
                f"Step '{self.name}' is called with other arguments than it takes: {error}.", next_step=f"It takes {parameters}."
            ) from error
        bound.apply_defaults()
        return dict(bound.arguments)

    def _add(
        self, graph: Graph, bound: dict[str, Any], *, over: dict[str, Any] | None = None, max_parallel: int | None = None, when: Any
    ) -> Result:
        """Add a node with these arguments."""
        if when is not None and not isinstance(when, Result):
            raise InvalidInput(
                f"when= of step '{self.name}' is a {type(when).__name__}, not the result of a step.",
                next_step="What is known when the graph is drawn is decided with an ordinary `if`.",
            )
        plan = PlanNode(
            name=graph.free_name(self.name),
            step=self.name,
            reference=f"{self.function.__module__}:{self.function.__qualname__}",
            arguments={
                name: {"item": name} if isinstance(value, Each) else graph.argument(value, f"argument '{name}' of step '{self.name}'")
                for name, value in bound.items()
            },
            over=over and {name: graph.argument(values, f"each(…) '{name}' of step '{self.name}'") for name, values in over.items()},
            max_parallel=max_parallel,
            when=None if when is None else graph.reference(when, f"when= of step '{self.name}'"),
            options=self.options,
            outputs=outputs_of(self.function, self.name),
        )
        return graph.add(Node(plan=plan, function=self.function, local=_why_local(self, self.function)))


class Pipeline:
    """A function that connects steps. `.graph(**parameters)` draws it; `.run(**parameters)` calls the steps in this process.

    Attributes:
        name: The function's name with dashes.
        function: The function.
        variable: Its name in Python.

    Raises:
        InvalidInput: it is no plain function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = _name_of("pipeline", function)
        self.function = function
        self.variable = function.__name__
        functools.update_wrapper(self, function)

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Refuse: a pipeline is drawn or run, and does not stand within another."""
        if drawing.get() is not None:
            raise InvalidInput(
                f"Pipeline '{self.name}' is called inside a pipeline.",
                next_step="Move the shared calls of steps into an ordinary function without @pipeline, and call that in both.",
            )
        raise InvalidInput(f"Pipeline '{self.name}' is called like a function.", next_step=f"Write {self.variable}.run(…).")

    def graph(self, **parameters: Any) -> Graph:
        """Return the graph for these parameters.

        Raises:
            InvalidInput: a parameter is unknown or missing, or the function uses a result as a value, calls a step wrongly, or returns
                something else than a result.
        """
        try:
            bound = inspect.signature(self.function).bind(**parameters)
        except TypeError as error:
            known = ", ".join(inspect.signature(self.function).parameters)
            raise InvalidInput(f"Pipeline '{self.name}': {error}.", next_step=f"Its parameters are: {known or 'none'}.") from error
        if drawing.get() is not None:
            self()
        bound.apply_defaults()
        graph = Graph(pipeline=self.name)
        token = drawing.set(graph)
        try:
            returned = self.function(*bound.args, **bound.kwargs)
        except RecursionError as error:
            raise InvalidInput(f"The function of pipeline '{self.name}' calls itself without end.") from error
        finally:
            drawing.reset(token)
        if returned is not None and not isinstance(returned, Result):
            raise InvalidInput(f"Pipeline '{self.name}' returns a {type(returned).__name__}.", next_step="Return the result of a step.")
        graph.output = None if returned is None else graph.reference(returned, f"output of pipeline '{self.name}'")
        return graph

    def run(self, **parameters: Any) -> Any:
        """Call the steps in order in this process, without records: what a debugger or a unit test wants."""
        return self.graph(**parameters).run()


@overload
def step(function: Callable[P, R]) -> Step[P, R]: ...
@overload
def step(
    *,
    cache: bool = True,
    retries: int = 0,
    retry_wait: str | float = 0,
    timeout: str | float | None = None,
    memory: str | int | None = None,
    cpus: float = 1,
    executor: str = "process",
    env: str | list[str] | None = None,
    seed: int | None = None,
    approval: str | None = None,
    approval_timeout: str | float | None = None,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(function: Callable[P, R] | None = None, **options: Any) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Make a function a step of pipelines: `@step`, or `@step(retries=2)`.

    Args:
        function: The function.
        options: `cache` (False for side effects, which then happen in every run), `retries` and `retry_wait` ("10s"), `timeout` ("1h"),
            `memory` ("2GiB"), `cpus`, `executor` ("process", "inline", "ray://…"), `env` (a lock file of the project, or a list of
            requirements, for an environment of its own), `seed`, `approval` (what a person is asked before it runs, or the role whose
            holders may answer) and `approval_timeout` ("2d"). None of them changes the result, so none is part of its key, but `seed`
            and `env`.

    Raises:
        InvalidInput: an option is not allowed, or the function cannot be a step; the message says why.
    """
    if function is not None:
        return Step(function, **options)
    return lambda wrapped: Step(wrapped, **options)


def pipeline(function: Callable[..., Any]) -> Pipeline:
    """Make a function that connects steps a pipeline."""
    return Pipeline(function)


def _holds(when: Any, step: str) -> bool:
    """Return whether a step called outside a pipeline is to run."""
    if when is None or isinstance(when, bool):
        return when is not False
    raise InvalidInput(f"when= of step '{step}' is a {type(when).__name__}, not true or false.")


def _name_of(kind: str, function: Any) -> str:
    """Return the name of a step or pipeline: that of its function, with dashes."""
    if not inspect.isfunction(function) or inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        found = getattr(function, "__name__", type(function).__name__)
        raise InvalidInput(
            f"'{found}' cannot be a {kind}: it is no plain function (a method, a class, a generator, an async or a partial function).",
            next_step="Write an ordinary `def` that returns its result.",
        )
    return valid_name(kind, function.__name__.strip("_").replace("_", "-").lower())


def _check_parameters(step: str, signature: inspect.Signature) -> None:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    wrong = [str(one) for one in signature.parameters.values() if one.kind in kinds]
    if wrong:
        raise InvalidInput(
            f"Step '{step}' takes {', '.join(wrong)}, which has no name of its own.",
            next_step="Take a list or a dictionary as one argument.",
        )
    taken = [name for name in _RESERVED if name in signature.parameters]
    if taken:
        raise InvalidInput(f"Step '{step}' has a parameter '{taken[0]}', a word that every step call takes itself.", next_step="Rename it.")


def _why_local(made: Step[..., Any], function: Callable[..., Any]) -> str:
    """Return why another process cannot find a step's function by module and name, as the end of a sentence; empty when it can."""
    if function.__module__ == "__main__":
        return "is defined in the script that runs"
    if "<locals>" in function.__qualname__:
        return "is defined inside a function (a decorator between @step and def needs functools.wraps)"
    found: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is made or found is function or getattr(found, "function", None) is function:
        return ""
    return f"is hidden by another '{function.__qualname__}' in module {function.__module__}"
