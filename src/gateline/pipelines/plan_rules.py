"""What makes a plan acceptable; one that came over the network is believed in nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateline.kernel.errors import GatelineError, InvalidInput
from gateline.kernel.limits import MAP_ITEMS_MAX, PLAN_BYTES_MAX, PLAN_NODES_MAX, TEXT_LENGTH_MAX, VALUE_DEPTH_MAX
from gateline.kernel.names import valid_name
from gateline.pipelines.plan import PLAN_FORMAT, ArtifactKind, Plan, PlanNode, StepOptions, StepOutput, references
from gateline.pipelines.search_rules import search_mistakes
from gateline.pipelines.values import plain_value

_PLAN_KEYS = {"format", "pipeline", "nodes", "output"}
_NODE_KEYS = {"name", "step", "reference", "arguments", "options", "outputs"}
_NODE_KEYS_OPTIONAL = {"over", "max_parallel", "when", "search"}
_REFERENCE_LENGTH_MAX = 500
_MISTAKES_SHOWN = 20
_WHOLE_MAX = 2**63 - 1


def plan_from_dict(document: Any) -> Plan:
    """Return the plan that a JSON document holds.

    Raises:
        InvalidInput: it is none; every mistake is named.
    """
    mistakes = plan_mistakes(document)
    if mistakes:
        shown = [*mistakes[:_MISTAKES_SHOWN], *([f"and {len(mistakes) - _MISTAKES_SHOWN} more"] if len(mistakes) > _MISTAKES_SHOWN else [])]
        raise InvalidInput(f"The plan cannot be accepted: {'; '.join(shown)}.", facts={"mistakes": mistakes[:_MISTAKES_SHOWN]})
    nodes = tuple(_node(node) for node in document["nodes"])
    return Plan(pipeline=document["pipeline"], nodes=nodes, output=document["output"])


def _node(node: dict[str, Any]) -> PlanNode:
    outputs = [StepOutput(name=one["name"], kind=None if one["kind"] is None else ArtifactKind(one["kind"])) for one in node["outputs"]]
    known = {name: value for name, value in node.items() if name not in {"options", "outputs"}}
    return PlanNode(**known, options=StepOptions(**node["options"]), outputs=tuple(outputs))


def plan_mistakes(document: Any) -> list[str]:
    """Return what is wrong with a plan that came as JSON, one part of a sentence each; empty when it can be carried out.

    Names are known and unique, nothing needs itself, and the limits hold: 1,000 nodes, 10,000 mapped items, 8 MiB in all.
    """
    found = _shape(document, "the plan", _PLAN_KEYS)
    if found:
        return found
    found = _value_mistakes(document)
    if found:
        return found
    if document["format"] != PLAN_FORMAT:
        return [f"it has format {document['format']!r:.40}; this Gateline reads {PLAN_FORMAT}"]
    nodes = document["nodes"]
    if not isinstance(nodes, list) or not 1 <= len(nodes) <= PLAN_NODES_MAX:
        count = f"{len(nodes):,}" if isinstance(nodes, list) else "no list of"
        return [f"it has {count} nodes; 1 to {PLAN_NODES_MAX:,} are allowed"]
    found += _name_mistakes("pipeline", document["pipeline"], "the plan")
    shapes = [mistake for position, node in enumerate(nodes) for mistake in _node_mistakes(node, position)]
    return [*found, *shapes] or _graph_mistakes(nodes, document["output"])


def option_mistakes(options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the options of a step, one part of a sentence each; missing ones have their defaults."""
    known = StepOptions().as_dict()
    found = [f"there is no option {name!r:.80}" for name in options if name not in known]
    if options.get("env") is not None and options.get("executor", "process") != "process":
        found.append("env is given, but only steps in processes of their own (executor='process') can have an environment")
    return found + [
        f"{name} is {options[name]!r:.80}, not {wanted}"
        for name, (holds, wanted) in _OPTIONS.items()
        if name in options and not holds(options[name])
    ]


def executor_is_known(executor: Any) -> bool:
    """Return whether a step can be carried out there: `process`, `inline` or `ray://…`."""
    return isinstance(executor, str) and (executor in {"process", "inline"} or (executor.startswith("ray://") and 6 < len(executor) <= 500))


def _is_whole(value: Any, least: int = 0, most: int = _WHOLE_MAX) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: Any, *, above_zero: bool, most: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (value > 0 if above_zero else value >= 0) and value <= most


def _is_text(value: Any, most: int) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= most


def _are_requirements(value: Any) -> bool:
    """Return whether a value is a list of lines as in requirements.txt, none of them an option."""
    return (
        isinstance(value, list | tuple)
        and 1 <= len(value) <= _REQUIREMENTS_MAX
        and all(_is_text(one, 500) and "\n" not in one and not one.lstrip().startswith(("-", "#")) for one in value)
    )


_REQUIREMENTS_MAX = 200
_YEAR_SECONDS = 366 * 86_400
_OPTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "cache": (lambda value: isinstance(value, bool), "true or false"),
    "retries": (lambda value: _is_whole(value, most=100), "a whole number from 0 to 100"),
    "retry_wait_seconds": (lambda value: _is_number(value, above_zero=False, most=_YEAR_SECONDS), "a time of at most a year"),
    "timeout_seconds": (lambda value: value is None or _is_number(value, above_zero=True, most=_YEAR_SECONDS), "a time of at most a year"),
    "memory_bytes": (lambda value: value is None or _is_whole(value, least=1 << 20), "at least 1 MiB"),
    "cpus": (lambda value: _is_number(value, above_zero=True, most=10_000), "a number above 0 and up to 10,000"),
    "executor": (executor_is_known, "'process', 'inline' or 'ray://…'"),
    "env": (lambda value: value is None or _is_text(value, 500) or _are_requirements(value), "the path of a lock file, or requirements"),
    "seed": (lambda value: value is None or _is_whole(value, most=2**32 - 1), "a whole number from 0 to 4294967295"),
    "approval": (lambda value: value is None or _is_text(value, TEXT_LENGTH_MAX), "a question for the person who approves"),
    "approval_timeout_seconds": (
        lambda value: value is None or _is_number(value, above_zero=True, most=_YEAR_SECONDS),
        "a time of at most a year",
    ),
}


def _shape(value: Any, what: str, required: set[str], optional: set[str] | frozenset[str] = frozenset()) -> list[str]:
    """Return how a value differs from a dictionary with these keys."""
    if not isinstance(value, dict):
        return [f"{what} is a {type(value).__name__}, not an object"]
    missing, unknown = sorted(required - value.keys()), sorted(str(key)[:80] for key in value.keys() - required - optional)
    return [f"{what} lacks {', '.join(missing)}"] * bool(missing) + [f"{what} has unknown {', '.join(unknown[:10])}"] * bool(unknown)


def _value_mistakes(document: Any) -> list[str]:
    """Return why a document is no JSON that can be kept."""
    try:
        plain_value(document, "plan", bytes_max=PLAN_BYTES_MAX, depth_max=VALUE_DEPTH_MAX + 16)
    except GatelineError as error:
        return [error.message.removesuffix(".")]
    return []


def _name_mistakes(kind: str, name: Any, what: str) -> list[str]:
    if not isinstance(name, str):
        return [f"the {kind} name of {what} is no text"]
    try:
        valid_name(kind, name)
    except InvalidInput as error:
        return [error.message.removesuffix(".")]
    return []


def _node_mistakes(node: Any, position: int) -> list[str]:
    """Return what is wrong with a node by itself."""
    what = f"node {position + 1}"
    found = _shape(node, what, _NODE_KEYS, _NODE_KEYS_OPTIONAL)
    if found:
        return found
    what = f"node {node['name']!r:.100}"
    found += _name_mistakes("node", node["name"], what) + _name_mistakes("step", node["step"], what)
    module, separator, function = node["reference"].partition(":") if isinstance(node["reference"], str) else ("", "", "")
    dotted = all(part.isidentifier() for part in [*module.split("."), *function.split(".")])
    if not separator or not dotted or len(node["reference"]) > _REFERENCE_LENGTH_MAX:
        found.append(f"{what} has the reference {node['reference']!r:.100}, not module:function")
    over = node.get("over")
    if over is not None and (not isinstance(over, dict) or not over):
        found.append(f"{what} is mapped over nothing")
        over = None
    if not isinstance(node["arguments"], dict):
        found.append(f"the arguments of {what} are no object")
    else:
        for name, argument in node["arguments"].items():
            found += _argument_mistakes(argument, f"argument {name!r:.100} of {what}", over or {})
    found += _over_mistakes(over or {}, what)
    if node.get("max_parallel") is not None and (over is None or not _is_whole(node["max_parallel"], least=1, most=MAP_ITEMS_MAX)):
        found.append(f"max_parallel of {what} is no whole number from 1 to {MAP_ITEMS_MAX:,} of a mapped node")
    if node.get("when") is not None:
        found += _reference_mistakes(node["when"], f"when of {what}")
    if node.get("search") is not None:
        found += search_mistakes(node, what)
    return found + _option_mistakes(node["options"], what) + _output_mistakes(node["outputs"], what)


def _argument_mistakes(argument: Any, what: str, over: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the form of an argument."""
    if not isinstance(argument, dict):
        return [f"{what} is no object"]
    if "node" in argument:
        return _reference_mistakes(argument, what)
    if len(argument) != 1:
        return [f"{what} is not exactly one of value, node, item, list and fields"]
    kind, content = next(iter(argument.items()))
    if kind == "value":
        return []
    if kind == "item":
        return (
            []
            if isinstance(content, str) and content in over
            else [f"{what} takes items of {content!r:.100}, which the node is not mapped over"]
        )
    if kind == "list" and isinstance(content, list):
        return [mistake for one in content for mistake in _argument_mistakes(one, what, over)]
    if kind == "fields" and isinstance(content, dict):
        return [mistake for one in content.values() for mistake in _argument_mistakes(one, what, over)]
    return [f"{what} is not exactly one of value, node, item, list and fields"]


def _reference_mistakes(reference: Any, what: str) -> list[str]:
    found = _shape(reference, what, {"node"}, {"output"})
    return found or [f"{what} has a {key} that is no text" for key, value in reference.items() if not isinstance(value, str)]


def _over_mistakes(over: Mapping[str, Any], what: str) -> list[str]:
    """Return what is wrong with what a node is mapped over, as far as it is known now."""
    found: list[str] = []
    lengths: dict[str, int] = {}
    for name, one in over.items():
        if isinstance(one, dict) and one.keys() == {"value"} and isinstance(one["value"], list):
            lengths[name] = len(one["value"])
        elif isinstance(one, dict) and "node" in one:
            found += _reference_mistakes(one, f"over {name!r:.100} of {what}")
        else:
            found.append(f"over {name!r:.100} of {what} is neither a list of values nor a node")
    if len(set(lengths.values())) > 1:
        found.append(
            f"{what} is mapped over lists of different lengths: {', '.join(f'{name} {length}' for name, length in lengths.items())}"
        )
    if any(length > MAP_ITEMS_MAX for length in lengths.values()):
        found.append(f"{what} is mapped over {max(lengths.values()):,} items; {MAP_ITEMS_MAX:,} are allowed")
    return found


def _option_mistakes(options: Any, what: str) -> list[str]:
    found = _shape(options, f"options of {what}", set(StepOptions().as_dict()))
    return found or [f"{mistake} (options of {what})" for mistake in option_mistakes(options)]


def _output_mistakes(outputs: Any, what: str) -> list[str]:
    if not isinstance(outputs, list) or not 1 <= len(outputs) <= PLAN_NODES_MAX:
        return [f"{what} has no list of outputs"]
    found = [mistake for one in outputs for mistake in _shape(one, f"an output of {what}", {"name", "kind"})]
    if found:
        return found
    kinds = {None, *ArtifactKind}
    found += [mistake for one in outputs for mistake in _name_mistakes("output", one["name"], what)]
    found += [
        f"output {one['name']!r:.100} of {what} has the unknown kind {one['kind']!r:.40}" for one in outputs if one["kind"] not in kinds
    ]
    return found or [
        f"{what} has two outputs named '{name}'" for name, count in Counter(one["name"] for one in outputs).items() if count > 1
    ]


def _graph_mistakes(nodes: list[dict[str, Any]], output: Any) -> list[str]:
    """Return what is wrong with how nodes hang together."""
    found = [f"two nodes are named '{name}'" for name, count in Counter(node["name"] for node in nodes).items() if count > 1]
    outputs = {node["name"]: [one["name"] for one in node["outputs"]] for node in nodes}
    if output is not None:
        wrong = _reference_mistakes(output, "output of the plan")
        found += wrong or _unknown(output["node"], output.get("output"), outputs, "the output of the plan")
    earlier: set[str] = set()
    for node in nodes:
        for name, one in _references(node):
            unknown = _unknown(name, one, outputs, f"node '{node['name']}'")
            found += unknown
            if not unknown and name not in earlier:
                found.append(f"node '{node['name']}' needs '{name}', which does not come before it")
        earlier.add(node["name"])
    return found


def _references(node: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    for argument in [*node["arguments"].values(), *(node.get("over") or {}).values(), *([node["when"]] if node.get("when") else [])]:
        yield from references(argument)


def _unknown(name: str, output: str | None, outputs: Mapping[str, list[str]], what: str) -> list[str]:
    """Return why a result that something uses does not exist."""
    if name not in outputs:
        return [f"{what} needs '{name[:100]}', which is no node"]
    if output is None and len(outputs[name]) > 1:
        return [f"{what} needs '{name}', which has several outputs: {', '.join(outputs[name])}"]
    if output is not None and output not in outputs[name]:
        return [f"{what} needs output '{output[:100]}' of '{name}', which has {', '.join(outputs[name])}"]
    return []
