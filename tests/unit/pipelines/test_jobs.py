"""Steps sent off as jobs: one holder at a time, a ticket that works once, and a token that ends with the attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateline.access import Access, PrincipalKind
from gateline.kernel.errors import Conflict, Unauthenticated
from gateline.pipelines import Jobs, Outcome, Pipelines, RunState
from tests.support.pipelines import WORKER, Hand, held, node, plan, runner

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.kernel.clock import SimulatedClock
    from gateline.ledger import Ledger
    from gateline.pipelines import StepClaim

FAR = plan(node("fit", options={"executor": "ray://auto", "cpus": 64, "timeout_seconds": 60}))
RAY = runner("r1", executors=("ray",), cpus=1)
URL = "http://head:8265/api/jobs/one"


@pytest.fixture
def access(ledger: Ledger, home: Path) -> Access:
    """Who runners and jobs are."""
    made = Access(ledger, home)
    made.create_principal("test", WORKER.name, WORKER.roles, PrincipalKind.SERVICE)
    return made


@pytest.fixture
def jobs(ledger: Ledger, access: Access, pipelines: Pipelines) -> Jobs:
    """The service under test."""
    return Jobs(ledger, access, pipelines.desk)


def begun(hand: Hand) -> tuple[str, StepClaim]:
    """A run whose step r1 has claimed to send it off; that it wants more processors than r1 has does not matter."""
    run_id, work = hand.start(FAR, who=RAY)
    assert work.step is not None
    return run_id, work.step


def test_a_job_holds_its_step_from_its_begin_whatever_becomes_of_its_runner(
    hand: Hand, jobs: Jobs, access: Access, clock: SimulatedClock
) -> None:
    run_id, claim = begun(hand)
    ticket = jobs.send(WORKER, held(claim), "r1", URL)
    taken = jobs.take(run_id, "fit", 0, ticket, "job-1")
    assert (taken.step.attempt, taken.step.arguments, taken.environment) == (1, {}, "e" * 64)
    assert access.authenticate(taken.token) == WORKER
    assert hand.desk.heartbeat("r1", [held(claim)]) == ["gone"]
    assert hand.desk.withdraw(WORKER, "r1") == 0
    assert hand.run(run_id).steps[0].job == URL
    clock.advance(seconds=10)
    assert hand.desk.heartbeat("job-1", [held(taken.step)]) == ["go_on"]
    hand.succeed(taken.step, 1, who=runner("job-1"))
    assert hand.run(run_id).state is RunState.SUCCEEDED
    clock.advance(seconds=4)
    with pytest.raises(Unauthenticated, match="revoked"):
        access.authenticate(taken.token)
    (attempt,) = hand.pipelines.attempts(run_id)
    assert (attempt.runner, attempt.job, attempt.outcome) == ("job-1", URL, Outcome.SUCCEEDED)


def test_a_ticket_works_once_and_no_other_does(hand: Hand, jobs: Jobs) -> None:
    run_id, claim = begun(hand)
    first = jobs.send(WORKER, held(claim), "r1", URL)
    second = jobs.send(WORKER, held(claim), "r1", URL)
    for wrong in (first, "", "x" * 43):
        with pytest.raises(Unauthenticated):
            jobs.take(run_id, "fit", 0, wrong, "job")
    jobs.take(run_id, "fit", 0, second, "job-2")
    with pytest.raises(Unauthenticated):
        jobs.take(run_id, "fit", 0, second, "job-3")
    with pytest.raises(Conflict, match="does not hold it"):
        jobs.send(WORKER, held(claim), "r1", URL)


def test_an_attempt_after_a_lost_one_has_its_job_which_may_still_come(hand: Hand, jobs: Jobs) -> None:
    run_id, claim = begun(hand)
    ticket = jobs.send(WORKER, held(claim), "r1", URL)
    assert hand.desk.withdraw(WORKER, "r1") == 1
    next_one = hand.desk.claim(WORKER, runner("r2", executors=("ray",))).step
    assert next_one is not None
    assert (next_one.attempt, next_one.job) == (2, URL)
    taken = jobs.take(run_id, "fit", 0, ticket, "job-1")
    assert taken.step.attempt == 2
    hand.succeed(taken.step, 1, who=runner("job-1"))
    assert [(one.outcome, one.runner) for one in hand.pipelines.attempts(run_id)] == [
        (Outcome.LOST, "r1"), (Outcome.SUCCEEDED, "job-1"),
    ]  # fmt: skip


def test_a_job_that_begins_while_nobody_has_its_step_takes_it(hand: Hand, jobs: Jobs) -> None:
    run_id, claim = begun(hand)
    ticket = jobs.send(WORKER, held(claim), "r1", URL)
    hand.desk.withdraw(WORKER, "r1")
    assert jobs.take(run_id, "fit", 0, ticket, "job-1").step.attempt == 2
    assert hand.desk.claim(WORKER, runner("r2", executors=("ray",))).step is None


def test_a_failed_attempt_is_followed_by_one_without_its_job(hand: Hand, jobs: Jobs) -> None:
    retried = plan(node("fit", options={"executor": "ray://auto", "retries": 1}))
    run_id, work = hand.start(retried, who=RAY)
    assert work.step is not None
    ticket = jobs.send(WORKER, held(work.step), "r1", URL)
    hand.fail(work.step)
    with pytest.raises(Conflict, match="not wanted"):
        jobs.take(run_id, "fit", 0, ticket, "job-1")
    again = hand.desk.claim(WORKER, RAY).step
    assert again is not None
    assert (again.attempt, again.job) == (2, "")


def test_a_job_of_a_cancelled_run_gets_nothing(hand: Hand, jobs: Jobs) -> None:
    run_id, claim = begun(hand)
    ticket = jobs.send(WORKER, held(claim), "r1", URL)
    hand.pipelines.cancel(WORKER, run_id)
    with pytest.raises(Conflict, match="not wanted"):
        jobs.take(run_id, "fit", 0, ticket, "job-1")
    assert hand.desk.heartbeat("r1", [held(claim)]) == ["cancel"]
    hand.desk.withdraw(WORKER, "r1")
    assert hand.run(run_id).state is RunState.CANCELLED
