"""Runs whose client died are closed, and no other: heartbeats, writes, clocks that jump, clients that come back."""

from __future__ import annotations

import time

import pytest

from gateline.adapters.mlflow.guard import Acting, Guard, acting_as
from gateline.kernel.clock import HOUR, SimulatedClock, iso
from gateline.kernel.errors import NotFound

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of their own future

CLIENT = Acting(name="developer", internal=False, request="test")


@pytest.fixture
def clock():
    return SimulatedClock()


@pytest.fixture
def liveness(served, clock):
    """The reconciler over the server's own database, with a clock of its own; runs of other tests are ended first."""
    from gateline.adapters.mlflow.liveness import Liveness

    loaded = served.mlflow.loaded()
    with loaded.tracking.engine.begin() as connection:
        connection.exec_driver_sql("update runs set status = 'FINISHED' where status = 'RUNNING'")
    return Liveness(loaded.tracking.engine, Guard(served.ledger), clock, silent_seconds=3_600, heartbeat_seconds=600)


@pytest.fixture
def start(served):
    def make(start_time=0):
        with acting_as(CLIENT):
            return served.mlflow.loaded().tracking.create_run("0", "developer", start_time, [], "quiet").info.run_id

    return make


def look(liveness, clock, minutes):
    """Look once a minute and return what was closed."""
    closed = []
    for _ in range(minutes):
        closed += liveness.close_silent()
        clock.advance(60)
    return closed


def state(served, run_id):
    run = served.mlflow.loaded().tracking.get_run(run_id)
    return run.info.status, run.info.end_time, {key: value for key, value in run.data.tags.items() if key.startswith("gateline.")}


def test_a_run_that_nobody_writes_is_closed_when_it_was_last_heard_of_and_its_tag_and_the_ledger_say_so(served, liveness, clock, start):
    run_id, begun = start(), clock.now()
    assert look(liveness, clock, 60) == []
    assert state(served, run_id)[0] == "RUNNING"
    assert look(liveness, clock, 10) == [run_id]
    status, ended, tags = state(served, run_id)
    assert (status, ended) == ("KILLED", begun // 1_000)
    assert tags["gateline.last_write"] == iso(begun)
    assert iso(begun) in tags["gateline.closed"]
    assert served.entries("run.closed")[-1].payload == {"status": "KILLED", "last_heard_of": iso(begun)}
    assert look(liveness, clock, 10) == []


def test_a_run_that_writes_is_never_closed(liveness, clock, start):
    run_id = start()
    for _ in range(300):
        liveness.wrote([run_id])
        assert look(liveness, clock, 1) == []


def test_writes_of_another_server_process_count(served, liveness, clock, start):
    from gateline.adapters.mlflow.liveness import Liveness

    other = Liveness(served.mlflow.loaded().tracking.engine, Guard(served.ledger), clock, silent_seconds=3_600, heartbeat_seconds=600)
    run_id = start()
    for _ in range(10):
        assert look(liveness, clock, 30) == []
        other.wrote([run_id])
    assert look(liveness, clock, 70) == [run_id]


def test_the_first_write_that_a_server_process_sees_counts(served, liveness, clock, start):
    from gateline.adapters.mlflow.liveness import Liveness

    run_id = start()
    for _ in range(4):  # each write is the only one that its process sees
        assert look(liveness, clock, 40) == []
        Liveness(served.mlflow.loaded().tracking.engine, Guard(served.ledger), clock, silent_seconds=3_600, heartbeat_seconds=600).wrote(
            [run_id]
        )
    assert look(liveness, clock, 70) == [run_id]


def test_a_run_with_a_heartbeat_is_closed_after_a_shorter_silence(served, liveness, clock, start):
    beating, silent = start(), start()
    for _ in range(30):
        assert liveness.beat(beating)
        assert look(liveness, clock, 1) == []
    assert look(liveness, clock, 20) == [beating]
    assert state(served, silent)[0] == "RUNNING"


def test_a_run_that_was_closed_and_is_alive_after_all_is_opened_again(served, liveness, clock, start):
    by_beat, by_write = start(), start()
    liveness.wrote([by_write])
    look(liveness, clock, 70)
    assert state(served, by_beat)[0] == state(served, by_write)[0] == "KILLED"
    assert liveness.beat(by_beat)
    liveness.wrote([by_write])
    for run_id in (by_beat, by_write):
        status, ended, tags = state(served, run_id)
        assert (status, ended) == ("RUNNING", None)
        assert "gateline.closed" not in tags


def test_a_clock_that_jumps_ahead_closes_no_run_that_still_beats(liveness, clock, start):
    run_id = start()
    for minute in range(40):
        clock.advance(24 * 3_600 if minute == 20 else 0)
        assert look(liveness, clock, 1) == []
        assert liveness.beat(run_id)


def test_a_clock_that_was_set_back_counts_from_then_on(liveness, clock, start):
    run_id = start()
    look(liveness, clock, 5)
    clock.advance(-30 * 24 * 3_600)
    assert look(liveness, clock, 50) == []
    assert look(liveness, clock, 20) == [run_id]


def test_what_a_client_says_about_time_does_not_count(served, liveness, clock, start):
    long_ago, ahead = start(1), start((clock.now() + 1_000 * HOUR) // 1_000)
    assert look(liveness, clock, 60) == []
    assert set(look(liveness, clock, 10)) == {long_ago, ahead}
    assert state(served, ahead)[1] == (clock.now() - 70 * 60_000_000 + 1_000 * HOUR) // 1_000


def test_ended_and_deleted_runs_are_left_alone_and_a_client_that_ends_its_run_has_the_last_word(served, liveness, clock, start):
    tracking = served.mlflow.loaded().tracking
    finished, deleted, late = start(), start(), start()
    with acting_as(CLIENT):
        tracking.update_run_info(finished, 3, 1, None)
        tracking.delete_run(deleted)
    assert look(liveness, clock, 70) == [late]
    assert not liveness.beat(finished)
    assert state(served, finished) == ("FINISHED", 1, {})
    with acting_as(CLIENT):
        tracking.update_run_info(late, 3, 5, None)
    status, ended, tags = state(served, late)
    assert (status, ended, "gateline.closed" in tags) == ("FINISHED", 5, False)
    with pytest.raises(NotFound):
        liveness.beat("0" * 32)


def test_a_heartbeat_over_rest_needs_the_right_to_write(served, start):
    run_id, path = start(int(time.time() * 1_000)), "/api/v1/runs/{}/heartbeat"
    root = served.url.removesuffix("/mlflow")

    def beat(token, run):
        import requests

        return requests.post(root + path.format(run), headers={"Authorization": f"Bearer {token}"}, timeout=30)

    assert beat(served.developer, run_id).json() == {"run_id": run_id, "running": True}
    assert beat(served.viewer, run_id).status_code == 403
    assert beat(served.developer, "0" * 32).status_code == 404
    assert "gateline.heartbeat" in state(served, run_id)[2]


def test_a_write_that_cannot_be_noted_stands(served, clock, start):
    from sqlalchemy import create_engine

    from gateline.adapters.mlflow.liveness import Liveness

    broken = Liveness(create_engine("sqlite://"), Guard(served.ledger), clock, silent_seconds=3_600, heartbeat_seconds=600)
    run_id = start()
    broken.wrote([run_id])
    clock.advance(120)
    broken.wrote([run_id])
    assert "gateline.last_write" not in state(served, run_id)[2]
