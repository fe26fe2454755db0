"""What runners and callers say is checked before it counts, and what one of them breaks stays its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from gateline.access import Access, Principal, PrincipalKind, Role
from gateline.kernel.errors import Conflict, GatelineError, InvalidInput, NotFound
from gateline.pipelines import Approvals, Artifact, Held, Outcome, Pipelines, Report, RunState
from tests.support.pipelines import ENVIRONMENT, WORKER, Hand, held, node, plan, runner

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.ledger import Ledger


def stored(hand: Hand, content: bytes, **fields: str) -> Artifact:
    """Bytes as an artifact."""
    found = hand.objects.put_bytes(content)
    return Artifact(**{"name": "result", "kind": "json", "sha256": found.sha256, "size_bytes": found.size_bytes, **fields})


@pytest.mark.parametrize("content", [b"PAR1\xff\xfe", b"{not json", b"[" * 100_000], ids=["parquet", "text", "deep"])
@pytest.mark.parametrize("use", ["when", "over"])
def test_a_decision_over_bytes_that_are_no_json_fails_the_step_and_not_the_server(hand: Hand, content: bytes, use: str) -> None:
    rest = {"when": {"node": "a"}} if use == "when" else {"over": {"x": {"node": "a"}}}
    arguments = {} if use == "when" else {"x": {"item": "x"}}
    run_id, work = hand.start(plan(node("a"), node("b", arguments, **rest)))
    assert work.step is not None
    hand.desk.finish(WORKER, held(work.step), "r1", Report(outcome=Outcome.SUCCEEDED, artifacts=(stored(hand, content, kind="file"),)))
    run = hand.run(run_id)
    assert run.state is RunState.FAILED
    assert "Step 'b' cannot begin" in run.failure
    assert "JSON" in run.failure


@pytest.mark.parametrize("names", [(), ("other",), ("result", "other"), ("result", "result")], ids=str)
def test_a_result_with_other_outputs_than_the_plan_says_is_refused(hand: Hand, names: tuple[str, ...]) -> None:
    _, work = hand.start(plan(node("a"), node("b", {"x": "a"})))
    assert work.step is not None
    report = Report(outcome=Outcome.SUCCEEDED, artifacts=tuple(hand.store(1, name) for name in names))
    with pytest.raises(InvalidInput, match="declares the outputs result; handed in are"):
        hand.desk.finish(WORKER, held(work.step), "r1", report)


def test_a_result_of_another_kind_than_the_plan_says_is_refused(hand: Hand) -> None:
    _, work = hand.start(plan(node("a", outputs=[{"name": "result", "kind": "metrics"}])))
    assert work.step is not None
    with pytest.raises(InvalidInput, match="kind"):
        hand.desk.finish(WORKER, held(work.step), "r1", Report(outcome=Outcome.SUCCEEDED, artifacts=(hand.store(1),)))


@pytest.mark.parametrize("codes", [{}, {"a": "c"}, {"a": "c", "b": ""}, {"a": "c", "b": "d", "z": "e"}], ids=str)
def test_a_plan_without_the_code_of_each_node_is_refused(hand: Hand, pipelines: Pipelines, codes: dict[str, str]) -> None:
    """Else two steps without arguments would have one key, and share a result."""
    run = pipelines.request(WORKER, "train", {})
    hand.desk.claim(WORKER, runner())
    with pytest.raises(InvalidInput, match="code of each node"):
        hand.desk.draw(WORKER, run.id, runner(), plan(node("a"), node("b")), codes, ENVIRONMENT)
    with pytest.raises(InvalidInput, match="environment"):
        hand.desk.draw(WORKER, run.id, runner(), plan(node("a")), {"a": "c"}, "")


def test_a_request_key_names_one_request(pipelines: Pipelines) -> None:
    first = pipelines.request(WORKER, "train", {"x": 1}, request_key="k")
    assert pipelines.request(WORKER, "train", {"x": 1}, request_key="k").id == first.id
    with pytest.raises(Conflict, match="another request"):
        pipelines.request(WORKER, "other", {"x": 1}, request_key="k")
    with pytest.raises(Conflict, match="another request"):
        pipelines.request(WORKER, "train", {"x": 2}, request_key="k")


@pytest.mark.parametrize("key", ["schedule/nightly/2026-01-01T00:00:00.000000Z", "backfill/f/0/x", "alert/a/1/t", "dataset/d@1/t"])
def test_keys_of_schedules_triggers_and_backfills_cannot_be_taken(pipelines: Pipelines, key: str) -> None:
    with pytest.raises(InvalidInput, match="reserved"):
        pipelines.request(WORKER, "train", {}, request_key=key)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**70, "\x00", "\ud800", "x" * (1 << 21)], ids=lambda one: repr(one)[:12])
def test_parameters_that_no_record_can_hold_are_refused(pipelines: Pipelines, value: object) -> None:
    with pytest.raises(GatelineError, match="parameter"):
        pipelines.request(WORKER, "train", {"x": value})


def person(name: str) -> Principal:
    return Principal(name=name, kind=PrincipalKind.PERSON, roles=frozenset({Role.DEVELOPER}))


@pytest.fixture
def approvals(ledger: Ledger, home: Path, pipelines: Pipelines) -> Approvals:
    return Approvals(ledger, Access(ledger, home), pipelines)


@pytest.mark.parametrize("answer", ["approve", "reject"])
def test_an_answer_counts_when_the_server_dies_right_after_it(
    hand: Hand, pipelines: Pipelines, approvals: Approvals, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    asked = {"approval": "Is it good?"}
    run_id, _ = hand.start(plan(node("a", options=asked), node("b", options=asked)))
    with monkeypatch.context() as patch:
        patch.setattr(pipelines.desk, "settle", lambda _: None)
        getattr(approvals, answer)(person("approver"), run_id, "a", "So.")
    pipelines.reconcile()
    assert hand.states(run_id) == ({"a": "ready", "b": "waiting"} if answer == "approve" else {"a": "failed", "b": "cancelled"})


def test_a_question_of_a_run_that_is_over_is_not_open(hand: Hand, pipelines: Pipelines, approvals: Approvals) -> None:
    asked = {"approval": "Is it good?", "approval_timeout_seconds": 1.0}
    run_id, _ = hand.start(plan(node("a", options=asked)))
    pipelines.cancel(WORKER, run_id)
    assert approvals.open() == []
    assert [one.state for one in approvals.of(run_id)] == ["withdrawn"]
    with pytest.raises(Conflict):
        approvals.approve(person("approver"), run_id, "a", "So.")


def test_nobody_is_asked_about_a_step_that_never_comes(hand: Hand, approvals: Approvals) -> None:
    """A step failed while another still runs."""
    asked = {"approval": "Is it good?"}
    drawn = plan(node("a"), node("b"), node("c", {"x": "a"}, options=asked), node("d", {"x": "b"}))
    run_id, work = hand.start(drawn)
    other = hand.desk.claim(WORKER, runner()).step
    assert work.step is not None
    assert other is not None
    hand.succeed(work.step, 1)
    assert [one.node for one in approvals.open()] == ["c"]
    running = hand.run(run_id)
    assert running.state is RunState.RUNNING
    hand.fail(other)
    assert approvals.open() == []


@pytest.mark.parametrize("value", [2**63, 10**40])
def test_a_number_that_no_record_can_hold_is_refused(hand: Hand, pipelines: Pipelines, value: int) -> None:
    with pytest.raises(InvalidInput, match="cannot hold"):
        hand.desk.heartbeat("r1", [Held(run_id="x", node="n", index=value, attempt=1)])
    with pytest.raises(InvalidInput, match="cannot hold"):
        pipelines.output("x", "n", value)


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"], ids=["NUL", "surrogate"])
def test_text_that_no_record_can_hold_is_refused_or_kept(hand: Hand, pipelines: Pipelines, text: str) -> None:
    """SQLite keeps NUL; no text leads to an error that nobody foresaw."""
    run_id, work = hand.start(plan(node("a")))
    assert work.step is not None
    for say in (lambda: hand.fail(work.step, detail=text), lambda: hand.desk.heartbeat(text, []), lambda: pipelines.get(text)):
        with contextlib.suppress(InvalidInput, NotFound):
            say()
    assert hand.run(run_id).id == run_id
