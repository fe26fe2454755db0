"""The plan of a run: the graph of a pipeline as values and as JSON, which runners post and every engine can carry out.

An **argument** of a node is a dictionary with one of these keys:

| key | the argument is |
| --- | --- |
| `value` | this JSON value |
| `node` | what that node returned, or with `output` the output of that name; of a mapped node, the list of its results in order |
| `item` | of a mapped node: the element of `over` of that name that this call is made for |
| `list` | a list of arguments |
| `fields` | a dictionary of arguments |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import MAP_ITEMS_MAX

PLAN_FORMAT = 1


class ArtifactKind(StrEnum):
    """What a result is, and thereby how it is kept and read back."""

    FRAME = "frame"
    """A table of Polars, pandas or Arrow, kept as Parquet."""
    FILE = "file"
    """The bytes of a file."""
    JSON = "json"
    """Canonical JSON."""
    METRICS = "metrics"
    """Names with numbers; NaN and infinities are kept."""
    DATASET = "dataset"
    """A reference to a dataset version."""
    MODEL = "model"
    """A reference to a registered or logged model, or the files of a model folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """How a step is carried out. Nothing here changes its result, except `seed` and `env`.

    Attributes:
        cache: Whether an equal result of an earlier run is reused.
        retries: How often a failed attempt is repeated.
        retry_wait_seconds: Pause before each repetition.
        timeout_seconds: After how long an attempt is stopped; None for never.
        memory_bytes: Above which resident memory an attempt is stopped; None for no limit.
        cpus: Number of processors it is counted with.
        executor: `process` (a child process), `inline` (the runner's own process) or the address of a Ray cluster, `ray://…`.
        env: Lock file, or list of requirements, of the environment it runs in; None for the runner's own.
        seed: Seed of the generators of Python and numpy; None to leave them alone.
        approval: What a person is asked before it runs, or the role that is asked; None when nobody is.
        approval_timeout_seconds: After how long without an answer it counts as rejected; None for never.
    """

    cache: bool = True
    retries: int = 0
    retry_wait_seconds: float = 0
    timeout_seconds: float | None = None
    memory_bytes: int | None = None
    cpus: float = 1
    executor: str = "process"
    env: str | Sequence[str] | None = None
    seed: int | None = None
    approval: str | None = None
    approval_timeout_seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutput:
    """One thing that a step returns.

    Attributes:
        name: Its name; `result` when the step names none.
        kind: What it is; None when the value will tell.
    """

    name: str
    kind: ArtifactKind | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"name": self.name, "kind": None if self.kind is None else str(self.kind)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanNode:
    """One call of a step.

    Attributes:
        name: Its name in the graph.
        step: Name of the step.
        reference: Where its function is found: `module:function`.
        arguments: For each parameter its argument, as the module describes.
        over: For a mapped node, what each `item` is taken from: a `value` that is a list, or a `node`: the results of a mapped one, or
            else the elements of its JSON list. All have the same length. None when the node is not mapped.
        max_parallel: How many calls of a mapped node may run at once; None for no limit of its own.
        when: The `node` whose JSON result, true or false, says whether this one runs or is skipped; None when it always runs.
        options: How it is carried out.
        search: For a mapped node whose items are the trials of a search: the `argument` that holds the trial, made of its number and of the
            definition that `search_space` describes, and `failures_max`, how many may fail. None for others.
        outputs: What it returns, one or several.
    """

    name: str
    step: str
    reference: str
    arguments: Mapping[str, Mapping[str, Any]]
    over: Mapping[str, Mapping[str, Any]] | None = None
    max_parallel: int | None = None
    when: Mapping[str, Any] | None = None
    options: StepOptions = field(default_factory=StepOptions)
    search: Mapping[str, Any] | None = None
    outputs: tuple[StepOutput, ...] = (StepOutput(name="result", kind=None),)

    def needs(self) -> set[str]:
        """Return the names of the nodes that must have ended before this one can start."""
        whole = [*self.arguments.values(), *(self.over or {}).values(), *([self.when] if self.when else [])]
        return {name for argument in whole for name, _ in references(argument)}

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form; what does not apply is absent."""
        found: dict[str, Any] = {
            "name": self.name, "step": self.step, "reference": self.reference, "arguments": dict(self.arguments),
            "options": self.options.as_dict(), "outputs": [one.as_dict() for one in self.outputs],
        }  # fmt: skip
        optional = {"over": self.over, "max_parallel": self.max_parallel, "when": self.when, "search": self.search}
        return found | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The graph of a pipeline for given parameters.

    Attributes:
        pipeline: Its name.
        nodes: Its nodes, each after those it needs.
        output: The `node` (and `output`) whose result is that of the pipeline; None when it returns nothing.
    """

    pipeline: str
    nodes: tuple[PlanNode, ...]
    output: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        output = None if self.output is None else dict(self.output)
        return {"format": PLAN_FORMAT, "pipeline": self.pipeline, "nodes": [node.as_dict() for node in self.nodes], "output": output}


def references(argument: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield node and output name of every result that an argument uses.

    >>> list(references({"list": [{"node": "split", "output": "train"}, {"value": 1}]}))
    [('split', 'train')]
    """
    if "node" in argument:
        yield argument["node"], argument.get("output")
    for one in argument.get("list", ()):
        yield from references(one)
    for one in argument.get("fields", {}).values():
        yield from references(one)


def fill(argument: Mapping[str, Any], node: Callable[[str, str | None], Any], item: Callable[[str], Any]) -> Any:
    """Return the value of an argument.

    >>> fill({"list": [{"node": "a"}, {"item": "rate"}, {"value": 1}]}, lambda name, output: name, lambda name: 0.1)
    ['a', 0.1, 1]

    Args:
        argument: As the module describes.
        node: Gives the value of a node's result, from its name and the name of the output, if there is one.
        item: Gives the element of `over` of that name.
    """
    if "node" in argument:
        return node(argument["node"], argument.get("output"))
    if "item" in argument:
        return item(argument["item"])
    if "list" in argument:
        return [fill(one, node, item) for one in argument["list"]]
    if "fields" in argument:
        return {name: fill(one, node, item) for name, one in argument["fields"].items()}
    return argument["value"]


def items_of(over: Mapping[str, Sequence[Any]], step: str) -> list[dict[str, Any]]:
    """Return the items of each call of a mapped node, in order.

    >>> items_of({"rate": [0.1, 0.2], "depth": [3, 4]}, "fit")
    [{'rate': 0.1, 'depth': 3}, {'rate': 0.2, 'depth': 4}]

    Raises:
        InvalidInput: something is no list, the lengths differ, or there are more than 10,000.
    """
    wrong = [f"'{name}' is a {type(values).__name__}" for name, values in over.items() if not isinstance(values, list | tuple)]
    if wrong:
        raise InvalidInput(f"Step '{step}' is mapped, but {', '.join(wrong)}.", next_step="Map over lists: each([…]).")
    lengths = {name: len(values) for name, values in over.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"'{name}' has {length}" for name, length in lengths.items())
        raise InvalidInput(f"Step '{step}' is mapped over lists of different lengths: {told}.", next_step="Give all the same length.")
    width = next(iter(lengths.values()))
    if width > MAP_ITEMS_MAX:
        raise InvalidInput(
            f"Step '{step}' is mapped over {width:,} items; {MAP_ITEMS_MAX:,} are allowed.", next_step="Give each call a batch of items."
        )
    return [{name: values[index] for name, values in over.items()} for index in range(width)]


def decision(value: Any, node: str) -> bool:
    """Return what the result of a `when=` node decides.

    Raises:
        InvalidInput: it is neither true nor false.
    """
    if not isinstance(value, bool):
        raise InvalidInput(
            f"Step '{node}' decides whether another runs, but returned a {type(value).__name__}, not true or false.",
            next_step="Return a bool from it.",
        )
    return value
