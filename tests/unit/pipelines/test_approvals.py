"""Steps that wait for the word of somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateline.access import Access, Principal, PrincipalKind, Role
from gateline.kernel.errors import Conflict, Denied, InvalidInput
from gateline.pipelines import Approvals, RunState, Schedule
from tests.support.pipelines import ENVIRONMENT, WORKER, Hand, node, plan, runner

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.kernel.clock import SimulatedClock
    from gateline.ledger import Ledger
    from gateline.pipelines import Pipelines, Schedules

FUNCTIONS = {"a": lambda: 1, "b": lambda x: {"x": x}}
ASKED = {"approval": "Is it good?", "approval_timeout_seconds": 3600}


def person(name: str, *roles: Role) -> Principal:
    """Somebody with roles."""
    return Principal(name=name, kind=PrincipalKind.PERSON, roles=frozenset(roles))


APPROVER = person("approver", Role.DEVELOPER)


@pytest.fixture
def approvals(ledger: Ledger, home: Path, pipelines: Pipelines) -> Approvals:
    """The service under test."""
    return Approvals(ledger, Access(ledger, home), pipelines)


def waiting(hand: Hand, **options: object) -> str:
    """A run whose second step waits."""
    run_id, work = hand.start(plan(node("a"), node("b", {"x": "a"}, options=options or ASKED)))
    hand.work_off(work, FUNCTIONS)
    assert hand.run(run_id).state is RunState.WAITING
    return run_id


def test_a_step_waits_until_somebody_else_approves_with_a_reason(hand: Hand, approvals: Approvals, ledger: Ledger) -> None:
    run_id = waiting(hand)
    with pytest.raises(InvalidInput, match="needs a reason"):
        approvals.approve(APPROVER, run_id, "b", " ")
    with pytest.raises(Conflict, match="waits for no approval"):
        approvals.approve(APPROVER, run_id, "a", "Fine.")
    approved = approvals.approve(APPROVER, run_id, "b", "Fine.")
    assert (approved.question, approved.state, approved.decided_by, approved.comment) == ("Is it good?", "approved", "approver", "Fine.")
    with pytest.raises(Conflict, match="waits for no approval"):
        approvals.reject(APPROVER, run_id, "b", "Too late.")
    hand.work_off(hand.desk.claim(WORKER, runner()), FUNCTIONS)
    assert hand.run(run_id).state is RunState.SUCCEEDED
    assert hand.run(run_id).steps[1].approved_by == "approver"
    kinds = [entry.kind for entry in ledger.entries(subject=f"{run_id}/b")]
    assert [kind for kind in kinds if "approval" in kind] == [
        "pipeline.approval.asked", "pipeline.approval.approved", "pipeline.approval.refused",
    ]  # fmt: skip


def test_who_asked_a_service_or_an_administrator_cannot_answer(hand: Hand, approvals: Approvals, ledger: Ledger) -> None:
    run_id = waiting(hand)
    for principal, said in (
        (WORKER, "pipeline:approve"),
        (person("runner", Role.DEVELOPER), "who asked for a pipeline run"),
        (Principal(name="robot", kind=PrincipalKind.SERVICE, roles=frozenset({Role.OPERATOR})), "a service can never"),
        (person("admin", Role.ADMIN, Role.OPERATOR), "administers"),
        (person("viewer", Role.VIEWER), "no role"),
    ):
        with pytest.raises(Denied, match=said):
            approvals.approve(principal, run_id, "b", "Fine.")
    assert len(ledger.entries(kind="pipeline.approval.refused")) == 5
    assert hand.run(run_id).state is RunState.WAITING


def test_who_declared_the_schedule_of_a_run_cannot_answer(
    hand: Hand, approvals: Approvals, schedules: Schedules, clock: SimulatedClock
) -> None:
    """Else a schedule would be a way around the second person."""
    declarer = person("declarer", Role.DEVELOPER)
    schedules.set(declarer, Schedule(name="hourly", pipeline="train", cron="0 * * * *"))
    clock.advance(seconds=3600)
    schedules.reconcile()
    run = hand.desk.claim(WORKER, runner()).draw
    assert run is not None
    hand.desk.draw(WORKER, run.id, runner(), plan(node("a", options=ASKED)), {"a": "c"}, ENVIRONMENT)
    with pytest.raises(Denied, match="declared what asked"):
        approvals.approve(declarer, run.id, "a", "Fine.")
    assert approvals.approve(APPROVER, run.id, "a", "Fine.").state == "approved"


def test_a_step_that_names_a_role_takes_the_word_of_its_holders_alone(hand: Hand, approvals: Approvals) -> None:
    run_id = waiting(hand, approval="validator")
    with pytest.raises(Denied, match="names a role"):
        approvals.approve(APPROVER, run_id, "b", "Fine.")
    approvals.approve(person("judge", Role.VALIDATOR), run_id, "b", "Fine.")
    assert hand.run(run_id).state is RunState.RUNNING


def test_a_rejected_step_fails_its_run_with_the_reason(hand: Hand, approvals: Approvals) -> None:
    run_id = waiting(hand)
    approvals.reject(APPROVER, run_id, "b", "Too slow.")
    run = hand.run(run_id)
    assert (run.state, run.failure) == (RunState.FAILED, "Step 'b' was rejected by approver: Too slow.")
    assert approvals.open() == []


def test_nobody_in_time_is_no(hand: Hand, approvals: Approvals, clock: SimulatedClock) -> None:
    run_id = waiting(hand)
    clock.advance(seconds=3599)
    assert approvals.reconcile() == 0
    clock.advance(seconds=1)
    assert [approvals.reconcile(), approvals.reconcile()] == [1, 0]
    assert hand.run(run_id).failure == "Step 'b' was not approved in time"
    assert [one.state for one in approvals.of(run_id)] == ["timed_out"]
