"""The decisions of a rollout, without a database."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gateline.kernel.errors import InvalidInput
from gateline.rollout.model import Analysis, Comparison, Evidence, Family, RolloutPlan
from gateline.rollout.rules import Action, decide_canary, decide_probation, look_due, looks_in_all

PLAN = RolloutPlan.from_dict({})
LAST = len(PLAN.steps) - 1


def evidence(family: Family, log_e: float = 0.0) -> Evidence:
    """Evidence of one family."""
    return Evidence(
        family=family, log_e=log_e, what="requests that fail", canary_bad=9, canary_total=90, baseline_bad=1, baseline_total=900
    )  # fmt: skip


QUIET = Analysis(
    canary_requests=200, baseline_requests=1800, step_requests=200, step_labels=150, error_share=0.0, sample_ratio_p=0.5,
    event_seconds=3600.0, evidence=tuple(evidence(family) for family in Family),
)  # fmt: skip


def loud(family: Family, log_e: float) -> Analysis:
    """An analysis in which one family speaks."""
    return replace(QUIET, evidence=tuple(evidence(one, log_e if one is family else 0.0) for one in Family))


def compared(lower: float, *, days: int = 14) -> Comparison:
    """A paired comparison whose interval starts at `lower`."""
    return Comparison(
        days=days, requests=1000, difference=lower + 0.02, lower=lower, upper=lower + 0.04, level=0.98, looks=3, coverage=0.97
    )  # fmt: skip


def test_a_quiet_step_with_enough_data_widens_and_the_last_one_promotes() -> None:
    """Both with a sentence that quotes the numbers."""
    first, last = decide_canary(PLAN, 0, QUIET), decide_canary(PLAN, LAST, QUIET)
    assert (first.action, last.action) == (Action.WIDEN, Action.PROMOTE)
    assert "From 10% to 25%: 200 canary requests" in first.reason


@pytest.mark.parametrize("family", list(Family))
def test_evidence_beyond_the_bound_in_any_family_rolls_back(family: Family) -> None:
    """The bound splits alpha over the families; just below it nothing is rolled back."""
    threshold = math.log(len(Family) / PLAN.alpha)
    assert decide_canary(PLAN, LAST, loud(family, threshold)).action is Action.ROLL_BACK
    assert decide_canary(PLAN, LAST, loud(family, threshold - 1e-9)).action is Action.WAIT
    assert "canary 9 of 90 (10.0%), champion 1 of 900 (0.1%)" in decide_canary(PLAN, 0, loud(family, 50.0)).reason


@pytest.mark.parametrize(
    ("change", "words"),
    [({"step_requests": 149}, "149 of 150 canary requests"), ({"step_labels": 3}, "3 of 100 labelled canary requests")],
)
def test_too_little_data_waits_and_says_what_is_missing(change: dict[str, int], words: str) -> None:
    """Never a promotion on thin data."""
    found = decide_canary(PLAN, LAST, replace(QUIET, **change))
    assert found.action is Action.WAIT
    assert words in found.reason


def test_a_canary_that_mostly_fails_is_taken_back_at_once() -> None:
    """A guard that needs no statistics."""
    found = decide_canary(PLAN, 0, replace(QUIET, canary_requests=20, error_share=0.55))
    assert found.action is Action.ROLL_BACK
    assert decide_canary(PLAN, 0, replace(QUIET, canary_requests=19, error_share=0.9)).action is not Action.ROLL_BACK


def test_a_split_that_the_shares_cannot_explain_is_taken_back() -> None:
    """Arms that were not split at random cannot be compared."""
    found = decide_canary(PLAN, 0, replace(QUIET, sample_ratio_p=1e-9))
    assert found.action is Action.ROLL_BACK
    assert "cannot be compared" in found.reason


def test_many_requests_without_an_answer_pause_for_a_person() -> None:
    """Suspicion neither promotes nor rolls back, and does not last for ever."""
    unclear = loud(Family.LABELS, math.log(20))
    assert decide_canary(PLAN, LAST, unclear).action is Action.WAIT
    assert decide_canary(PLAN, LAST, replace(unclear, step_requests=PLAN.step_requests_max)).action is Action.PAUSE


def test_probation_takes_back_only_what_is_shown_worse_on_a_planned_look() -> None:
    """The whole interval must lie above zero, and enough days must have labels."""
    assert decide_probation(PLAN, 0, 15.0, compared(0.001)).action is Action.ROLL_BACK
    assert decide_probation(PLAN, 0, 15.0, compared(-0.001)).action is Action.WAIT
    assert decide_probation(PLAN, 0, 10.0, compared(0.001, days=9)).action is Action.WAIT
    assert decide_probation(PLAN, 1, 15.0, compared(0.001, days=15)).action is Action.WAIT


def test_probation_ends_in_favour_of_what_was_not_shown_worse() -> None:
    """After its days."""
    assert decide_probation(PLAN, 3, 28.0, compared(-0.01, days=28)).action is Action.KEEP


def test_looks_are_planned_before_the_first_label() -> None:
    """At 14, 21 and 28 days by default, so that their number is known to the interval's level."""
    assert looks_in_all(PLAN) == 3
    assert next(days for days in range(40) if look_due(PLAN, 1, days)) == 21
    assert not look_due(PLAN, 3, 40)


def test_a_wrong_plan_names_every_mistake() -> None:
    """At once."""
    with pytest.raises(InvalidInput) as caught:
        RolloutPlan.from_dict({"steps": [0.5, 0.2], "alpha": 2, "speed": 1, "ratio": {"luck": 1.0, "errors": 0.5}})
    for words in ("steps must rise", "alpha must lie", "'speed' is no field", "no family 'luck'", "ratios must be at least 1"):
        assert words in str(caught.value)
