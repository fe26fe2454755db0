"""What stands for the result of a step until the pipeline runs, and what is refused of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import MAP_ITEMS_MAX
from gateline.pipelines import PlanNode

_STEP = "Move that code into a step."
_WHEN = "Have a step return true or false, and pass its result as when= to the step that depends on it."
_MAP = "Call a step for each element with .map(argument=each(result)), or pass the whole result to a step."


class Result:
    """Stands for what a node returns, or for one of its outputs, while a graph is drawn.

    It can be passed to steps, in lists and dictionaries too; `result["name"]` is the output of that name, and several outputs can be
    unpacked in their order. Everything else is refused, because the value is not known yet.
    """

    __slots__ = ("_drawn",)

    def __init__(self, graph: object, node: PlanNode, output: str | None = None) -> None:
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
