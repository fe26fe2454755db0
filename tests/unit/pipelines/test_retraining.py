"""Retraining on alerts that does not run away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateline.kernel.clock import DAY
from gateline.pipelines import Retraining
from tests.support.pipelines import WORKER, Hand, node, plan, runner

if TYPE_CHECKING:
    from gateline.ledger import Ledger
    from gateline.pipelines import Pipelines, Triggers


def alert(number: int, day: int, kind: str = "drift") -> dict[str, Any]:
    """An alert event."""
    return {"alert_id": f"alert_{number}", "endpoint": "e", "kind": kind, "window_end": day * DAY, "sentence": "It moved."}


@pytest.fixture
def declared(triggers: Triggers) -> Retraining:
    """Retraining on drift, at most every 28 days."""
    wanted = Retraining(endpoint="e", pipeline="train", alert_kinds=("drift",), cool_down_seconds=28 * 86400, parameters={"rounds": 9})
    return triggers.set_retraining(WORKER, wanted)


@pytest.mark.usefixtures("declared")
def test_an_alert_starts_one_run_with_the_time_of_its_window(pipelines: Pipelines, triggers: Triggers) -> None:
    """Delivered twice, it is still one run."""
    triggers.on_alert(alert(1, 100))
    triggers.on_alert(alert(1, 100))
    runs = pipelines.newest()
    assert len(runs) == 1
    assert runs[0].parameters == {"rounds": 9, "as_of": "1970-04-11T00:00:00.000000Z"}


@pytest.mark.usefixtures("declared")
def test_alerts_during_the_cool_down_or_an_unfinished_run_start_nothing(
    pipelines: Pipelines, triggers: Triggers, hand: Hand, ledger: Ledger
) -> None:
    """And the ledger says why."""
    triggers.on_alert(alert(1, 100))
    triggers.on_alert(alert(2, 140))
    run = hand.desk.claim(WORKER, runner()).draw
    assert run is not None
    work = hand.desk.draw(WORKER, run.id, runner(), plan(node("fit")), {"fit": "c"}, "e")
    hand.work_off(work, {"fit": dict})
    triggers.on_alert(alert(3, 127))
    triggers.on_alert(alert(4, 129, kind="performance"))
    assert len(pipelines.newest()) == 1
    reasons = [entry.payload["reason"] for entry in ledger.entries(kind="pipeline.trigger.declined")]
    assert ["unfinished" in reasons[0], "cool-down is 28.0 days" in reasons[1], "it listens to drift" in reasons[2]] == [True] * 3
    triggers.on_alert(alert(5, 129))
    assert len(pipelines.newest()) == 2


def test_an_endpoint_without_a_plan_starts_nothing(pipelines: Pipelines, triggers: Triggers) -> None:
    """Retraining is opted into."""
    triggers.on_alert(alert(1, 100))
    assert pipelines.newest() == []
