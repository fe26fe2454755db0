"""A plan that came over the network is believed in nothing; each mistake is named."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest

from gateline.kernel.errors import InvalidInput
from gateline.pipelines import ArtifactKind, StepOptions, fill, items_of, plan_from_dict, plan_mistakes, references

OPTIONS = StepOptions().as_dict()


def node(name: str, arguments: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A node of a plan."""
    return {
        "name": name, "step": "fit", "reference": "flows:fit", "arguments": arguments or {}, "options": dict(OPTIONS),
        "outputs": [{"name": "result", "kind": "json"}], **more,
    }  # fmt: skip


def plan() -> dict[str, Any]:
    """A plan with all there is."""
    return {
        "format": 1,
        "pipeline": "train",
        "nodes": [
            node("split", outputs=[{"name": "train", "kind": "frame"}, {"name": "test", "kind": None}]),
            node("grid", {"size": {"value": 3}}),
            node(
                "fit",
                {
                    "rows": {"node": "split", "output": "train"},
                    "rate": {"item": "rate"},
                    "deep": {"fields": {"a": {"list": [{"value": 1}]}}},
                },
                over={"rate": {"node": "grid"}, "depth": {"value": [1, 2, 3]}},
                max_parallel=2,
                when={"node": "grid"},
            ),
        ],
        "output": {"node": "fit", "output": "result"},
    }


def test_a_good_plan_has_no_mistakes_and_reads_back_the_same():
    document = plan()
    assert plan_mistakes(document) == []
    assert plan_from_dict(document).as_dict() == document
    assert plan_from_dict(json.loads(json.dumps(document))).as_dict() == document
    read = plan_from_dict(document)
    assert [sorted(one.needs()) for one in read.nodes] == [[], [], ["grid", "split"]]
    assert read.nodes[0].outputs[0].kind is ArtifactKind.FRAME


def deep(depth: int) -> Any:
    value: Any = {"value": 1}
    for _ in range(depth):
        value = {"list": [value]}
    return value


MISTAKES: dict[str, tuple[list[Any], Any, str]] = {
    "no format": (["format"], 2, "it has format 2; this Gateline reads 1"),
    "pipeline name": (["pipeline"], "Train!", "The pipeline name 'Train!' is not allowed"),
    "pipeline no text": (["pipeline"], 5, "the pipeline name of the plan is no text"),
    "unknown key": (["more"], 1, "the plan has unknown more"),
    "no nodes": (["nodes"], [], "it has 0 nodes"),
    "nodes no list": (["nodes"], {"a": 1}, "it has no list of nodes"),
    "too many nodes": (["nodes"], [node(f"n{number}") for number in range(1_001)], "it has 1,001 nodes; 1 to 1,000 are allowed"),
    "node no object": (["nodes", 1], "grid", "node 2 is a str, not an object"),
    "node unknown key": (["nodes", 1, "shell"], "rm", "node 2 has unknown shell"),
    "node name": (["nodes", 1, "name"], "../grid", "The node name '../grid' is not allowed"),
    "duplicate": (["nodes", 1, "name"], "split", "two nodes are named 'split'"),
    "reference": (["nodes", 1, "reference"], "os.system('x')", "reference \"os.system('x')\", not module:function"),
    "reference path": (["nodes", 1, "reference"], "../x:y", "not module:function"),
    "reference long": (["nodes", 1, "reference"], "a" * 600 + ":b", "not module:function"),
    "reference no text": (["nodes", 1, "reference"], 3, "not module:function"),
    "arguments": (["nodes", 1, "arguments"], [], "the arguments of node 'grid' are no object"),
    "argument no object": (["nodes", 1, "arguments", "size"], 3, "argument 'size' of node 'grid' is no object"),
    "argument empty": (["nodes", 1, "arguments", "size"], {}, "is not exactly one of value, node, item, list and fields"),
    "argument two": (["nodes", 1, "arguments", "size"], {"value": 1, "item": "a"}, "is not exactly one of"),
    "argument unknown": (["nodes", 1, "arguments", "size"], {"call": "a"}, "is not exactly one of"),
    "item of nothing": (["nodes", 1, "arguments", "size"], {"item": "rate"}, "takes items of 'rate', which the node is not mapped over"),
    "list no list": (["nodes", 1, "arguments", "size"], {"list": 1}, "is not exactly one of"),
    "fields no object": (["nodes", 1, "arguments", "size"], {"fields": []}, "is not exactly one of"),
    "inner": (
        ["nodes", 1, "arguments", "size"],
        {"list": [{"fields": {"a": {"node": "nowhere"}}}]},
        "node 'grid' needs 'nowhere', which is no node",
    ),
    "inner shape": (["nodes", 1, "arguments", "size"], {"list": [7]}, "is no object"),
    "node no text": (["nodes", 1, "arguments", "size"], {"node": ["split"]}, "has a node that is no text"),
    "node extra": (["nodes", 1, "arguments", "size"], {"node": "split", "value": 1}, "has unknown value"),
    "unknown node": (["nodes", 2, "arguments", "rows"], {"node": "nowhere"}, "needs 'nowhere', which is no node"),
    "unknown output": (["nodes", 2, "arguments", "rows", "output"], "valid", "needs output 'valid' of 'split', which has train, test"),
    "several outputs": (["nodes", 2, "arguments", "rows"], {"node": "split"}, "needs 'split', which has several outputs: train, test"),
    "itself": (["nodes", 1, "arguments", "size"], {"node": "grid"}, "node 'grid' needs 'grid', which does not come before it"),
    "cycle": (["nodes", 1, "arguments", "size"], {"node": "fit"}, "node 'grid' needs 'fit', which does not come before it"),
    "when": (["nodes", 2, "when"], {"node": "nowhere"}, "needs 'nowhere'"),
    "when value": (["nodes", 2, "when"], {"value": True}, "when of node 'fit' lacks node"),
    "when later": (["nodes", 1, "when"], {"node": "fit"}, "does not come before it"),
    "over nothing": (["nodes", 2, "over"], {}, "node 'fit' is mapped over nothing"),
    "over no object": (["nodes", 2, "over"], [1], "node 'fit' is mapped over nothing"),
    "over no list": (["nodes", 2, "over", "depth"], {"value": "abc"}, "is neither a list of values nor a node"),
    "over lengths": (["nodes", 2, "over", "rate"], {"value": [1]}, "different lengths: rate 1, depth 3"),
    "over too many": (["nodes", 2, "over"], {"rate": {"value": [0] * 10_001}}, "mapped over 10,001 items; 10,000 are allowed"),
    "over unknown": (["nodes", 2, "over", "rate"], {"node": "nowhere"}, "needs 'nowhere'"),
    "parallel": (["nodes", 2, "max_parallel"], 0, "max_parallel of node 'fit' is no whole number from 1"),
    "parallel truth": (["nodes", 2, "max_parallel"], True, "max_parallel of node 'fit'"),
    "parallel unmapped": (["nodes", 1, "max_parallel"], 2, "max_parallel of node 'grid'"),
    "options": (["nodes", 1, "options"], None, "options of node 'grid' is a NoneType"),
    "option missing": (["nodes", 1, "options"], {"cache": True}, "options of node 'grid' lacks"),
    "option unknown": (["nodes", 1, "options", "shell"], "rm", "options of node 'grid' has unknown shell"),
    "option cache": (["nodes", 1, "options", "cache"], "no", "cache is 'no', not true or false"),
    "option retries": (["nodes", 1, "options", "retries"], 10**9, "retries is 1000000000, not a whole number from 0 to 100"),
    "option timeout": (["nodes", 1, "options", "timeout_seconds"], -1, "timeout_seconds is -1"),
    "option memory": (["nodes", 1, "options", "memory_bytes"], 5, "memory_bytes is 5, not at least 1 MiB"),
    "option executor": (["nodes", 1, "options", "executor"], "ray://", "executor is 'ray://'"),
    "option seed": (["nodes", 1, "options", "seed"], -1, "seed is -1"),
    "outputs": (["nodes", 1, "outputs"], [], "node 'grid' has no list of outputs"),
    "output kind": (["nodes", 1, "outputs", 0, "kind"], "pickle", "output 'result' of node 'grid' has the unknown kind 'pickle'"),
    "output name": (["nodes", 1, "outputs", 0, "name"], "a/b", "The output name 'a/b' is not allowed"),
    "output twice": (["nodes", 0, "outputs", 1, "name"], "train", "node 'split' has two outputs named 'train'"),
    "result": (["output"], {"node": "nowhere"}, "the output of the plan needs 'nowhere'"),
    "result shape": (["output"], "fit", "output of the plan is a str, not an object"),
    "NaN": (["nodes", 1, "arguments", "size", "value"], math.nan, "is NaN"),
    "deep": (["nodes", 1, "arguments", "size"], deep(200), "nested deeper"),
    "large": (["nodes", 1, "arguments", "size", "value"], "x" * (9 << 20), "8,388,608 are allowed"),
    "NUL": (["nodes", 1, "arguments", "size", "value"], "\x00", "NUL character"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_named(name: str):
    path, value, message = MISTAKES[name]
    document = copy.deepcopy(plan())
    target: Any = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    found = plan_mistakes(document)
    assert any(message in one for one in found), found
    with pytest.raises(InvalidInput, match="The plan cannot be accepted"):
        plan_from_dict(document)


@pytest.mark.parametrize("missing", ["format", "pipeline", "nodes", "output"])
def test_what_is_missing_is_named(missing: str):
    document = plan()
    del document[missing]
    assert plan_mistakes(document) == [f"the plan lacks {missing}"]


@pytest.mark.parametrize("document", [None, [], "plan", 3, {}], ids=str)
def test_what_is_no_plan_at_all_is_refused(document: Any):
    assert plan_mistakes(document)


def test_all_mistakes_come_at_once_and_a_flood_is_cut():
    document = plan()
    document["nodes"][0]["name"] = "A"
    document["nodes"][1]["reference"] = "x"
    assert len(plan_mistakes(document)) == 2
    document["nodes"] = [node("B", reference="x") for _ in range(1_000)]
    with pytest.raises(InvalidInput, match="and 1980 more") as error:
        plan_from_dict(document)
    assert len(str(error.value)) < 10_000


def test_arguments_are_filled_and_their_references_told():
    argument = {"fields": {"a": {"list": [{"node": "split", "output": "train"}, {"item": "rate"}]}, "b": {"value": [1]}}}
    assert fill(argument, lambda name, output: f"{name}/{output}", {"rate": 0.5}.__getitem__) == {"a": ["split/train", 0.5], "b": [1]}
    assert list(references(argument)) == [("split", "train")]


def test_items_of_a_mapped_node():
    assert items_of({"a": [1, 2], "b": ["x", "y"]}, "fit") == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert items_of({"a": []}, "fit") == []
    with pytest.raises(InvalidInput, match="'a' is a dict"):
        items_of({"a": {"x": 1}}, "fit")  # type: ignore[dict-item]
    with pytest.raises(InvalidInput, match="'a' has 1, 'b' has 2"):
        items_of({"a": [1], "b": [1, 2]}, "fit")
    with pytest.raises(InvalidInput, match="10,001 items"):
        items_of({"a": [1] * 10_001}, "fit")
