"""Graphs while they are drawn: what step calls become, and how they are carried out in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import PLAN_NODES_MAX, VALUE_DEPTH_MAX
from gateline.pipelines import Plan, PlanNode, decision, fill, items_of, plain_value, plan_from_dict
from gateline.sdk.results import Result

if TYPE_CHECKING:
    from gateline.sdk.trials import LocalStudy


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A call of a step in a graph.

    Attributes:
        plan: The call as the plan has it.
        function: The function of the step.
        local: Why another process cannot find the function; empty when it can.
        study: Of a search, makes what carries its trials out in this process.
    """

    plan: PlanNode
    function: Callable[..., Any]
    local: str = ""
    study: Callable[[], LocalStudy] | None = None

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
        graph, node, output = result._drawn  # noqa: SLF001 - users see no attribute of it
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
    study = node.study() if node.study is not None else None

    def once(items: Mapping[str, Any]) -> dict[str, Any]:
        filled = {
            name: fill(argument, lambda of, output: _value({"node": of, "output": output}, values), items.__getitem__)
            for name, argument in node.plan.arguments.items()
        }
        if study is not None and node.plan.search is not None:
            return split_outputs(node.plan, study.carry_out(node.function, filled, node.plan.search["argument"]))
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
