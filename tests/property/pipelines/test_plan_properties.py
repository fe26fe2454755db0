"""Random graphs: their plans read back, run in order, and skip what depends on what was skipped; random documents are no plans."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateline import each
from gateline.kernel.canonical import canonical_bytes
from gateline.kernel.errors import GatelineError
from gateline.pipelines import ArtifactKind, decision, fill, items_of, plain_value, plan_from_dict, plan_mistakes, step_key
from gateline.sdk.pipeline import Pipeline
from tests.support.flows import divide, is_large, keep, numbers, scale, total

STEPS = {"numbers": numbers, "total": total, "keep": keep, "is-large": is_large, "divide": divide, "scale": scale}
KEPT = list(ArtifactKind)


@dataclass(frozen=True)
class Call:
    """One step call of a random graph; inputs are counted back over the calls before it that give a number."""

    kind: str
    inputs: tuple[int, ...]
    number: int
    when: int | None


calls = st.lists(
    st.builds(
        Call,
        kind=st.sampled_from(["count", "total", "divide", "gather", "map", "remap", "large"]),
        inputs=st.lists(st.integers(0, 50), min_size=1, max_size=3).map(tuple),
        number=st.integers(0, 5),
        when=st.none() | st.integers(0, 20),
    ),
    min_size=1,
    max_size=25,
)


def build(drawn: list[Call]) -> Any:
    """Call the steps; lists and truths that came out so far are what the next calls take."""
    lists: list[Any] = [numbers(3)]
    flags: list[Any] = []
    latest = lists[0]
    for call in drawn:
        rows = lists[call.inputs[0] % len(lists)]
        when = {} if call.when is None or not flags else {"when": flags[call.when % len(flags)]}
        if call.kind == "count":
            latest = numbers(call.number, **when)
            lists.append(latest)
        elif call.kind == "total":
            latest = keep([total(rows, factor=call.number, **when)])
            lists.append(latest)
        elif call.kind == "divide":
            first, second = divide(rows, at=call.number, **when)
            lists += [first, second]
            latest = first
        elif call.kind == "gather":
            latest = keep({"all": [lists[one % len(lists)] for one in call.inputs], "plain": call.number}, **when)
        elif call.kind in {"map", "remap"}:
            latest = scale.map(value=each(rows), rate=call.number, max_parallel=call.number or None, **when)
            latest = scale.map(value=each(latest)) if call.kind == "remap" else latest
            lists.append(latest)
        else:
            latest = is_large(total(rows))
            flags.append(latest)
    return latest


def carried_out(plan: dict[str, Any]) -> Any:
    """The result of a plan by its JSON alone, as an engine that knows nothing of Python's graph would get it."""
    values: dict[str, Any] = {}

    def look(name: str, output: str | None) -> Any:
        found = values[name]
        return ([one[output] for one in found] if isinstance(found, list) and output else found[output]) if output else found

    read = plan_from_dict(json.loads(json.dumps(plan)))
    for node in read.nodes:
        if not node.needs() <= values.keys() or (node.when and not decision(look(node.when["node"], None), node.name)):
            continue
        names = [one.name for one in node.outputs]
        over = {name: one["value"] if "value" in one else look(one["node"], one.get("output")) for name, one in (node.over or {}).items()}
        found = []
        for item in items_of(over, node.name) if node.over else [{}]:
            returned = STEPS[node.step].function(**{name: fill(one, look, item.__getitem__) for name, one in node.arguments.items()})
            found.append(returned if len(names) == 1 else dict(zip(names, returned, strict=True)))
        values[node.name] = found if node.over else found[0]
    return look(read.output["node"], read.output.get("output")) if read.output and read.output["node"] in values else None


@given(calls)
@settings(max_examples=150)
def test_a_plan_carried_out_from_its_json_gives_what_run_gives(drawn: list[Call]):
    pipeline = Pipeline(build)
    plan = pipeline.graph(drawn=drawn).plan()
    assert plan_mistakes(plan) == []
    assert plan_from_dict(plan).as_dict() == plan
    assert json.loads(canonical_bytes(plan)) == plan
    assert carried_out(plan) == pipeline.run(drawn=drawn)
    assert pipeline.graph(drawn=drawn).plan() == plan, "drawn again, it is the same"


@given(calls)
@settings(max_examples=50)
def test_each_node_comes_after_what_it_needs_under_a_name_of_its_own(drawn: list[Call]):
    nodes = plan_from_dict(Pipeline(build).graph(drawn=drawn).plan()).nodes
    seen: set[str] = set()
    for node in nodes:
        assert node.needs() <= seen
        assert node.name not in seen
        seen.add(node.name)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(anything)
def test_plain_values_read_back_from_json_or_are_refused(value: Any):
    try:
        plain = plain_value(value, "value")
    except GatelineError:
        return
    assert json.loads(canonical_bytes(plain)) == plain
    assert plain_value(plain, "value") == plain


@given(calls, st.data())
@settings(max_examples=100)
def test_a_plan_with_something_else_in_one_place_is_read_back_or_refused(drawn: list[Call], data: st.DataObject):
    plan = copy.deepcopy(Pipeline(build).graph(drawn=drawn[:5]).plan())
    target: Any = plan
    while True:
        key = data.draw(st.sampled_from(sorted(target) if isinstance(target, dict) else range(len(target))))
        if not isinstance(target[key], dict | list) or not target[key] or data.draw(st.integers(0, 4)) == 0:
            break
        target = target[key]
    target[key] = data.draw(anything)
    if plan_mistakes(plan):
        with pytest.raises(GatelineError, match="The plan cannot be accepted"):
            plan_from_dict(plan)
    else:
        read = plan_from_dict(plan)
        assert plan_from_dict(read.as_dict()).as_dict() == read.as_dict()


@given(anything)
@example({"format": 1, "pipeline": "a", "nodes": [None], "output": None})
def test_random_documents_are_refused_without_a_crash(document: Any):
    assert plan_mistakes(document)


arguments = st.dictionaries(
    st.sampled_from("abcd"),
    st.recursive(
        st.builds(lambda value: {"value": value}, st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=3))
        | st.builds(lambda sha, kind: {"artifact": sha, "kind": kind}, st.sampled_from("xyz"), st.sampled_from(KEPT)),
        lambda inner: st.builds(lambda one: {"list": one}, st.lists(inner, max_size=2)),
        max_leaves=3,
    ),
    max_size=3,
)
ingredients = st.fixed_dictionaries({
    "code": st.sampled_from(["c1", "c2"]), "environment": st.sampled_from(["e1", "e2"]), "arguments": arguments,
    "seed": st.none() | st.integers(0, 2), "run_id": st.sampled_from(["", "r1"]),
})  # fmt: skip


@given(ingredients, ingredients)
def test_keys_are_equal_exactly_when_all_ingredients_are(first: dict[str, Any], second: dict[str, Any]):
    same = canonical_bytes(first) == canonical_bytes(second)
    assert (step_key(**first) == step_key(**second)) is same
    assert step_key(**first) == step_key(**{**first, "arguments": dict(reversed(first["arguments"].items()))})
