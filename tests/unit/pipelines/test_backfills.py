"""Backfills: one run for each item, a few at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateline.data import Datasets, Tables
from gateline.kernel.clock import HOUR
from gateline.kernel.errors import Conflict, InvalidInput, NotFound
from gateline.lineage import Lineage
from gateline.pipelines import Backfills, RunState, Schedule
from tests.support.pipelines import ENVIRONMENT, WORKER, Hand, node, plan, runner

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.data import ObjectStore
    from gateline.kernel.clock import SimulatedClock
    from gateline.ledger import Ledger
    from gateline.pipelines import Pipelines, Schedules

ONE = plan(node("a", options={"cache": False}))


@pytest.fixture
def backfills(ledger: Ledger, pipelines: Pipelines, schedules: Schedules, objects: ObjectStore, home: Path) -> Backfills:
    """The service under test, with a schedule of every hour."""
    schedules.set(WORKER, Schedule(name="hourly", pipeline="train", cron="0 * * * *"))
    datasets = Datasets(ledger, objects, Lineage(ledger.records), Tables(str(home / "tables"), cache=home / "cache"))
    return Backfills(ledger, pipelines, schedules, datasets)


def work(hand: Hand, *, well: bool = True) -> Any:
    """Draw and end the next run; returns its item."""
    run = hand.desk.claim(WORKER, runner()).draw
    if run is None:
        return None
    step = hand.desk.draw(WORKER, run.id, runner(), ONE, {"a": "c"}, ENVIRONMENT).step
    assert step is not None
    hand.succeed(step, {}) if well else hand.fail(step)
    return run.parameters["as_of"]


def begun(backfills: Backfills, clock: SimulatedClock, count: int, **fields: Any) -> tuple[str, list[str]]:
    """A backfill over some hours of the past."""
    items = backfills.times("hourly", clock.now() - (count - 1) * HOUR, clock.now())
    return backfills.start(WORKER, "train", "as_of", items, parameters={"n": 1}, **fields).id, items


def test_each_item_is_run_once_with_a_bounded_number_at_a_time(
    backfills: Backfills, hand: Hand, clock: SimulatedClock, ledger: Ledger
) -> None:
    backfill_id, items = begun(backfills, clock, 5, parallel_max=2)
    assert (len(items), items[0][:16], items[-1][:16]) == (5, "2012-12-31T20:00", "2013-01-01T00:00")
    done = []
    while backfills.get(backfill_id).state != "done":
        backfills.reconcile()
        backfills.reconcile()
        counts = backfills.get(backfill_id).counts
        assert counts.get("queued", 0) + counts.get("running", 0) <= 2
        done += [one] if (one := work(hand)) else []
    assert sorted(done) == items
    found = backfills.get(backfill_id)
    assert (found.left, found.counts) == (0, {"succeeded": 5})
    assert backfills.reconcile() == 0
    assert [entry.payload["runs"] for entry in ledger.entries(kind="pipeline.backfill.finished")] == [{"succeeded": 5}]


def test_a_cancelled_backfill_cancels_its_runs_and_resumes_with_what_has_not_succeeded(
    backfills: Backfills, hand: Hand, pipelines: Pipelines, clock: SimulatedClock
) -> None:
    backfill_id, items = begun(backfills, clock, 4, parallel_max=2)
    backfills.reconcile()
    first = work(hand)
    failed = work(hand, well=False)
    backfills.reconcile()
    with pytest.raises(Conflict, match="is running"):
        backfills.resume(WORKER, backfill_id)
    cancelled = backfills.cancel(WORKER, backfill_id)
    assert (cancelled.state, cancelled.counts) == ("cancelled", {"cancelled": 2, "failed": 1, "succeeded": 1})
    assert backfills.reconcile() == 0
    assert backfills.resume(WORKER, backfill_id).left == 4
    rest = []
    while backfills.get(backfill_id).state != "done":
        backfills.reconcile()
        rest += [one] if (one := work(hand)) else []
    assert sorted([first, *rest]) == items
    assert failed in rest
    assert {run.parent for run in pipelines.newest()} == {backfill_id}


def test_cancelling_goes_on_where_a_server_died(
    backfills: Backfills, hand: Hand, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is written first, the runs follow."""
    backfill_id, _ = begun(backfills, clock, 3, parallel_max=3)
    backfills.reconcile()
    with monkeypatch.context() as patched:
        patched.setattr(hand.pipelines, "cancel", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            backfills.cancel(WORKER, backfill_id)
    assert backfills.get(backfill_id).counts == {"queued": 3}
    assert backfills.reconcile() == 1
    assert backfills.get(backfill_id).counts == {"cancelled": 3}
    assert {run.state for run in hand.pipelines.newest()} == {RunState.CANCELLED}


def test_what_cannot_be_a_backfill_is_refused_with_every_mistake(backfills: Backfills, clock: SimulatedClock) -> None:
    with pytest.raises(InvalidInput, match="the range is empty; no parameter is named that gets the item; 0 runs at once"):
        backfills.start(WORKER, "train", "", [], parameters={}, parallel_max=0)
    with pytest.raises(InvalidInput, match="at most 10,000"):
        begun(backfills, clock, 10_002)
    with pytest.raises(InvalidInput, match="at most 10,000"):
        backfills.versions("flights", 1, 10_001)
    with pytest.raises(NotFound):
        backfills.versions("flights", 1, 2)
    with pytest.raises(NotFound, match="no schedule"):
        backfills.times("none", 0, 1)
    with pytest.raises(NotFound, match="no backfill"):
        backfills.get("fill_none")
