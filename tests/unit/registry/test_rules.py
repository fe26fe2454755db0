"""The lifecycle."""

from __future__ import annotations

import itertools

import pytest

from gateline.kernel.errors import Conflict
from gateline.registry import State
from gateline.registry.rules import TRANSITIONS, metric_mistakes, require_promotable, require_transition, state_after_leaving, state_in


@pytest.mark.parametrize(("current", "target"), list(itertools.product(State, State)), ids=str)
def test_every_illegal_transition_names_both_states_and_what_is_possible(current, target):
    if target in TRANSITIONS[current]:
        require_transition("m@1", current, target)
        return
    with pytest.raises(Conflict) as caught:
        require_transition("m@1", current, target)
    assert f"m@1 is {current} and cannot become {target}" in str(caught.value)
    for possible in TRANSITIONS[current]:
        assert possible.value in caught.value.next_step


def test_rejected_is_final_and_only_placed_versions_reach_production():
    assert TRANSITIONS[State.REJECTED] == frozenset()
    before = {state for state in State if State.PRODUCTION in TRANSITIONS[state]}
    assert before == {State.CANDIDATE, State.STAGING, State.RETIRED}


@pytest.mark.parametrize(
    ("left", "others", "state"),
    [
        ("prod", [], "retired"), ("prod", ["staging"], "retired"), ("staging", [], "candidate"), ("staging", ["dev"], "staging"),
        ("staging", ["prod"], "production"), ("europe", ["prod"], "production"),
    ],
)  # fmt: skip
def test_leaving_an_environment(left, others, state):
    assert state_after_leaving(left, others) == state


def test_every_environment_is_production_but_those_that_serve_nobody():
    assert state_in("staging") is state_in("dev") is State.STAGING
    assert state_in("prod") is state_in("europe") is State.PRODUCTION


@pytest.mark.parametrize(("gates", "approved"), [(True, False), (False, True), (False, False)])
def test_nothing_is_placed_without_gates_and_approval(gates, approved):
    with pytest.raises(Conflict, match="cannot be placed"):
        require_promotable("m@1", State.CANDIDATE, gates_passed=gates, approved=approved, environment="prod")


def test_metrics_are_finite_numbers():
    assert metric_mistakes({}) == ["no metrics"]
    assert len(metric_mistakes({"a": float("inf"), "b": "1", "c": True, "d": 0.5})) == 3
