"""Pipelines as plain Python: typed step functions and a function that connects them.

    @step
    def fit(rows: pl.DataFrame, rounds: int) -> str: ...

    @pipeline
    def train(rounds: int = 200):
        return fit(prepare(), rounds=rounds)

Calling a step outside a pipeline is an ordinary call. Inside a function marked `@pipeline` it adds a node to an explicit graph, so each
engine can run the same definition; results are not known there, and Python that branches on them is refused.
"""

from __future__ import annotations

import functools
import inspect
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class Node:
    """A call of a step in a graph; stands for its result until the pipeline runs.

    Attributes:
        name: Name of the step; a second call of the same step is named `name-2`.
        arguments: Its bound arguments: plain values, or other nodes.
    """

    step: Step[..., Any]
    name: str
    arguments: dict[str, Any]

    def __bool__(self) -> bool:
        """Refuse decisions on a result that does not exist yet."""
        raise self._refusal("decide on")

    def __iter__(self) -> Any:
        """Refuse loops over a result that does not exist yet."""
        raise self._refusal("loop over")

    def __getattr__(self, attribute: str) -> Any:
        """Refuse to look into a result that does not exist yet."""
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise self._refusal(f"read '.{attribute}' of")

    def _refusal(self, doing: str) -> InvalidInput:
        return InvalidInput(
            f"The pipeline tries to {doing} the result of step '{self.name}', which is not known when the graph is made.",
            next_step="Move that code into a step.",
        )


@dataclass(slots=True)
class Graph:
    """The nodes of a pipeline in an order in which they can run, and the one whose result it returns."""

    nodes: list[Node] = field(default_factory=list)
    output: Node | None = None

    def add(self, called: Step[..., Any], arguments: dict[str, Any]) -> Node:
        """Add a call of a step."""
        same = sum(1 for node in self.nodes if node.step is called)
        node = Node(step=called, name=called.name if not same else f"{called.name}-{same + 1}", arguments=arguments)
        self.nodes.append(node)
        return node


_drawing: ContextVar[Graph | None] = ContextVar("gateline_graph", default=None)


class Step(Generic[P, R]):
    """A function whose result is kept under the digest of all it depends on.

    Args:
        function: The function; it must not depend on anything but its arguments, its code and the run's context.
        cache: False for steps with side effects, which then run every time.
    """

    def __init__(self, function: Callable[P, R], *, cache: bool = True) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.cache = cache
        self.name = function.__name__.replace("_", "-")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function, or add a node when a pipeline is being drawn."""
        graph = _drawing.get()
        if graph is None:
            return self.function(*args, **kwargs)
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        node: Any = graph.add(self, dict(bound.arguments))
        return node  # type: ignore[no-any-return]


class Pipeline:
    """A function that connects steps. `.graph(**parameters)` draws it; `.run(**parameters)` calls the steps in this process."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__doc__ = function.__doc__
        self.function = function
        self.name = function.__name__.replace("_", "-")

    def graph(self, **parameters: Any) -> Graph:
        """Return the graph for these parameters.

        Raises:
            InvalidInput: a parameter is unknown or missing, or the function uses a result as a value.
        """
        try:
            bound = inspect.signature(self.function).bind(**parameters)
        except TypeError as error:
            known = ", ".join(inspect.signature(self.function).parameters)
            raise InvalidInput(f"Pipeline '{self.name}': {error}.", next_step=f"Its parameters are: {known}.") from error
        bound.apply_defaults()
        graph = Graph()
        token = _drawing.set(graph)
        try:
            result = self.function(*bound.args, **bound.kwargs)
        finally:
            _drawing.reset(token)
        if result is not None and not isinstance(result, Node):
            raise InvalidInput(f"Pipeline '{self.name}' returns a {type(result).__name__}.", next_step="Return the result of a step.")
        graph.output = result
        return graph

    def run(self, **parameters: Any) -> Any:
        """Call the steps in order in this process, without records: what a debugger or a unit test wants."""
        results: dict[int, Any] = {}
        graph = self.graph(**parameters)
        for node in graph.nodes:
            arguments = {name: results[id(value)] if isinstance(value, Node) else value for name, value in node.arguments.items()}
            results[id(node)] = node.step.function(**arguments)
        return None if graph.output is None else results[id(graph.output)]


@overload
def step(function: Callable[P, R]) -> Step[P, R]: ...
@overload
def step(*, cache: bool = True) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(function: Callable[P, R] | None = None, *, cache: bool = True) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Make a function a step of pipelines."""
    if function is not None:
        return Step(function, cache=cache)
    return lambda wrapped: Step(wrapped, cache=cache)


def pipeline(function: Callable[..., Any]) -> Pipeline:
    """Make a function that connects steps a pipeline."""
    return Pipeline(function)
