"""Runs as records: what follows from what, reuse, and cancelling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateline.kernel.errors import Conflict, InvalidInput
from gateline.pipelines import Outcome, RunState
from tests.support.pipelines import ENVIRONMENT, WORKER, Hand, held, node, plan, runner

if TYPE_CHECKING:
    from gateline.ledger import Ledger
    from gateline.pipelines import Pipelines

CHAIN = plan(node("a"), node("b", {"x": "a"}), node("c", {"x": "b", "y": {"value": 3}}))
FUNCTIONS = {"a": lambda: 1, "b": lambda x: x + 1, "c": lambda x, y: {"sum": x + y}}


def test_a_request_made_twice_is_one_run(pipelines: Pipelines) -> None:
    """The request key makes it idempotent."""
    first = pipelines.request(WORKER, "train", {"rounds": 5}, request_key="daily/1")
    assert pipelines.request(WORKER, "train", {"rounds": 5}, request_key="daily/1").id == first.id
    assert pipelines.request(WORKER, "train", {"rounds": 5}).id != first.id


def test_steps_run_in_order_and_the_run_ends_with_the_output(hand: Hand, ledger: Ledger) -> None:
    """Each step's key and artifacts are on record, and one ledger entry says so."""
    run_id, work = hand.start(CHAIN)
    assert hand.states(run_id) == {"a": "running", "b": "waiting", "c": "waiting"}
    hand.work_off(work, FUNCTIONS)
    run = hand.run(run_id)
    assert (run.state, run.result) == (RunState.SUCCEEDED, {"sum": 5})
    assert [len(step.key) for step in run.steps] == [64] * 3
    kinds = [entry.kind for entry in ledger.entries() if entry.kind.startswith("pipeline.")]
    assert kinds == ["pipeline.run.requested", "pipeline.run.started", *["pipeline.step.finished"] * 3, "pipeline.run.finished"]


def test_a_run_whose_steps_were_all_computed_before_is_over_when_it_is_drawn(hand: Hand) -> None:
    """And names the run that each result came from."""
    first, work = hand.start(CHAIN)
    hand.work_off(work, FUNCTIONS)
    second, work = hand.start(CHAIN)
    assert work.step is None
    run = hand.run(second)
    assert (run.state, run.result, {step.reused_from for step in run.steps}) == (RunState.SUCCEEDED, {"sum": 5}, {first})
    third, work = hand.start(CHAIN)
    assert {step.reused_from for step in hand.run(third).steps} == {first}


def test_what_changed_runs_again_and_what_follows_is_cut_off_when_its_input_is_the_same(hand: Hand) -> None:
    """`b` has other code, and returns what it did before: `c` is reused."""
    _, work = hand.start(CHAIN)
    hand.work_off(work, FUNCTIONS)
    edited = plan(node("a"), {**node("b", {"x": "a"}), "step": "b2"}, CHAIN["nodes"][2])
    run_id, work = hand.start(edited)
    hand.executed.clear()
    hand.work_off(work, {"b2": lambda x: x + 1})
    assert hand.executed == ["b"]
    assert hand.run(run_id).state is RunState.SUCCEEDED


@pytest.mark.parametrize("option", [{"seed": 2}, {"cache": False}], ids=["seed", "no cache"])
def test_another_seed_or_a_step_with_side_effects_is_not_reused(hand: Hand, option: dict[str, object]) -> None:
    """The digest holds the seed; a step without cache belongs to its run."""
    _, work = hand.start(plan(node("a", options={"cache": option.get("cache", True)})))
    hand.work_off(work, FUNCTIONS)
    _, work = hand.start(plan(node("a", options=option)))
    assert work.step is not None


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_an_artifact_damaged_behind_the_cache_is_computed_again(hand: Hand, damage: str) -> None:
    """A hit is believed only when its bytes still have their digest."""
    first, work = hand.start(CHAIN)
    hand.work_off(work, FUNCTIONS)
    path = hand.objects.path(hand.run(first).steps[0].artifacts[0].sha256)
    path.chmod(0o644)
    path.unlink() if damage == "gone" else path.write_bytes(b"changed")
    second, work = hand.start(CHAIN)
    hand.executed.clear()
    hand.work_off(work, FUNCTIONS)
    assert hand.executed == ["a"]
    assert hand.run(second).state is RunState.SUCCEEDED


def test_a_large_artifact_is_looked_at_outside_the_transaction(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing gigabytes must not hold the records' write lock."""
    monkeypatch.setattr("gateline.pipelines.settling._LOOKED_AT_ONCE_BYTES", 0)
    first, work = hand.start(CHAIN)
    hand.work_off(work, FUNCTIONS)
    second, work = hand.start(CHAIN)
    assert work.step is None
    assert {step.reused_from for step in hand.run(second).steps} == {first}


def test_when_decides_whether_a_node_and_what_follows_runs(hand: Hand) -> None:
    """Skipped is a state of its own, and the run succeeds."""
    branch = plan(node("a"), node("b", when={"node": "a"}), node("c", {"x": "b", "y": {"value": 1}}), node("d"), output="d")
    run_id, work = hand.start(branch)
    hand.work_off(work, {"a": lambda: False, "d": dict})
    assert hand.states(run_id) == {"a": "succeeded", "b": "skipped", "c": "skipped", "d": "succeeded"}
    assert hand.run(run_id).state is RunState.SUCCEEDED
    again, work = hand.start(branch, code="d")
    hand.work_off(work, {"a": lambda: True, "b": lambda: 1, "c": lambda x, y: x + y, "d": dict})
    assert set(hand.states(again).values()) == {"succeeded"}


def test_a_condition_that_is_neither_true_nor_false_fails_the_run(hand: Hand) -> None:
    """Python's truth of other values is not ours to guess."""
    run_id, work = hand.start(plan(node("a"), node("b", when={"node": "a"})))
    hand.work_off(work, {"a": lambda: 3})
    run = hand.run(run_id)
    assert run.state is RunState.FAILED
    assert "returned a int, not true or false" in run.failure


def mapped(over: object, **rest: object) -> dict[str, object]:
    """A plan with a mapped node between two plain ones."""
    each = node("fit", {"rate": {"item": "rate"}}, over={"rate": over}, **rest)
    return plan(node("grid"), each, node("pick", {"trials": "fit"}))


@pytest.mark.parametrize("over", [{"value": [1, 2, 3]}, {"node": "grid"}], ids=["known when drawn", "known at run time"])
def test_a_mapped_node_has_an_item_for_each_element_and_gives_them_in_order(hand: Hand, over: object) -> None:
    """Whichever finishes first."""
    run_id, work = hand.start(mapped(over))
    hand.work_off(work, {"grid": lambda: [1, 2, 3], "fit": lambda rate: rate * 10, "pick": lambda trials: {"trials": trials}})
    run = hand.run(run_id)
    assert run.result == {"trials": [10, 20, 30]}
    assert [step.width for step in run.steps if step.index == -1] == [3]


def test_a_list_without_elements_is_no_failure(hand: Hand) -> None:
    """The mapped node is over at once."""
    run_id, work = hand.start(mapped({"node": "grid"}))
    hand.work_off(work, {"grid": list, "pick": lambda trials: {"trials": trials}})
    assert hand.run(run_id).result == {"trials": []}


def test_at_most_max_parallel_items_are_given_out(hand: Hand) -> None:
    """The next one when one is over."""
    each = node("fit", {"rate": {"item": "rate"}}, over={"rate": {"value": [1, 2, 3, 4]}}, max_parallel=2)
    run_id, work = hand.start(plan(each))
    first, second, third = work.step, hand.desk.claim(WORKER, runner()).step, hand.desk.claim(WORKER, runner()).step
    assert first is not None
    assert second is not None
    assert third is None
    hand.work_off(hand.succeed(second, 20, then=runner())[1], {"fit": lambda rate: rate * 10})
    hand.succeed(first, 10)
    assert set(hand.states(run_id).values()) == {"succeeded"}


def test_lists_of_unequal_length_fail_with_both_lengths(hand: Hand) -> None:
    """Nothing is cut off silently."""
    two = node("fit", {"x": {"item": "x"}, "y": {"item": "y"}}, over={"x": {"node": "grid"}, "y": {"value": [1, 2]}})
    run_id, work = hand.start(plan(node("grid"), two))
    hand.work_off(work, {"grid": lambda: [1]})
    assert "'x' has 1, 'y' has 2" in hand.run(run_id).failure


def test_a_plan_that_cannot_be_carried_out_is_refused(hand: Hand, pipelines: Pipelines) -> None:
    """It may come from anybody; the run waits for a sound one."""
    run = pipelines.request(WORKER, "train", {})
    hand.desk.claim(WORKER, runner())
    with pytest.raises(InvalidInput, match="unknown"):
        hand.desk.draw(WORKER, run.id, runner(), plan(node("a", {"x": "unknown"})), {}, ENVIRONMENT)
    assert hand.run(run.id).state is RunState.QUEUED


def test_a_failed_step_ends_the_run_and_lets_those_finish_that_run(hand: Hand) -> None:
    """Their results are there for the next run; nothing new begins."""
    run_id, work = hand.start(plan(node("a"), node("b"), node("c", {"x": "a"}), node("d", {"x": "b"})))
    other = hand.desk.claim(WORKER, runner()).step
    assert work.step is not None
    assert other is not None
    hand.fail(work.step, detail="ValueError: no rows")
    assert hand.run(run_id).state is RunState.RUNNING
    assert hand.run(run_id).failure == "Step 'a' failed: ValueError: no rows"
    hand.succeed(other, 1)
    assert hand.run(run_id).state is RunState.FAILED
    assert hand.states(run_id) == {"a": "failed", "b": "succeeded", "c": "cancelled", "d": "cancelled"}


def test_a_run_is_retried_from_where_it_failed(hand: Hand, pipelines: Pipelines) -> None:
    """A new run with the same parameters; what was done is reused."""
    run_id, work = hand.start(CHAIN, parameters={"rounds": 1})
    assert work.step is not None
    following = hand.succeed(work.step, 1, then=runner())[1].step
    assert following is not None
    hand.fail(following)
    again = pipelines.retry(WORKER, run_id)
    assert (again.parameters, again.project) == ({"rounds": 1}, "p")
    work = hand.desk.claim(WORKER, runner())
    assert work.draw is not None
    work = hand.desk.draw(WORKER, again.id, runner(), CHAIN, {name: f"c-{name}" for name in "abc"}, "e" * 64)
    assert work.step is not None
    assert work.step.node["name"] == "b"


def test_a_queued_run_is_cancelled_at_once_and_a_running_one_when_its_steps_have_stopped(hand: Hand, pipelines: Pipelines) -> None:
    """The heartbeat tells the runner."""
    queued = pipelines.request(WORKER, "train", {})
    assert pipelines.cancel(WORKER, queued.id).state is RunState.CANCELLED
    run_id, work = hand.start(CHAIN)
    claim = work.step
    assert claim is not None
    assert pipelines.cancel(WORKER, run_id).state is RunState.RUNNING
    assert hand.desk.heartbeat("r1", [held(claim)]) == ["cancel"]
    hand.fail(claim, Outcome.CANCELLED)
    run = pipelines.cancel(WORKER, run_id)
    assert (run.state, run.cancelled_by) == (RunState.CANCELLED, "runner")
    assert set(hand.states(run_id).values()) == {"cancelled"}


def test_a_plan_that_comes_after_the_run_was_cancelled_is_refused(hand: Hand, pipelines: Pipelines) -> None:
    """The runner drew it in vain, and asks for other work."""
    run = pipelines.request(WORKER, "train", {})
    hand.desk.claim(WORKER, runner())
    pipelines.cancel(WORKER, run.id)
    with pytest.raises(Conflict, match="is cancelled; no plan is wanted"):
        hand.desk.draw(WORKER, run.id, runner(), CHAIN, dict.fromkeys("abc", "x"), ENVIRONMENT)
    assert hand.run(run.id).steps == ()


def test_a_result_handed_in_while_the_run_is_being_cancelled_is_kept(hand: Hand, pipelines: Pipelines) -> None:
    """It was computed; the next run may reuse it."""
    run_id, work = hand.start(CHAIN)
    assert work.step is not None
    pipelines.cancel(WORKER, run_id)
    hand.succeed(work.step, 1)
    assert hand.states(run_id) == {"a": "succeeded", "b": "cancelled", "c": "cancelled"}
    assert hand.run(run_id).state is RunState.CANCELLED


def test_a_preview_says_what_a_run_would_do(hand: Hand, pipelines: Pipelines) -> None:
    """Without a record."""
    codes = {name: f"c-{name}" for name in "abc"}
    assert pipelines.preview(CHAIN, codes, "e" * 64) == {"a": "run", "b": "unknown", "c": "unknown"}
    _, work = hand.start(CHAIN)
    hand.work_off(work, FUNCTIONS)
    assert pipelines.preview(CHAIN, codes, "e" * 64) == {"a": "reuse", "b": "reuse", "c": "reuse"}
    assert pipelines.preview(CHAIN, codes | {"c": "other"}, "e" * 64) == {"a": "reuse", "b": "reuse", "c": "run"}
    assert len(pipelines.newest()) == 1
