"""Limits hold runs up and say why; triggers lose no dataset version."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from gateline.kernel.errors import InvalidInput
from gateline.pipelines import Limits, RunState, Trigger, TriggerSource
from tests.support.pipelines import WORKER, Hand, node, plan, runner

if TYPE_CHECKING:
    from gateline.kernel.clock import SimulatedClock
    from gateline.ledger import Ledger
    from gateline.pipelines import PipelineLimits, Pipelines, Triggers

ONE = plan(node("a", options={"cache": False}))


def finish(hand: Hand, run_id: str) -> None:
    """Draw a run that was handed out, and work it off."""
    work = hand.desk.draw(WORKER, run_id, runner(), ONE, {"a": "c"}, "e" * 64)
    assert work.step is not None
    hand.succeed(work.step, {})


def test_no_more_runs_begin_than_may_be_under_way_at_once(
    hand: Hand, pipelines: Pipelines, limits: PipelineLimits, clock: SimulatedClock, ledger: Ledger
) -> None:
    """The others wait, say why, and begin when one is over; a runner that dies while drawing keeps the place of its run."""
    limits.set(WORKER, Limits(pipeline="train", concurrent_max=1))
    first, second = (pipelines.request(WORKER, "train", {"n": n}) for n in (1, 2))
    assert hand.desk.claim(WORKER, runner()).draw.id == first.id
    assert hand.desk.claim(WORKER, runner("r2")).draw is None
    limits.reconcile()
    assert "the limit is 1" in pipelines.get(second.id).held
    assert limits.reconcile() == 0
    assert [entry.subject for entry in ledger.entries(kind="pipeline.run.deferred")] == [second.id]
    clock.advance(seconds=60)
    assert hand.desk.claim(WORKER, runner()).draw.id == first.id
    finish(hand, first.id)
    limits.reconcile()
    assert pipelines.get(second.id).held == ""
    assert hand.desk.claim(WORKER, runner()).draw.id == second.id


def test_a_full_pipeline_keeps_no_other_from_beginning(hand: Hand, pipelines: Pipelines, limits: PipelineLimits) -> None:
    limits.set(WORKER, Limits(pipeline="train", concurrent_max=1))
    for number in range(30):
        pipelines.request(WORKER, "train", {"n": number}, priority=1)
    other = pipelines.request(WORKER, "score", {})
    both = runner(pipelines=("train", "score"))
    assert hand.desk.claim(WORKER, both).draw.pipeline == "train"
    assert hand.desk.claim(WORKER, both).draw.id == other.id


def test_many_runners_at_once_do_not_exceed_the_limit(hand: Hand, pipelines: Pipelines, limits: PipelineLimits) -> None:
    limits.set(WORKER, Limits(pipeline="train", concurrent_max=2))
    for number in range(6):
        pipelines.request(WORKER, "train", {"n": number})
    barrier = Barrier(4)

    def take(number: int) -> bool:
        barrier.wait()
        return hand.desk.claim(WORKER, runner(f"r{number}")).draw is not None

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, range(4))) <= 2
    for number in range(4):
        hand.desk.claim(WORKER, runner(f"s{number}"))
    assert limits.get("train")["under_way"] == 2


def test_runs_per_period_and_cool_down_are_kept(hand: Hand, pipelines: Pipelines, limits: PipelineLimits, clock: SimulatedClock) -> None:
    limits.set(WORKER, Limits(pipeline="train", runs_max=2, period_seconds=3600, cool_down_seconds=600))
    runs = [pipelines.request(WORKER, "train", {"n": n}).id for n in range(4)]
    begun = []
    for _ in range(12):
        found = hand.desk.claim(WORKER, runner()).draw
        if found is not None:
            begun.append((found.id, clock.now()))
            finish(hand, found.id)
            assert hand.desk.claim(WORKER, runner()).draw is None
            assert "cool-down is 600 s" in limits.get("train")["obstacle"] or "within 3600 s" in limits.get("train")["obstacle"]
        clock.advance(seconds=600)
    start = begun[0][1]
    assert [(run, (at - start) // 60_000_000) for run, at in begun] == list(zip(runs, [0, 10, 60, 70], strict=True))


def test_a_clock_set_back_holds_no_run_up_until_it_has_caught_up(
    hand: Hand, pipelines: Pipelines, limits: PipelineLimits, clock: SimulatedClock
) -> None:
    limits.set(WORKER, Limits(pipeline="train", runs_max=1, period_seconds=60, cool_down_seconds=60))
    clock.advance(seconds=86_400)
    pipelines.request(WORKER, "train", {"n": 1})
    finish(hand, hand.desk.claim(WORKER, runner()).draw.id)
    clock.advance(seconds=-86_400)
    pipelines.request(WORKER, "train", {"n": 2})
    assert hand.desk.claim(WORKER, runner()).draw is not None


def test_an_equal_request_within_the_window_is_the_same_run(
    hand: Hand, pipelines: Pipelines, limits: PipelineLimits, clock: SimulatedClock, ledger: Ledger
) -> None:
    """Until it failed or was cancelled, or the window is over."""
    limits.set(WORKER, Limits(pipeline="train", deduplicate_seconds=60))
    first = pipelines.request(WORKER, "train", {"n": 1})
    assert pipelines.request(WORKER, "train", {"n": 1}).id == first.id
    assert pipelines.request(WORKER, "train", {"n": 2}).id != first.id
    assert [entry.subject for entry in ledger.entries(kind="pipeline.run.deduplicated")] == [first.id]
    clock.advance(seconds=60)
    second = pipelines.request(WORKER, "train", {"n": 1})
    assert second.id != first.id
    pipelines.cancel(WORKER, second.id)
    assert pipelines.request(WORKER, "train", {"n": 1}).id not in {first.id, second.id}


def test_an_equal_request_is_no_run_of_another_project_and_none_that_is_ending(
    hand: Hand, pipelines: Pipelines, limits: PipelineLimits
) -> None:
    limits.set(WORKER, Limits(pipeline="train", deduplicate_seconds=60))
    first = pipelines.request(WORKER, "train", {}, project="p")
    assert pipelines.request(WORKER, "train", {}, project="q", priority=-1).id != first.id
    assert pipelines.request(WORKER, "train", {}, project="p").id == first.id
    run_id, work = hand.start(plan(node("a")), parameters={"n": 1}, priority=1)
    assert work.step is not None
    pipelines.cancel(WORKER, run_id)
    assert hand.run(run_id).state is RunState.RUNNING
    assert pipelines.request(WORKER, "train", {"n": 1}).id != run_id


def test_limits_out_of_range_are_refused(limits: PipelineLimits) -> None:
    with pytest.raises(InvalidInput, match="concurrent_max"):
        limits.set(WORKER, Limits(pipeline="train", concurrent_max=0))
    with pytest.raises(InvalidInput, match="negative"):
        limits.set(WORKER, Limits(pipeline="train", cool_down_seconds=-1))


def fresh(cool_down: int = 0) -> Trigger:
    """A trigger on new versions of a dataset."""
    return Trigger(
        name="fresh", pipeline="train", source=TriggerSource.DATASET, subject="flights", cool_down_seconds=cool_down, parameter="data",
        parameters={"rounds": 2},
    )  # fmt: skip


def test_a_new_version_starts_one_run_however_often_it_is_told(triggers: Triggers, pipelines: Pipelines) -> None:
    triggers.set(WORKER, fresh())
    for _ in range(2):
        triggers.on_dataset_version({"id": "flights@1", "digest": "d"})
        triggers.on_dataset_version({"id": "weather@1", "digest": "d"})
    triggers.reconcile()
    assert [run.parameters for run in pipelines.newest()] == [{"rounds": 2, "data": "flights@1"}]


def test_the_newest_version_waits_for_the_run_and_the_cool_down(
    hand: Hand, triggers: Triggers, pipelines: Pipelines, clock: SimulatedClock, ledger: Ledger
) -> None:
    """Older ones that were overtaken are not run; nothing that is newest is lost."""
    triggers.set(WORKER, fresh(cool_down=3600))
    for number in (1, 2, 3):
        triggers.on_dataset_version({"id": f"flights@{number}", "digest": "d"})
    assert triggers.get("fresh")["pending"] == "flights@3"
    triggers.on_dataset_version({"id": "flights@2", "digest": "d"})
    assert triggers.get("fresh")["pending"] == "flights@3"
    finish(hand, hand.desk.claim(WORKER, runner()).draw.id)
    triggers.reconcile()
    assert len(pipelines.newest()) == 1
    clock.advance(seconds=3600)
    assert [triggers.reconcile(), triggers.reconcile()] == [1, 0]
    assert [run.parameters["data"] for run in pipelines.newest()] == ["flights@3", "flights@1"]
    assert [entry.payload["version"] for entry in ledger.entries(kind="pipeline.trigger.deferred")] == ["flights@2", "flights@3"]


def test_what_cannot_be_a_trigger_is_refused_with_every_mistake(triggers: Triggers) -> None:
    wrong = Trigger(name="w", pipeline="train", source=TriggerSource.ALERT, subject="", cool_down_seconds=-1)
    with pytest.raises(InvalidInput, match="no endpoint or dataset; it names no kind of alert; its cool-down is negative"):
        triggers.set(WORKER, wrong)
    with pytest.raises(InvalidInput, match="trigger"):
        triggers.set(WORKER, Trigger(name="../w", pipeline="train", source=TriggerSource.DATASET, subject="flights"))
