"""Pipeline runs as records: leases, reuse, and retraining that does not run away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateline.access import Principal, PrincipalKind, Role
from gateline.data import ObjectStore
from gateline.kernel.clock import DAY
from gateline.kernel.errors import Conflict, NotFound
from gateline.pipelines import Artifact, Pipelines, Retraining, RunState

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.kernel.clock import SimulatedClock
    from gateline.ledger import Ledger

RUNNER = Principal(name="runner", kind=PrincipalKind.SERVICE, roles=frozenset({Role.RUNNER}))
KEY = "a" * 64


@pytest.fixture
def objects(home: Path) -> ObjectStore:
    """An empty object store."""
    return ObjectStore(home / "objects")


@pytest.fixture
def pipelines(ledger: Ledger, objects: ObjectStore) -> Pipelines:
    """The service under test."""
    return Pipelines(ledger, objects)


def stored(objects: ObjectStore) -> dict[str, str]:
    """A result whose bytes are in the store."""
    return {"kind": "json", "sha256": objects.put_bytes(b"result").sha256}


def claimed(pipelines: Pipelines, runner: str = "r1") -> str:
    """A queued run, claimed."""
    pipelines.request(RUNNER, "train", {})
    run = pipelines.claim(RUNNER, runner)
    assert run is not None
    return run.id


def test_a_request_made_twice_is_one_run(pipelines: Pipelines) -> None:
    """The request key makes it idempotent."""
    first = pipelines.request(RUNNER, "train", {"rounds": 5}, request_key="daily/1")
    assert pipelines.request(RUNNER, "train", {"rounds": 5}, request_key="daily/1").id == first.id
    assert pipelines.request(RUNNER, "train", {"rounds": 5}).id != first.id


def test_a_run_is_given_to_one_runner_and_taken_over_when_that_one_dies(pipelines: Pipelines, clock: SimulatedClock) -> None:
    """After its lease of 30 seconds, not before; the dead one may not go on."""
    run_id = claimed(pipelines)
    clock.advance(seconds=20)
    pipelines.heartbeat(run_id, "r1")
    clock.advance(seconds=25)
    assert pipelines.claim(RUNNER, "r2") is None
    clock.advance(seconds=6)
    taken = pipelines.claim(RUNNER, "r2")
    assert taken is not None
    assert taken.id == run_id
    with pytest.raises(Conflict, match="r2"):
        pipelines.heartbeat(run_id, "r1")
    with pytest.raises(Conflict):
        pipelines.finish(RUNNER, run_id, "r1", result={})


def test_a_step_with_the_same_key_is_reused_from_the_run_that_executed_it(pipelines: Pipelines, objects: ObjectStore) -> None:
    """The record says from which."""
    first = claimed(pipelines)
    assert pipelines.start_step(RUNNER, first, "r1", "fit", KEY).artifact is None
    pipelines.finish_step(RUNNER, first, "r1", "fit", **stored(objects))
    pipelines.finish(RUNNER, first, "r1", result={})
    second = claimed(pipelines)
    reused = pipelines.start_step(RUNNER, second, "r1", "fit", KEY)
    assert reused.artifact == Artifact(**stored(objects), size_bytes=6)
    assert reused.reused_from == first
    assert pipelines.start_step(RUNNER, second, "r1", "other", "b" * 64).artifact is None


def test_a_damaged_artifact_is_computed_again(pipelines: Pipelines, objects: ObjectStore) -> None:
    """A hit is believed only when its bytes still have their digest."""
    first = claimed(pipelines)
    pipelines.start_step(RUNNER, first, "r1", "fit", KEY)
    artifact = pipelines.finish_step(RUNNER, first, "r1", "fit", **stored(objects)).artifact
    assert artifact is not None
    path = objects.path(artifact.sha256)
    path.chmod(0o644)
    path.write_bytes(b"changed")
    pipelines.finish(RUNNER, first, "r1", result={})
    assert pipelines.start_step(RUNNER, claimed(pipelines), "r1", "fit", KEY).artifact is None


def test_a_result_that_was_never_uploaded_is_refused(pipelines: Pipelines) -> None:
    """A record never points at nothing."""
    run_id = claimed(pipelines)
    pipelines.start_step(RUNNER, run_id, "r1", "fit", KEY)
    with pytest.raises(NotFound):
        pipelines.finish_step(RUNNER, run_id, "r1", "fit", kind="json", sha256="c" * 64)


def test_a_failed_run_closes_its_open_step(pipelines: Pipelines) -> None:
    """Nothing stays running."""
    run_id = claimed(pipelines)
    pipelines.start_step(RUNNER, run_id, "r1", "fit", KEY)
    closed = pipelines.finish(RUNNER, run_id, "r1", result={}, failure="Step 'fit' failed.")
    assert (closed.state, closed.steps[0].state) == (RunState.FAILED, RunState.FAILED)


def alert(number: int, day: int, kind: str = "drift") -> dict[str, Any]:
    """An alert event."""
    return {"alert_id": f"alert_{number}", "endpoint": "e", "kind": kind, "window_end": day * DAY, "sentence": "It moved."}


@pytest.fixture
def plan(pipelines: Pipelines) -> Retraining:
    """Retraining on drift, at most every 28 days."""
    declared = Retraining(endpoint="e", pipeline="train", alert_kinds=("drift",), cool_down_seconds=28 * 86400, parameters={"rounds": 9})
    return pipelines.set_retraining(RUNNER, declared)


@pytest.mark.usefixtures("plan")
def test_an_alert_starts_one_run_with_the_time_of_its_window(pipelines: Pipelines) -> None:
    """Delivered twice, it is still one run."""
    pipelines.on_alert(alert(1, 100))
    pipelines.on_alert(alert(1, 100))
    runs = pipelines.list()
    assert len(runs) == 1
    assert runs[0].parameters == {"rounds": 9, "as_of": "1970-04-11T00:00:00.000000Z"}


@pytest.mark.usefixtures("plan")
def test_alerts_during_the_cool_down_or_an_unfinished_run_start_nothing(pipelines: Pipelines, ledger: Ledger) -> None:
    """And the ledger says why."""
    pipelines.on_alert(alert(1, 100))
    pipelines.on_alert(alert(2, 140))
    run = pipelines.claim(RUNNER, "r1")
    assert run is not None
    pipelines.finish(RUNNER, run.id, "r1", result={})
    pipelines.on_alert(alert(3, 127))
    pipelines.on_alert(alert(4, 129, kind="performance"))
    assert len(pipelines.list()) == 1
    reasons = [entry.payload["reason"] for entry in ledger.entries(kind="pipeline.retraining.declined")]
    assert ["unfinished" in reasons[0], "cool-down is 28.0 days" in reasons[1], "it listens to drift" in reasons[2]] == [True] * 3
    pipelines.on_alert(alert(5, 129))
    assert len(pipelines.list()) == 2


def test_an_endpoint_without_a_plan_starts_nothing(pipelines: Pipelines) -> None:
    """Retraining is opted into."""
    pipelines.on_alert(alert(1, 100))
    assert pipelines.list() == []
