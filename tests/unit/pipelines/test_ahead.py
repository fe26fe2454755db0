"""Steps that a runner is given ahead: done in one go, recorded as if one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.pipelines import Outcome, Report, RunState
from tests.support.pipelines import WORKER, Hand, held, node, plan, runner

if TYPE_CHECKING:
    from gateline.kernel.clock import SimulatedClock
    from gateline.ledger import Ledger
    from gateline.pipelines import Pipelines, StepClaim

CHAIN = plan(node("a", {"x": {"value": 1}}), node("b", {"x": "a"}), node("c", {"x": "b", "y": "a"}), node("d", {"x": "c"}))
OWN = runner("own", inline=("process", "inline"))


def once(hand: Hand, drawn: dict[str, Any] = CHAIN, **results: Any) -> None:
    """Let the pipeline succeed once, so that its steps are known to be quick."""
    _, work = hand.start(drawn, code="first")
    hand.work_off(work, {one["step"]: lambda name=one["step"], **_: results.get(name, f"first {name}") for one in drawn["nodes"]})


def begun(hand: Hand, drawn: dict[str, Any] = CHAIN, **request: Any) -> tuple[str, StepClaim]:
    """A run with new code, whose first step the runner that works inline has."""
    run_id, work = hand.start(drawn, who=OWN, **request)
    assert work.step is not None
    return run_id, work.step


def report(hand: Hand, value: Any, seconds: float = 0.0) -> Report:
    """A success."""
    return Report(outcome=Outcome.SUCCEEDED, artifacts=(hand.store(value),), seconds=seconds)


def names(claim: StepClaim) -> list[str]:
    """The nodes that were given ahead."""
    return [one["node"]["name"] for one in claim.ahead]


def test_what_follows_a_step_is_given_with_it_when_it_was_quick_the_last_time(hand: Hand) -> None:
    """Results to come stay references; code and the plan's node come along."""
    _, claim = begun(hand)
    assert claim.ahead == ()
    hand.pipelines.cancel(WORKER, claim.run_id)
    hand.desk.finish(WORKER, held(claim), "own", Report(outcome=Outcome.CANCELLED))
    once(hand)
    _, claim = begun(hand)
    assert names(claim) == ["b", "c", "d"]
    assert claim.ahead[1]["arguments"] == {"x": {"node": "b"}, "y": {"node": "a"}}
    assert claim.ahead[1]["code"] == "c-c"


def test_steps_reported_together_are_recorded_one_by_one(hand: Hand, ledger: Ledger) -> None:
    """With an attempt, a key and a ledger entry each; the run is over in the same change."""
    once(hand)
    run_id, claim = begun(hand)
    ahead = [(name, report(hand, name, seconds=0.01)) for name in "bcd"]
    _, work = hand.desk.finish(WORKER, held(claim), "own", report(hand, "a"), ahead=ahead, then=OWN)
    assert work.step is None
    run = hand.run(run_id)
    assert run.state is RunState.SUCCEEDED
    assert [hand.value({"artifact": one.artifacts[0].as_dict()}) for one in run.steps] == ["a", "b", "c", "d"]
    assert len({one.key for one in run.steps}) == 4
    attempts = hand.pipelines.attempts(run_id)
    assert [(one.runner, one.attempt, one.outcome) for one in attempts] == [("own", 1, Outcome.SUCCEEDED)] * 4
    assert all(one.ended_at is not None and one.ended_at - one.started_at == 10_000 for one in attempts if one.node != "a")
    finished = [one.subject for one in ledger.entries(kind="pipeline.step.finished", limit=1000) if one.subject.startswith(run_id)]
    assert finished == [f"{run_id}/{name}" for name in "abcd"]


def test_the_same_report_again_changes_nothing(hand: Hand, ledger: Ledger) -> None:
    """Its answer may have been lost."""
    once(hand)
    run_id, claim = begun(hand)
    ahead = [("b", report(hand, "b")), ("c", Report(outcome=Outcome.FAILED, detail="It broke."))]
    hand.desk.finish(WORKER, held(claim), "own", report(hand, "a"), ahead=ahead)
    size, before = ledger.size(), hand.run(run_id)
    hand.desk.finish(WORKER, held(claim), "own", report(hand, "a"), ahead=ahead)
    assert (ledger.size(), hand.run(run_id)) == (size, before)
    assert "It broke." in before.failure
    assert hand.states(run_id) == {"a": "succeeded", "b": "succeeded", "c": "failed", "d": "cancelled"}


def test_a_result_that_was_computed_before_wins_over_one_computed_ahead(hand: Hand) -> None:
    """Early cut-off holds: and what was made of another result than the recorded one counts for nothing."""
    once(hand, a="same")
    codes = {"a": "new"}
    run = hand.pipelines.request(WORKER, "train", {})
    found = hand.desk.claim(WORKER, OWN).draw
    assert found is not None
    work = hand.desk.draw(WORKER, run.id, OWN, CHAIN, {name: codes.get(name, f"first-{name}") for name in "abcd"}, "e" * 64)
    assert work.step is not None
    ahead = [("b", report(hand, "otherwise")), ("c", report(hand, "wrong")), ("d", report(hand, "wrong"))]
    hand.desk.finish(WORKER, held(work.step), "own", report(hand, "same"), ahead=ahead)
    shown = hand.run(run.id)
    assert shown.state is RunState.SUCCEEDED
    assert [bool(one.reused_from) for one in shown.steps] == [False, True, True, True]
    assert hand.value({"artifact": shown.steps[3].artifacts[0].as_dict()}) == "first d"


def test_a_reused_result_of_the_same_content_lets_the_rest_count(hand: Hand) -> None:
    """What follows it was made of the right input."""
    once(hand, a="same")
    run = hand.pipelines.request(WORKER, "train", {})
    assert hand.desk.claim(WORKER, OWN).draw is not None
    codes = {"a": "new", "b": "first-b", "c": "new", "d": "new"}
    work = hand.desk.draw(WORKER, run.id, OWN, CHAIN, codes, "e" * 64)
    assert work.step is not None
    ahead = [("b", report(hand, "first b")), ("c", report(hand, "c")), ("d", report(hand, "d"))]
    hand.desk.finish(WORKER, held(work.step), "own", report(hand, "same"), ahead=ahead)
    shown = hand.run(run.id)
    assert [(bool(one.reused_from), one.attempts) for one in shown.steps] == [(False, 1), (True, 0), (False, 1), (False, 1)]


def test_nothing_counts_after_a_lost_lease_or_a_cancellation(hand: Hand, clock: SimulatedClock) -> None:
    """The steps ahead hang on the lease of the first."""
    once(hand)
    run_id, claim = begun(hand)
    hand.pipelines.cancel(WORKER, run_id)
    hand.desk.finish(WORKER, held(claim), "own", report(hand, "a"), ahead=[("b", report(hand, "b"))])
    assert hand.states(run_id) == {"a": "succeeded", "b": "cancelled", "c": "cancelled", "d": "cancelled"}
    assert len(hand.pipelines.attempts(run_id)) == 1
    run_id, claim = begun(hand, code="other")
    clock.advance(seconds=16)
    again = hand.desk.claim(WORKER, OWN).step
    assert again is not None
    assert (again.attempt, again.ahead) == (2, ())


def test_only_plain_quick_steps_of_the_runners_own_process_are_given_ahead(hand: Hand, clock: SimulatedClock) -> None:
    """Not those that decide, wait for a person, have side effects, are mapped, or were slow."""
    options: dict[str, dict[str, Any]] = {"effect": {"cache": False}, "asked": {"approval": "May it?"}, "apart": {"executor": "process"}}
    more = [node(name, {"x": "a"}, options={"executor": "inline", **one}) for name, one in options.items()]
    own = [node(name, {"x": "a"}, options={"executor": "inline"}) for name in ("quick", "slow")]
    mapped = node("mapped", {"x": {"item": "x"}, "y": "a"}, over={"x": {"value": [1, 2]}}, options={"executor": "inline"})
    when = node("when", {"x": "a"}, when={"node": "a"}, options={"executor": "inline"})
    first = node("a", {"x": {"value": 1}}, options={"executor": "inline"})
    behind = node("behind", {"x": "quick", "y": "slow"}, options={"executor": "inline"})
    whole = plan(first, *more, *own, mapped, when, behind, output="a")
    without = plan(first, *own, *(one for one in more if one["name"] == "apart"), mapped, when, behind, output="a")
    _, work = hand.start(without, code="first")
    while work.step is not None:
        clock.advance(seconds=1 if work.step.node["name"] == "slow" else 0)
        work = hand.succeed(work.step, True, then=runner())[1]
    _, work = hand.start(whole, who=runner("r1", inline=("inline",)), code="second")
    assert work.step is not None
    assert names(work.step) == ["quick"]


def test_a_step_that_needs_others_is_given_ahead_when_those_have_succeeded(hand: Hand) -> None:
    """Its other inputs come as they are recorded."""
    drawn = plan(node("a", {"x": {"value": 1}}), node("z", {"x": {"value": 2}}), node("both", {"x": "a", "y": "z"}))
    once(hand, drawn)
    _, claim = begun(hand, drawn)
    assert (claim.node["name"], names(claim)) == ("a", [])
    _, work = hand.desk.finish(WORKER, held(claim), "own", report(hand, "a"), then=OWN)
    assert work.step is not None
    assert (work.step.node["name"], names(work.step)) == ("z", ["both"])
    arguments = work.step.ahead[0]["arguments"]
    assert (hand.value(arguments["x"]), arguments["y"]) == ("a", {"node": "z"})


def test_a_report_cannot_speak_for_steps_that_are_not_ready(hand: Hand, pipelines: Pipelines) -> None:
    """Whatever a runner says it executed: unknown nodes, items of mapped ones, steps whose inputs are missing."""
    mapped = node("m", {"x": {"item": "x"}}, over={"x": {"value": [1, 2]}})
    drawn = plan(node("a", {"x": {"value": 1}}), mapped, node("b", {"x": "a", "y": "m"}))
    for name in ("nothing", "m", "b"):
        run_id, claim = begun(hand, drawn, code=name)
        hand.desk.finish(WORKER, held(claim), "own", report(hand, "a"), ahead=[(name, report(hand, "x"))])
        assert [one.node for one in pipelines.attempts(run_id)] == ["a"]
        pipelines.cancel(WORKER, run_id)
