"""Graphs while they are drawn: what a step call becomes, and what stands for its result until the pipeline runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import MAP_ITEMS_MAX, PLAN_NODES_MAX, VALUE_DEPTH_MAX
from gateline.pipelines import Plan, PlanNode, decision, fill, items_of, plain_value, plan_from_dict

_STEP = "Move that code into a step."
_WHEN = "Have a step return true or false, and pass its result as when= to the step that depends on it."
_MAP = "Call a step for each element with .map(argument=each(result)), or pass the whole result to a step."


class Result:
    """Stands for what a node returns, or for one of its outputs, while a graph is drawn.

    It can be passed to steps, in lists and dictionaries too; `result["name"]` is the output of that name, and several outputs can be
    unpacked in their order. Everything else is refused, because the value is not known yet.
    """

    __slots__ = ("_drawn",)

    def __init__(self, graph: Graph, node: PlanNode, output: str | None = None) -> None:
        self._drawn = (graph, node, output)

    def __repr__(self) -> str:
        """Say what it stands for, for debuggers."""
        _, node, output = self._drawn
        return f"<result of step '{node.name}'{f', output {output!r}' if output else ''}>"

    def __getitem__(self, name: Any) -> Result:
        """Return the output of that name."""
        graph, node, output = self._drawn
        names = [one.name for one in node.outputs]
        if output is None and isinstance(name, str) and name in names:
            return Result(graph, node, name if len(names) > 1 else None)
        if output is None and len(names) > 1:
            raise refusal(self, f"take {name!r:.80} of", f"Its outputs are: {', '.join(names)}.")
        advice = 'Move that code into a step, or name what the step returns: tuple[Annotated[int, "first"], Annotated[str, "second"]].'
        raise refusal(self, f"take {name!r:.80} of", advice)

    def __iter__(self) -> Iterator[Result]:
        """Unpack several outputs; a loop over one result is refused."""
        graph, node, output = self._drawn
        if output is not None or len(node.outputs) == 1 or node.over is not None:
            raise refusal(self, "loop over", _MAP)
        return iter([Result(graph, node, one.name) for one in node.outputs])

    def __getattr__(self, attribute: str) -> Any:
        """Refuse to look into a result that does not exist yet."""
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise refusal(self, f"read '.{attribute}' of", _STEP)


def refusal(result: Result, doing: str, next_step: str) -> InvalidInput:
    """Return the error for Python that needs a result while the graph is drawn."""
    _, node, _ = result._drawn  # noqa: SLF001 - users see no attribute of it, so that none is mistaken for one of the value
    return InvalidInput(
        f"The pipeline tries to {doing} the result of step '{node.name}', which is not known when the graph is drawn.", next_step=next_step
    )


_REFUSED = {
    "decide on": (_WHEN, ("bool",)),
    "compare": (_WHEN, ("eq", "ne", "lt", "le", "gt", "ge")),
    "count or search": (_MAP, ("len", "contains", "reversed")),
    "call": (_STEP, ("call",)),
    "write as text": (_STEP, ("str", "format")),
    "make a number of": (_STEP, ("int", "float", "complex", "index", "round")),
    "change": (_STEP, ("setitem", "delitem")),
    "open": (_STEP, ("enter", "aenter", "await", "aiter")),
    "calculate with": (_STEP, ("neg", "pos", "abs", "invert", "divmod", "rdivmod")),
}
_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")


def _refusing(doing: str, next_step: str) -> Callable[..., Any]:
    def refuse(self: Result, *_: Any) -> Any:
        raise refusal(self, doing, next_step)

    return refuse


for _doing, (_advice, _methods) in _REFUSED.items():
    for _method in _methods:
        setattr(Result, f"__{_method}__", _refusing(_doing, _advice))
for _method in _OPERATORS:
    for _side in ("", "r", "i"):
        setattr(Result, f"__{_side}{_method}__", _refusing("calculate with", _STEP))


class Each:
    """The elements that a mapped step is called with, one for each call."""

    __slots__ = ("values",)

    def __init__(self, values: Any) -> None:
        self.values = values


def each(values: Any) -> Any:
    """Mark an argument of `.map(…)` whose elements the step is called with, one after the other.

    Args:
        values: A list, or the result of a step: that of a mapped step gives its results one by one, any other must be a JSON list, whose
            length may be known at run time only.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(values, Result):
        return Each(values)
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        raise InvalidInput(f"each(…) was given a {type(values).__name__}.", next_step="Give it a list, or the result of a step.")
    found = []
    for value in values:
        found.append(value)
        if len(found) > MAP_ITEMS_MAX:
            raise InvalidInput(f"each(…) was given more than {MAP_ITEMS_MAX:,} elements.", next_step="Give each call a batch of items.")
    return Each(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A call of a step in a graph.

    Attributes:
        plan: The call as the plan has it.
        function: The function of the step.
        local: Why another process cannot find the function; empty when it can.
    """

    plan: PlanNode
    function: Callable[..., Any]
    local: str = ""

    @property
    def name(self) -> str:
        """Name of the node."""
        return self.plan.name


@dataclass(slots=True, kw_only=True)
class Graph:
    """The nodes of a pipeline in an order in which they can run.

    Attributes:
        pipeline: Name of the pipeline.
        nodes: Each call of a step.
        output: The result that the pipeline returns, as the plan refers to it; None when it returns nothing.
    """

    pipeline: str
    nodes: list[Node] = field(default_factory=list)
    output: dict[str, Any] | None = None
    _names: set[str] = field(default_factory=set)

    def free_name(self, step: str) -> str:
        """Return the name of the next call of a step: that of the step, then `step-2`, `step-3` and so on."""
        number, name = 1, step
        while name in self._names:
            number += 1
            name = f"{step}-{number}"
        return name

    def add(self, node: Node) -> Result:
        """Add a call and return what stands for its result.

        Raises:
            InvalidInput: the graph has 1,000 nodes already.
        """
        if len(self.nodes) >= PLAN_NODES_MAX:
            raise InvalidInput(
                f"Pipeline '{self.pipeline}' calls more than {PLAN_NODES_MAX:,} steps; '{node.plan.step}' is the next.",
                next_step="Does a loop never end? Otherwise call one step for many items with .map(…).",
            )
        self.nodes.append(node)
        self._names.add(node.name)
        return Result(self, node.plan)

    def reference(self, result: Result, what: str) -> dict[str, Any]:
        """Return how the plan refers to a result.

        Raises:
            InvalidInput: it belongs to another graph, or is several outputs at once.
        """
        graph, node, output = result._drawn  # noqa: SLF001 - as above
        if graph is not self:
            raise InvalidInput(
                f"The {what} is a result of step '{node.name}' that belongs to another graph.",
                next_step="Call that step in this pipeline's function.",
            )
        if output is None and len(node.outputs) > 1:
            names = [one.name for one in node.outputs]
            raise InvalidInput(
                f"The {what} is the result of step '{node.name}', which has several outputs: {', '.join(names)}.",
                next_step=f"Name the one you mean, such as result['{names[0]}'].",
            )
        return {"node": node.name} if output is None else {"node": node.name, "output": output}

    def argument(self, value: Any, what: str) -> dict[str, Any]:
        """Return the form that a value has in the plan.

        Raises:
            InvalidInput: it is neither JSON nor a result, nor made of these.
            TooLarge: it is nested too deep or too large.
        """
        if isinstance(value, Result):
            return self.reference(value, what)
        if not _holds_result(value, VALUE_DEPTH_MAX):
            return {"value": plain_value(value, what)}
        if isinstance(value, Mapping):
            keys = plain_value(dict.fromkeys(value), what)
            return {"fields": {key: self.argument(one, f"{what} at ['{key}']") for key, one in zip(keys, value.values(), strict=True)}}
        return {"list": [self.argument(one, f"{what} at [{position}]") for position, one in enumerate(value)]}

    def plan(self) -> dict[str, Any]:
        """Return the JSON form, from which any engine can carry the graph out.

        Raises:
            InvalidInput: a step's function cannot be found from outside, or the plan is too large.
        """
        local = [f"step '{node.plan.step}' {node.local}" for node in self.nodes if node.local]
        if local:
            raise InvalidInput(
                f"Other processes cannot find all steps of pipeline '{self.pipeline}': {'; '.join(dict.fromkeys(local))}.",
                next_step="Define steps at the top level of a file, each under its own name; .run() works without.",
            )
        plan = Plan(pipeline=self.pipeline, nodes=tuple(node.plan for node in self.nodes), output=self.output).as_dict()
        plan_from_dict(plan)
        return plan

    def run(self) -> Any:
        """Call the steps in order in this process, and return what the pipeline returns; None when that was skipped.

        Raises:
            InvalidInput: a `when=` result is no bool, lists of a mapped step differ in length, or a step returned fewer or more outputs
                than it declares. What a step raises comes through as it is.
        """
        values: dict[str, Any] = {}
        for node in self.nodes:
            if node.plan.needs() <= values.keys() and self._wanted(node.plan, values):
                values[node.name] = _call(node, values)
        return None if self.output is None or self.output["node"] not in values else _value(self.output, values)

    def _wanted(self, node: PlanNode, values: Mapping[str, Any]) -> bool:
        return node.when is None or decision(_value(node.when, values), node.when["node"])


drawing: ContextVar[Graph | None] = ContextVar("gateline_graph", default=None)
"""The graph that is being drawn, or None."""


def split_outputs(node: PlanNode, returned: Any) -> dict[str, Any]:
    """Return what a step returned by name of output.

    Raises:
        InvalidInput: it declares several outputs and returned something else.
    """
    names = [one.name for one in node.outputs]
    if len(names) == 1:
        return {names[0]: returned}
    if not isinstance(returned, tuple | list) or len(returned) != len(names):
        got = f"{len(returned)} values" if isinstance(returned, tuple | list) else f"a {type(returned).__name__}"
        raise InvalidInput(
            f"Step '{node.name}' declares {len(names)} outputs ({', '.join(names)}) and returned {got}.",
            next_step="Return a tuple with one value for each.",
        )
    return dict(zip(names, returned, strict=True))


def _call(node: Node, values: Mapping[str, Any]) -> Any:
    """Call a step, for each item when it is mapped; outputs by name, or a list of these."""

    def once(items: Mapping[str, Any]) -> dict[str, Any]:
        filled = {
            name: fill(argument, lambda of, output: _value({"node": of, "output": output}, values), items.__getitem__)
            for name, argument in node.plan.arguments.items()
        }
        return split_outputs(node.plan, node.function(**filled))

    if node.plan.over is None:
        return once({})
    over = {name: one["value"] if "value" in one else _value(one, values) for name, one in node.plan.over.items()}
    return [once(items) for items in items_of(over, node.name)]


def _value(reference: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """Return what a reference of the plan stands for."""
    found, output = values[reference["node"]], reference.get("output")

    def take(outputs: Mapping[str, Any]) -> Any:
        return next(iter(outputs.values())) if output is None else outputs[output]

    return [take(one) for one in found] if isinstance(found, list) else take(found)


def _holds_result(value: Any, depth: int) -> bool:
    """Whether a list, tuple or dictionary holds a result, at most this deep."""
    if isinstance(value, Result):
        return True
    if depth == 0 or not isinstance(value, list | tuple | Mapping):
        return False
    return any(_holds_result(one, depth - 1) for one in (value.values() if isinstance(value, Mapping) else value))
