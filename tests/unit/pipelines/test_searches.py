"""Trials as records: parameters fixed once, whatever dies; failures counted; finished trials reused by a longer search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateline.kernel.errors import Conflict, InvalidInput, NotFound, TooLarge
from gateline.kernel.limits import TRIAL_VALUES_MAX
from gateline.pipelines import Outcome, RunState, TrialState
from tests.support.pipelines import WORKER, held, runner
from tests.support.searches import search_plan

if TYPE_CHECKING:
    from gateline.kernel.clock import SimulatedClock
    from gateline.ledger import Ledger
    from gateline.pipelines import Pipelines, StepClaim, Study
    from tests.support.pipelines import Hand

FIRST = {"rate": 0.05, "leaves": 31}
OTHER = {"rate": 0.2, "leaves": 9}


def claimed(work: Any) -> StepClaim:
    """The step that was given out."""
    assert work.step is not None
    found: StepClaim = work.step
    return found


def ended(value: float | None, state: str = "complete") -> dict[str, Any]:
    """The result of a trial."""
    return {"state": state, "value": value}


def states(study: Study) -> list[str]:
    """Where the trials stand."""
    return [trial.state.value for trial in study.trials]


def test_a_search_is_worked_off_trial_by_trial(hand: Hand, pipelines: Pipelines) -> None:
    run_id, work = hand.start(search_plan())
    for number, value in enumerate([0.3, 0.1, 0.2]):
        claim = claimed(work)
        assert claim.index == number
        assert claim.arguments["trial"]["fields"]["number"] == {"value": number}
        assert pipelines.searches.ask(WORKER, held(claim), {"rate": 0.05, "leaves": 8 + number}) == {"rate": 0.05, "leaves": 8 + number}
        work = hand.succeed(claim, ended(value), then=runner())[1]
    study = pipelines.searches.study(run_id, "tune")
    assert states(study) == ["complete"] * 3
    assert [trial.value for trial in study.trials] == [0.3, 0.1, 0.2]
    assert study.best == 1
    assert study.trials[1].parameters == {"rate": 0.05, "leaves": 9}
    assert claimed(work).node["name"] == "best"


def test_parameters_are_fixed_by_the_first_who_asks_and_survive_a_lost_runner(hand: Hand, pipelines: Pipelines, ledger: Ledger) -> None:
    run_id, work = hand.start(search_plan())
    claim = claimed(work)
    pipelines.searches.ask(WORKER, held(claim), FIRST)
    assert pipelines.searches.ask(WORKER, held(claim), OTHER) == FIRST
    pipelines.searches.report(held(claim), [(0, 0.5), (1, 0.4)])
    assert pipelines.searches.study(run_id, "tune").trials[0].last_step == 1
    hand.desk.withdraw(WORKER, "r1")
    assert states(pipelines.searches.study(run_id, "tune")) == ["waiting", "waiting", "waiting"]
    again = claimed(hand.desk.claim(WORKER, runner("r2")))
    assert (again.index, again.attempt) == (0, 2)
    assert pipelines.searches.ask(WORKER, held(again), OTHER) == FIRST
    assert pipelines.searches.study(run_id, "tune").trials[0].last_step is None
    with pytest.raises(Conflict, match="not under way"):
        pipelines.searches.report(held(claim), [(2, 0.1)])
    with pytest.raises(Conflict, match="not under way"):
        pipelines.searches.ask(WORKER, held(claim), OTHER)
    entries = ledger.entries(kind="pipeline.trial.asked")
    assert [one.payload["parameters"] for one in entries] == [FIRST]


def test_a_pruned_trial_is_an_outcome_and_teaches_its_last_value(hand: Hand, pipelines: Pipelines) -> None:
    run_id, work = hand.start(search_plan(2))
    for state, value in (("complete", 0.2), ("pruned", 0.9)):
        claim = claimed(work)
        pipelines.searches.ask(WORKER, held(claim), FIRST)
        pipelines.searches.report(held(claim), [(4, value)])
        work = hand.succeed(claim, ended(value, state), then=runner())[1]
    study = pipelines.searches.study(run_id, "tune")
    assert [(one.state, one.value, one.last_step) for one in study.trials] == [
        (TrialState.COMPLETE, 0.2, 4), (TrialState.PRUNED, 0.9, 4),
    ]  # fmt: skip
    assert hand.states(run_id)["tune*"] == "succeeded"


def test_what_a_trial_is_compared_with_is_what_complete_trials_reported_at_that_step(hand: Hand, pipelines: Pipelines) -> None:
    _, work = hand.start(search_plan(4))
    for number, state in enumerate(("complete", "complete", "pruned")):
        claim = claimed(work)
        pipelines.searches.ask(WORKER, held(claim), FIRST)
        pipelines.searches.report(held(claim), [(0, float(number)), *([(1, 10.0)] if number == 1 else [])])
        work = hand.succeed(claim, ended(0.1, state), then=runner())[1]
    claim = claimed(work)
    pipelines.searches.ask(WORKER, held(claim), FIRST)
    at_first = pipelines.searches.report(held(claim), [(0, 5.0)], compare=0)
    at_second = pipelines.searches.report(held(claim), [(1, float("nan"))], compare=1)
    assert at_first is not None
    assert at_second is not None
    assert (at_first.completed, sorted(at_first.at_step)) == (2, [0.0, 1.0])
    assert (at_second.completed, at_second.at_step) == (2, (10.0,))


def test_a_trial_that_fails_ends_the_search_and_keeps_what_was_tried(hand: Hand, pipelines: Pipelines) -> None:
    run_id, work = hand.start(search_plan())
    claim = claimed(work)
    pipelines.searches.ask(WORKER, held(claim), FIRST)
    work = hand.succeed(claim, ended(0.3), then=runner())[1]
    claim = claimed(work)
    pipelines.searches.ask(WORKER, held(claim), OTHER)
    hand.fail(claim, detail="ValueError: no rows")
    run, study = hand.run(run_id), pipelines.searches.study(run_id, "tune")
    assert run.state is RunState.FAILED
    assert "tune[1]" in run.failure
    assert states(study) == ["complete", "failed", "cancelled"]
    assert "no rows" in study.trials[1].failure
    assert study.best == 0


def test_as_many_trials_may_fail_as_the_search_allows_and_each_is_tried_again_later(hand: Hand, pipelines: Pipelines) -> None:
    run_id, work = hand.start(search_plan(3, failures=1))
    claim = claimed(work)
    pipelines.searches.ask(WORKER, held(claim), FIRST)
    hand.fail(claim, Outcome.OUT_OF_MEMORY, detail="It used 9 GB.")
    work = hand.desk.claim(WORKER, runner())
    for _ in range(2):
        claim = claimed(work)
        pipelines.searches.ask(WORKER, held(claim), OTHER)
        work = hand.succeed(claim, ended(0.3), then=runner())[1]
    study = pipelines.searches.study(run_id, "tune")
    assert states(study) == ["failed", "complete", "complete"]
    assert "9 GB" in study.trials[0].failure
    assert hand.states(run_id)["tune*"] == "succeeded"
    hand.succeed(claimed(work), {"best": 1})
    second, work = hand.start(search_plan(3, failures=1))
    assert claimed(work).index == 0
    assert states(pipelines.searches.study(second, "tune")) == ["running", "complete", "complete"]


def test_one_more_failure_than_allowed_ends_the_search(hand: Hand, pipelines: Pipelines) -> None:
    run_id, work = hand.start(search_plan(3, failures=1))
    for _ in range(2):
        claim = claimed(work)
        pipelines.searches.ask(WORKER, held(claim), FIRST)
        hand.fail(claim)
        work = hand.desk.claim(WORKER, runner())
    assert hand.run(run_id).state is RunState.FAILED
    assert work.step is None


def test_what_fails_before_it_was_asked_for_is_not_tolerated(hand: Hand) -> None:
    run_id, work = hand.start(search_plan(3, failures=3))
    hand.fail(claimed(work), detail="A search needs Optuna, which is not installed.")
    assert hand.run(run_id).state is RunState.FAILED


def test_an_attempt_that_never_asked_is_not_tolerated_though_an_earlier_one_did(hand: Hand, pipelines: Pipelines) -> None:
    run_id, work = hand.start(search_plan(3, failures=3, retries=1))
    pipelines.searches.ask(WORKER, held(claimed(work)), FIRST)
    hand.fail(claimed(work))
    hand.fail(claimed(hand.desk.claim(WORKER, runner())), detail="The code changed.", retry=False)
    study = pipelines.searches.study(run_id, "tune")
    assert hand.run(run_id).state is RunState.FAILED
    assert states(study) == ["failed", "cancelled", "cancelled"]
    assert "The code changed" in study.trials[0].failure


def test_a_longer_search_reuses_what_a_shorter_one_tried(hand: Hand, pipelines: Pipelines) -> None:
    first, work = hand.start(search_plan(2))
    for value in (0.3, 0.1):
        claim = claimed(work)
        pipelines.searches.ask(WORKER, held(claim), {"rate": value, "leaves": 8})
        pipelines.searches.report(held(claim), [(0, value)])
        work = hand.succeed(claim, ended(value), then=runner())[1]
    hand.succeed(claimed(work), {})
    second, work = hand.start(search_plan(3))
    claim = claimed(work)
    assert claim.index == 2
    study = pipelines.searches.study(second, "tune")
    assert [(one.state, one.value, one.reused_from) for one in study.trials[:2]] == [
        (TrialState.COMPLETE, 0.3, first), (TrialState.COMPLETE, 0.1, first),
    ]  # fmt: skip
    assert study.trials[0].parameters == {"rate": 0.3, "leaves": 8}
    pipelines.searches.ask(WORKER, held(claim), FIRST)
    compared = pipelines.searches.report(held(claim), [(0, 0.2)], compare=0)
    assert compared is not None
    assert (compared.completed, sorted(compared.at_step)) == (2, [0.1, 0.3])


def test_another_seed_or_space_is_another_search(hand: Hand) -> None:
    _, work = hand.start(search_plan(1))
    hand.pipelines.searches.ask(WORKER, held(claimed(work)), FIRST)
    work = hand.succeed(claimed(work), ended(0.3), then=runner())[1]
    hand.succeed(claimed(work), {})
    _, work = hand.start(search_plan(1, seed=8))
    assert claimed(work).node["name"] == "tune"


def test_two_runners_never_get_the_same_trial(hand: Hand, pipelines: Pipelines) -> None:
    run_id, work = hand.start(search_plan(4, max_parallel=2))
    one, two = claimed(work), claimed(hand.desk.claim(WORKER, runner("r2")))
    assert hand.desk.claim(WORKER, runner("r3")).step is None
    assert (one.index, two.index) == (0, 1)
    pipelines.searches.ask(WORKER, held(one), FIRST)
    pipelines.searches.ask(WORKER, held(two), OTHER)
    three = claimed(hand.succeed(two, ended(0.2), who=runner("r2"), then=runner("r2"))[1])
    assert three.index == 2
    assert states(pipelines.searches.study(run_id, "tune")) == ["running", "complete", "running", "waiting"]


@pytest.mark.parametrize("parameters", [{}, {"rate": 5.0, "leaves": 8}, {"rate": 0.05, "leaves": 8, "more": 1}])
def test_parameters_outside_of_the_space_are_not_recorded(hand: Hand, pipelines: Pipelines, parameters: dict[str, Any]) -> None:
    run_id, work = hand.start(search_plan())
    with pytest.raises(InvalidInput, match="cannot be tried"):
        pipelines.searches.ask(WORKER, held(claimed(work)), parameters)
    assert pipelines.searches.study(run_id, "tune").trials[0].parameters == {}


def test_a_cancelled_search_says_so_of_its_trials(hand: Hand, pipelines: Pipelines) -> None:
    run_id, work = hand.start(search_plan())
    claim = claimed(work)
    pipelines.searches.ask(WORKER, held(claim), FIRST)
    pipelines.cancel(WORKER, run_id)
    hand.fail(claim, Outcome.CANCELLED)
    assert states(pipelines.searches.study(run_id, "tune")) == ["cancelled"] * 3


def test_a_trial_reports_at_so_many_steps_and_no_more(hand: Hand, pipelines: Pipelines, clock: SimulatedClock) -> None:
    _, work = hand.start(search_plan())
    claim = claimed(work)
    with pytest.raises(Conflict, match="no parameters yet"):
        pipelines.searches.report(held(claim), [(0, 0.5)])
    pipelines.searches.ask(WORKER, held(claim), FIRST)
    pipelines.searches.report(held(claim), [(step, 0.5) for step in range(TRIAL_VALUES_MAX)])
    clock.advance(seconds=1)
    with pytest.raises(TooLarge, match="10,000"):
        pipelines.searches.report(held(claim), [(TRIAL_VALUES_MAX, 0.5)])


def test_a_node_that_is_no_search_is_told_apart(hand: Hand, pipelines: Pipelines) -> None:
    run_id, _ = hand.start(search_plan())
    with pytest.raises(NotFound, match="Its searches are: tune"):
        pipelines.searches.study(run_id, "best")
    with pytest.raises(NotFound, match="no drawn pipeline run"):
        pipelines.searches.study("prun_none", "tune")
