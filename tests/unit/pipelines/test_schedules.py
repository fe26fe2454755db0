"""Schedules: each nominal time once, whatever happens to servers and clocks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from gateline.kernel.clock import HOUR, iso
from gateline.kernel.errors import InvalidInput, NotFound
from gateline.pipelines import CatchUp, Schedule
from tests.support.pipelines import WORKER

if TYPE_CHECKING:
    from gateline.kernel.clock import SimulatedClock
    from gateline.ledger import Ledger
    from gateline.pipelines import Pipelines, Schedules

HOURLY = Schedule(
    name="hourly", pipeline="train", cron="0 * * * *", catch_up=CatchUp.ALL, catch_up_max=1000, time_parameter="as_of",
    parameters={"rounds": 9},
)  # fmt: skip


def times(pipelines: Pipelines) -> list[str]:
    """The nominal times of all runs, in order."""
    return sorted(run.parameters["as_of"][:16] for run in pipelines.newest(limit=1000))


def hours(first: int, last: int) -> list[str]:
    """The hours after the start of the clock."""
    return [iso(1_356_998_400_000_000 + one * HOUR)[:16] for one in range(first, last + 1)]


def test_a_nominal_time_is_run_once_with_its_time_and_its_schedule(
    schedules: Schedules, pipelines: Pipelines, clock: SimulatedClock, ledger: Ledger
) -> None:
    told = schedules.set(WORKER, HOURLY)
    assert told["next"][:2] == ["2013-01-01T01:00:00.000000Z", "2013-01-01T02:00:00.000000Z"]
    assert schedules.reconcile() == 0
    clock.advance(seconds=3600)
    assert [schedules.reconcile(), schedules.reconcile()] == [1, 0]
    run = pipelines.newest()[0]
    assert (run.schedule, run.requested_by, run.on_behalf_of) == ("hourly", "gateline", "runner")
    assert run.parameters == {"rounds": 9, "as_of": "2013-01-01T01:00:00.000000Z"}
    assert schedules.get("hourly")["last_run_id"] == run.id
    assert [entry.subject for entry in ledger.entries(kind="pipeline.schedule.declared")] == ["hourly"]


@pytest.mark.parametrize(
    ("policy", "most", "down_hours", "expected"),
    [
        (CatchUp.ALL, 1000, 5.5, hours(1, 5)),
        (CatchUp.ALL, 3, 5.5, hours(3, 5)),
        (CatchUp.LAST, 1, 5.5, hours(5, 5)),
        (CatchUp.NONE, 1, 5.5, []),
        (CatchUp.NONE, 1, 5.01, hours(5, 5)),
    ],
    ids=["all", "all up to three", "last", "none", "none, but one is on time"],
)
def test_what_was_missed_is_caught_up_as_the_policy_says(
    schedules: Schedules, pipelines: Pipelines, clock: SimulatedClock, ledger: Ledger, policy: CatchUp, most: int, down_hours: float,
    expected: list[str],
) -> None:  # fmt: skip
    """And what was skipped is on record."""
    schedules.set(WORKER, Schedule(**{**HOURLY.as_dict(), "catch_up": policy, "catch_up_max": most}))
    clock.advance(seconds=down_hours * 3600)
    schedules.reconcile()
    assert times(pipelines) == expected
    skipped = sum(entry.payload["count"] for entry in ledger.entries(kind="pipeline.schedule.skipped"))
    assert skipped == 5 - len(expected)
    clock.advance(seconds=3600)
    schedules.reconcile()
    assert times(pipelines)[-1:] == hours(6, 6) if policy is not CatchUp.NONE or down_hours < 5.1 else True


def test_years_of_downtime_are_skipped_in_pieces(schedules: Schedules, pipelines: Pipelines, clock: SimulatedClock) -> None:
    """No pass holds the records for longer than ten thousand times take."""
    schedules.set(WORKER, Schedule(**{**HOURLY.as_dict(), "catch_up_max": 2}))
    clock.advance(seconds=25_000 * 3600)
    assert [schedules.reconcile() for _ in range(4)] == [1, 1, 1, 0]
    assert times(pipelines) == hours(24_999, 25_000)


def test_a_clock_that_jumps_a_day_ahead_and_back_doubles_nothing(schedules: Schedules, pipelines: Pipelines, clock: SimulatedClock) -> None:
    """The times of the day that was skipped come early, and once."""
    schedules.set(WORKER, HOURLY)
    for seconds in (3600, 86_400, -86_400, -3600, 3600, 3600, 86_400):
        clock.advance(seconds=seconds)
        schedules.reconcile()
        schedules.reconcile()
    assert times(pipelines) == hours(1, 26)


def test_a_schedule_that_is_removed_and_declared_again_under_a_clock_set_back_doubles_nothing(
    schedules: Schedules, pipelines: Pipelines, clock: SimulatedClock
) -> None:
    schedules.set(WORKER, HOURLY)
    clock.advance(seconds=3 * 3600)
    schedules.reconcile()
    schedules.remove(WORKER, "hourly")
    clock.advance(seconds=-2 * 3600)
    schedules.set(WORKER, HOURLY)
    clock.advance(seconds=3 * 3600)
    schedules.reconcile()
    assert times(pipelines) == hours(1, 4)


def test_several_control_planes_queue_each_time_once(schedules: Schedules, pipelines: Pipelines, clock: SimulatedClock) -> None:
    schedules.set(WORKER, HOURLY)
    clock.advance(seconds=6 * 3600)
    barrier = Barrier(4)

    def tick(_: int) -> None:
        barrier.wait()
        schedules.reconcile()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tick, range(4)))
    assert times(pipelines) == hours(1, 6)


def test_the_same_request_key_from_two_sides_at_once_is_one_run(pipelines: Pipelines) -> None:
    barrier = Barrier(4)

    def ask(_: int) -> str:
        barrier.wait()
        return pipelines.request(WORKER, "train", {}, request_key="once").id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1
    assert len(pipelines.newest()) == 1


def test_a_paused_schedule_starts_nothing_and_catches_nothing_up(
    schedules: Schedules, pipelines: Pipelines, clock: SimulatedClock, ledger: Ledger
) -> None:
    schedules.set(WORKER, HOURLY)
    assert schedules.pause(WORKER, "hourly")["next"] == []
    clock.advance(seconds=5 * 3600)
    assert schedules.reconcile() == 0
    assert schedules.resume(WORKER, "hourly")["next"][0][:16] == hours(6, 6)[0]
    schedules.reconcile()
    clock.advance(seconds=3600)
    schedules.reconcile()
    assert times(pipelines) == hours(6, 6)
    assert len(ledger.entries(kind="pipeline.schedule.resumed")) == 1


def test_what_cannot_be_a_schedule_is_refused_by_name(schedules: Schedules) -> None:
    for fields, said in (
        ({"cron": "61 * * * *"}, "bad minute"), ({"cron": "0 0 30 2 *"}, "bad day-of-month"), ({"cron": "* * * *"}, "no cron expression"),
        ({"cron": "* * * * * *"}, "no cron expression"), ({"cron": "*" * 9999}, "no cron expression"), ({"zone": "Mars/Base"}, "time zone"),
        ({"zone": "../etc/passwd"}, "time zone"), ({"catch_up_max": 1001}, "too many"), ({"name": "N o"}, "schedule name"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=said):
            schedules.set(WORKER, Schedule(**{**HOURLY.as_dict(), **fields}))
    with pytest.raises(NotFound, match="no schedule 'other'"):
        schedules.get("other")
