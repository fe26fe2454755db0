"""Leases: one accepted result for each step, whatever runners and clocks do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateline.kernel.errors import Conflict, NotFound
from gateline.pipelines import Artifact, Held, Outcome, Pipelines, Report, RunState
from gateline.pipelines.rules import LOST_MAX
from tests.support.pipelines import WORKER, Hand, held, node, plan, runner

if TYPE_CHECKING:
    from gateline.kernel.clock import SimulatedClock
    from gateline.ledger import Ledger
    from gateline.pipelines import StepClaim

ONE = plan(node("fit"))


def begun(hand: Hand, drawn: dict[str, object] = ONE) -> tuple[str, StepClaim]:
    """A run whose first step r1 executes."""
    run_id, work = hand.start(drawn)
    assert work.step is not None
    return run_id, work.step


def test_a_step_is_taken_over_when_its_runner_is_silent_for_15_seconds(hand: Hand, clock: SimulatedClock) -> None:
    """Not before; and the silent one's result is refused when it comes back."""
    run_id, claim = begun(hand)
    clock.advance(seconds=10)
    assert hand.desk.heartbeat("r1", [held(claim)]) == ["go_on"]
    clock.advance(seconds=14)
    assert hand.desk.claim(WORKER, runner("r2")).step is None
    clock.advance(seconds=1)
    taken = hand.desk.claim(WORKER, runner("r2")).step
    assert taken is not None
    assert (taken.node["name"], taken.attempt, taken.key) == ("fit", 2, claim.key)
    assert hand.desk.heartbeat("r1", [held(claim)]) == ["gone"]
    with pytest.raises(Conflict, match="ended with lost"):
        hand.succeed(claim, "late")
    hand.succeed(taken, "right", who=runner("r2"))
    with pytest.raises(Conflict):
        hand.succeed(claim, "late")
    assert hand.value({"artifact": hand.run(run_id).steps[0].artifacts[0].as_dict()}) == "right"
    assert [one.outcome for one in hand.pipelines.attempts(run_id)] == [Outcome.LOST, Outcome.SUCCEEDED]


def test_the_pass_takes_back_what_nobody_asks_for(hand: Hand, pipelines: Pipelines, clock: SimulatedClock) -> None:
    """And a cancelled run whose runner died is over then."""
    run_id, _ = begun(hand)
    pipelines.cancel(WORKER, run_id)
    assert pipelines.reconcile() == 0
    clock.advance(seconds=16)
    assert pipelines.reconcile() == 1
    assert hand.run(run_id).state is RunState.CANCELLED
    assert pipelines.reconcile() == 0


def test_what_a_dead_runner_held_is_taken_back_at_once(hand: Hand, pipelines: Pipelines) -> None:
    """Whoever knows that it is dead says so: a runner that starts in the same folder does."""
    waiting = pipelines.request(WORKER, "train", {}, priority=-1)
    run_id, _ = begun(hand)
    assert hand.desk.claim(WORKER, runner("r1")).draw is not None
    assert hand.desk.claim(WORKER, runner("r2")).draw is None
    assert hand.desk.withdraw(WORKER, "r1") == 1
    taken = hand.desk.claim(WORKER, runner("r2")).step
    assert taken is not None
    assert (taken.run_id, taken.attempt) == (run_id, 2)
    drawn = hand.desk.claim(WORKER, runner("r2")).draw
    assert drawn is not None
    assert drawn.id == waiting.id
    assert hand.desk.withdraw(WORKER, "r1") == 0


def test_a_step_whose_runner_does_not_know_of_it_is_given_out_again(hand: Hand, clock: SimulatedClock) -> None:
    """The answer that gave it out was lost; one that may still be on its way is not."""
    _, claim = begun(hand)
    clock.advance(seconds=4)
    hand.desk.heartbeat("r1", [])
    assert hand.desk.claim(WORKER, runner("r1")).step is None
    clock.advance(seconds=1)
    hand.desk.heartbeat("r1", [held(claim)])
    assert hand.desk.claim(WORKER, runner("r1")).step is None
    hand.desk.heartbeat("r1", [])
    again = hand.desk.claim(WORKER, runner("r1")).step
    assert again is not None
    assert again.attempt == 2


def test_a_server_that_starts_gives_runners_time_to_be_heard(hand: Hand, ledger: Ledger, clock: SimulatedClock) -> None:
    """Training for hours is not thrown away because the server was down for a minute."""
    _, claim = begun(hand)
    clock.advance(seconds=60)
    restarted = Pipelines(ledger, hand.objects)
    assert restarted.reconcile() == 0
    assert restarted.desk.heartbeat("r1", [held(claim)]) == ["go_on"]
    clock.advance(seconds=14)
    restarted.desk.heartbeat("r1", [held(claim)])
    clock.advance(seconds=14)
    assert restarted.reconcile() == 0


def test_a_heartbeat_that_comes_late_but_before_anybody_else_keeps_the_step(hand: Hand, clock: SimulatedClock) -> None:
    """Nothing was taken away yet."""
    _, claim = begun(hand)
    clock.advance(seconds=60)
    assert hand.desk.heartbeat("r1", [held(claim)]) == ["go_on"]
    assert hand.desk.claim(WORKER, runner("r2")).step is None
    hand.succeed(claim, 1)


@pytest.mark.parametrize("jump", [-7200, 7200], ids=["back", "forward"])
def test_a_clock_that_jumps_costs_time_and_never_gives_two_results(hand: Hand, clock: SimulatedClock, jump: float) -> None:
    """The lease is void, the step runs again, and the first result is refused."""
    run_id, claim = begun(hand)
    clock.advance(seconds=jump)
    hand.desk.take_back()
    clock.advance(seconds=15)
    taken = hand.desk.claim(WORKER, runner("r2")).step
    assert taken is not None
    with pytest.raises(Conflict):
        hand.succeed(claim, "first")
    hand.succeed(taken, "second", who=runner("r2"))
    run = hand.run(run_id)
    assert (run.state, run.steps[0].attempts) == (RunState.SUCCEEDED, 2)


def test_the_same_report_twice_is_one_result(hand: Hand) -> None:
    """An answer that was lost on the way is asked for again."""
    run_id, claim = begun(hand)
    hand.succeed(claim, 1)
    step, _ = hand.succeed(claim, 1)
    assert step.attempts == 1
    assert len(hand.pipelines.attempts(run_id)) == 1
    with pytest.raises(Conflict, match="ended with succeeded"):
        hand.fail(claim)


def test_a_result_that_was_never_stored_is_refused(hand: Hand) -> None:
    """A record never points at nothing."""
    _, claim = begun(hand)
    report = Report(outcome=Outcome.SUCCEEDED, artifacts=(Artifact(kind="json", sha256="c" * 64, size_bytes=1),))
    with pytest.raises(NotFound):
        hand.desk.finish(WORKER, held(claim), "r1", report)


def test_a_run_is_drawn_once_also_when_two_runners_drew_it(hand: Hand, pipelines: Pipelines, clock: SimulatedClock) -> None:
    """The first one's plan counts; an equal one changes nothing, another is refused."""
    run = pipelines.request(WORKER, "train", {})
    assert hand.desk.claim(WORKER, runner("r1")).draw is not None
    assert hand.desk.claim(WORKER, runner("r2")).draw is None
    clock.advance(seconds=16)
    assert hand.desk.claim(WORKER, runner("r2")).draw is not None
    with pytest.raises(Conflict, match="not to be drawn by 'r1'"):
        hand.desk.draw(WORKER, run.id, runner("r1"), ONE, {"fit": "c"}, "e")
    assert hand.desk.draw(WORKER, run.id, runner("r2"), ONE, {"fit": "c"}, "e").step is not None
    assert hand.desk.draw(WORKER, run.id, runner("r1"), ONE, {"fit": "c"}, "e").step is None
    with pytest.raises(Conflict, match="another plan"):
        hand.desk.draw(WORKER, run.id, runner("r1"), plan(node("other")), {"other": "c"}, "e")


def test_a_run_that_cannot_be_drawn_fails_with_the_reason(hand: Hand, pipelines: Pipelines) -> None:
    """It does not wait for ever."""
    run = pipelines.request(WORKER, "train", {})
    hand.desk.claim(WORKER, runner())
    hand.desk.refuse(WORKER, run.id, "r1", "Pipeline 'train' has no parameter 'x'.")
    assert (hand.run(run.id).state, hand.run(run.id).failure) == (RunState.FAILED, "Pipeline 'train' has no parameter 'x'.")


@pytest.mark.parametrize("who", [{"project": "q"}, {"pipelines": ("other",)}, {"run_id": "prun_other"}])
def test_a_runner_gets_no_work_that_is_not_for_it(hand: Hand, pipelines: Pipelines, who: dict[str, object]) -> None:
    """Of another project, of a pipeline it does not have, of a run it does not want."""
    pipelines.request(WORKER, "train", {}, project="p")
    assert hand.desk.claim(WORKER, runner(**who)).draw is None
    assert hand.desk.claim(WORKER, runner()).draw is not None


def test_a_step_that_asks_for_more_processors_or_another_executor_is_left_to_others(hand: Hand) -> None:
    """The runner says what it has free."""
    _, work = hand.start(plan(node("big", options={"cpus": 4}), node("far", options={"executor": "ray://head:10001"})), who=runner(cpus=2))
    assert work.step is None
    big = hand.desk.claim(WORKER, runner(cpus=4)).step
    assert big is not None
    assert big.node["name"] == "big"
    far = hand.desk.claim(WORKER, runner(executors=("ray",))).step
    assert far is not None
    assert far.node["name"] == "far"


def test_more_urgent_runs_come_first(hand: Hand, pipelines: Pipelines) -> None:
    """Then older ones."""
    old, new, urgent = (pipelines.request(WORKER, "train", {}, priority=priority) for priority in (0, 0, 5))
    order = [hand.desk.claim(WORKER, runner()).draw for _ in range(3)]
    assert [run.id for run in order if run is not None] == [urgent.id, old.id, new.id]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.EXITED, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY])
def test_a_step_is_tried_again_after_its_wait_as_often_as_it_allows(hand: Hand, clock: SimulatedClock, outcome: Outcome) -> None:
    """Lost runners do not count as tries."""
    run_id, _ = begun(hand, plan(node("fit", options={"retries": 1, "retry_wait_seconds": 30})))
    clock.advance(seconds=16)
    again = hand.desk.claim(WORKER, runner()).step
    assert again is not None
    hand.fail(again, outcome)
    assert hand.states(run_id) == {"fit": "ready"}
    clock.advance(seconds=29)
    assert hand.desk.claim(WORKER, runner()).step is None
    clock.advance(seconds=1)
    last = hand.desk.claim(WORKER, runner()).step
    assert last is not None
    assert last.attempt == 3
    hand.fail(last, outcome, detail="no")
    assert hand.run(run_id).state is RunState.FAILED
    assert "It was tried 2 times." in hand.run(run_id).failure


def test_a_failure_that_another_try_cannot_mend_is_not_retried(hand: Hand) -> None:
    """Such as code that changed after the run was drawn."""
    run_id, claim = begun(hand, plan(node("fit", options={"retries": 5})))
    hand.fail(claim, retry=False)
    assert hand.run(run_id).state is RunState.FAILED


def test_a_step_that_loses_every_runner_fails_in_the_end(hand: Hand, clock: SimulatedClock) -> None:
    """It may be what kills them."""
    run_id, _ = begun(hand)
    for _ in range(LOST_MAX):
        clock.advance(seconds=16)
        hand.desk.claim(WORKER, runner())
    assert f"lost its runner {LOST_MAX} times" in hand.run(run_id).failure


def test_output_is_readable_while_a_step_runs_and_after(hand: Hand) -> None:
    """From any position; of the newest attempt."""
    run_id, claim = begun(hand)
    one = held(claim)

    def write(offset: int, text: str) -> None:
        hand.desk.heartbeat("r1", [Held(run_id=run_id, node="fit", index=0, attempt=1, offset=offset, text=text)])

    write(0, "one\n")
    write(4, "two\n")
    write(4, "two\n")
    assert hand.pipelines.output(run_id, "fit", 0) == {"attempt": 1, "text": "one\ntwo\n", "offset": 8, "over": False}
    assert hand.pipelines.output(run_id, "fit", 0, offset=5)["text"] == "wo\n"
    log = hand.objects.put_bytes(b"one\ntwo\nthree\n").sha256
    hand.desk.finish(WORKER, one, "r1", Report(outcome=Outcome.SUCCEEDED, artifacts=(hand.store(1),), log_sha256=log))
    assert hand.pipelines.output(run_id, "fit", 0, offset=8) == {"attempt": 1, "text": "three\n", "offset": 14, "over": True}


def test_what_a_lost_attempt_wrote_is_kept(hand: Hand, clock: SimulatedClock) -> None:
    """Though its runner could not hand it in."""
    run_id, _ = begun(hand)
    hand.desk.heartbeat("r1", [Held(run_id=run_id, node="fit", index=0, attempt=1, text="last words")])
    clock.advance(seconds=16)
    hand.desk.take_back()
    assert hand.pipelines.output(run_id, "fit", 0)["text"] == "last words"
