"""What a definition of a search may be, and what is refused of it: each mistake is named."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import SEARCH_TRIALS_MAX
from gateline.pipelines import plan_from_dict, plan_mistakes
from gateline.pipelines.search_rules import best_number, ending
from gateline.pipelines.search_space import check_definition, definition_mistakes, parameter_mistakes
from tests.support.searches import DEFINITION, search_plan


def changed(**changes: Any) -> dict[str, Any]:
    """The definition with other parts."""
    return {**copy.deepcopy(DEFINITION), **changes}


def test_a_sound_definition_has_no_mistakes() -> None:
    assert definition_mistakes(DEFINITION) == []
    assert plan_mistakes(search_plan()) == []
    node = plan_from_dict(search_plan()).nodes[0]
    assert node.search == {"argument": "trial", "failures_max": 0}
    assert node.as_dict() == search_plan()["nodes"][0]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"kind": "float", "low": 1.0, "high": 0.5, "log": False}, "reaches from 1.0 down to 0.5"),
        ({"kind": "float", "low": math.nan, "high": 0.5, "log": False}, "finite number"),
        ({"kind": "float", "low": 0, "high": math.inf, "log": False}, "finite number"),
        ({"kind": "float", "low": -1e308, "high": 1e308, "log": False}, "more than a floating-point number can hold"),
        ({"kind": "float", "low": 0.0, "high": 1.0, "log": True}, "not above 0"),
        ({"kind": "float", "low": True, "high": 1.0, "log": True}, "finite number"),
        ({"kind": "integer", "low": 1, "high": 8.5, "log": False, "step": 1}, "whole number"),
        ({"kind": "integer", "low": 1, "high": 2**60, "log": False, "step": 1}, "whole number"),
        ({"kind": "integer", "low": 1, "high": 8, "log": False, "step": 0}, "step 0"),
        ({"kind": "integer", "low": 1, "high": 8, "log": True, "step": 2}, "one of them"),
        ({"kind": "choice", "choices": []}, "1 to 1,000 choices"),
        ({"kind": "choice", "choices": [[1], [1]]}, "twice"),
        ({"kind": "choice", "choices": list(range(1001))}, "1 to 1,000 choices"),
        ({"kind": ["float"]}, "none of uniform"),
        ([0, 1], "none of uniform"),
    ],
)
def test_an_unsound_space_is_refused_by_name(source: Any, told: str) -> None:
    found = definition_mistakes(changed(space={"rate": source}))
    assert len(found) == 1
    assert "'rate'" in found[0]
    assert told in found[0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"space": {}}, "its space is empty"),
        ({"space": {f"p{number}": {"kind": "choice", "choices": [1]} for number in range(101)}}, "101 parameters"),
        ({"space": {"learning rate": {"kind": "choice", "choices": [1]}}}, "not named like a variable"),
        ({"direction": "down"}, "minimize or maximize"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"sampler": {"kind": "grid"}}, "none of random, tpe"),
        ({"sampler": {"kind": "tpe"}}, "takes startup_trials"),
        ({"sampler": {"kind": "tpe", "startup_trials": 0}}, "from 1"),
        ({"pruner": {"kind": "median", "startup_trials": 1, "warmup_steps": -1, "interval_steps": 1}}, "warmup_steps of its pruner"),
        ({"surprise": 1}, "has not exactly"),
    ],
)
def test_an_unsound_definition_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match="cannot begin") as caught:
        check_definition(changed(**changes), "search 'tune'")
    assert told in str(caught.value)


def test_choices_may_be_anything_that_json_holds_and_are_told_apart_by_type() -> None:
    space = {"layers": {"kind": "choice", "choices": [[64, 64], {"a": [1]}, None, 1, True, 1.5, "1"]}}
    assert definition_mistakes(changed(space=space)) == []
    assert parameter_mistakes(space, {"layers": {"a": [1]}}) == []
    assert parameter_mistakes(space, {"layers": True}) == []
    assert parameter_mistakes(space, {"layers": [64]}) != []


@pytest.mark.parametrize(
    "parameters", [{}, {"rate": 0.5}, {"rate": 0.05, "leaves": 65}, {"rate": 0.05, "leaves": 8.0}, {"rate": "0.05", "leaves": 8}, None]
)
def test_parameters_outside_of_the_space_are_refused(parameters: Any) -> None:
    assert parameter_mistakes(DEFINITION["space"], parameters)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda node: node.update(search={"argument": "trial"}), "argument and failures_max"),
        (lambda node: node["search"].update(failures_max=-1), "failures_max"),
        (lambda node: node["search"].update(argument="rows"), "no argument that holds its trials"),
        (lambda node: node["search"].update(argument=[1]), "has no argument"),
        (lambda node: node["over"].update(trial={"value": [0, 2, 1]}), "not numbered from 0"),
        (lambda node: node["over"].update(trial={"value": [0, True]}), "numbered from 0"),
        (lambda node: node["over"].update(trial={"value": list(range(SEARCH_TRIALS_MAX + 1))}), "1,001 trials; 1,000 are allowed"),
        (lambda node: node["arguments"]["trial"]["fields"]["search"].update(value={"space": {}}), "has not exactly"),
        (lambda node: node.pop("over"), "not mapped over its trials"),
    ],
)
def test_a_search_that_came_over_the_network_is_believed_in_nothing(change: Any, told: str) -> None:
    drawn = search_plan()
    change(drawn["nodes"][0])
    assert any(told in one for one in plan_mistakes(drawn)), plan_mistakes(drawn)


def test_the_best_trial_is_complete_and_of_equals_the_first() -> None:
    trials = [
        {"number": 0, "state": "pruned", "value": 0.0}, {"number": 1, "state": "complete", "value": 0.2},
        {"number": 2, "state": "complete", "value": 0.1}, {"number": 3, "state": "complete", "value": 0.1},
        {"number": 4, "state": "failed", "value": None},
    ]  # fmt: skip
    assert best_number(trials, "minimize") == 2
    assert best_number(trials, "maximize") == 1
    assert best_number(trials[:1], "minimize") is None


@pytest.mark.parametrize(
    "document", [None, [], {}, {"state": "complete"}, {"state": "complete", "value": "0.5"}, {"state": "complete", "value": True}]
)
def test_a_result_that_is_none_counts_as_failed(document: Any) -> None:
    assert ending(document) == ("failed", None)
