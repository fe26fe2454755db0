"""Trials as MLflow shows them: nested runs with parameters, reported values by step, the objective, and how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlflow
import pytest

from gateline.data import ObjectStore
from gateline.pipelines import Outcome
from tests.support.pipelines import WORKER, Hand, held, runner
from tests.support.searches import search_plan

if TYPE_CHECKING:
    from tests.integration.mlflow.conftest import Served

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of their own future
FIRST, OTHER = {"rate": 0.05, "leaves": 31}, {"rate": 0.2, "leaves": 9}


@pytest.fixture
def hand(served: Served) -> Hand:
    """Works on runs by hand."""
    return Hand(served.app.pipelines, ObjectStore(served.home / "objects"))


def shown(served: Served, run_id: str, node: str = "tune") -> list[str]:
    """The MLflow runs of the trials."""
    return [one.mlflow_run_id for one in served.app.pipelines.searches.study(run_id, node).trials]


@pytest.fixture
def client(stock: Any) -> mlflow.MlflowClient:
    """MLflow's own client."""
    return stock.MlflowClient()


def finish(hand: Hand, *, seed: int) -> str:
    """Work a search of two trials off, one complete and one pruned; returns the run."""
    run_id, work = hand.start(search_plan(2, seed=seed))
    for number, state in enumerate(("complete", "pruned")):
        assert work.step is not None
        hand.pipelines.searches.ask(WORKER, held(work.step), FIRST if number == 0 else OTHER)
        hand.pipelines.searches.report(held(work.step), [(step, step + number / 2) for step in range(3)])
        work = hand.succeed(work.step, {"state": state, "value": 2 + number / 2}, then=runner())[1]
    assert work.step is not None
    hand.succeed(work.step, {})
    return run_id


def test_trials_are_nested_runs_with_parameters_values_and_outcome(served: Served, hand: Hand, client: mlflow.MlflowClient) -> None:
    run_id = finish(hand, seed=11)
    served.app.reconcile_once()
    parent = hand.run(run_id).mlflow_run_id
    assert (client.get_run(parent).info.status, client.get_run(parent).info.run_name) == ("FINISHED", run_id)
    complete, pruned = shown(served, run_id)
    first, second = client.get_run(complete), client.get_run(pruned)
    assert first.data.params == {"rate": "0.05", "leaves": "31"}
    assert first.data.tags["mlflow.parentRunId"] == parent
    assert first.data.tags["gateline.trial"] == f"{run_id}/tune/0"
    assert (first.info.status, first.data.metrics["objective"]) == ("FINISHED", 2.0)
    assert [(one.step, one.value) for one in client.get_metric_history(complete, "reported")] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert (second.info.status, second.data.tags["gateline.trial_state"]) == ("FINISHED", "pruned")
    assert "objective" not in second.data.metrics


def test_a_pass_that_shows_nothing_new_writes_nothing(served: Served, hand: Hand, client: mlflow.MlflowClient) -> None:
    run_id = finish(hand, seed=12)
    served.app.reconcile_once()
    before = [client.get_metric_history(one, "reported") for one in shown(served, run_id)]
    served.app.reconcile_once()
    experiment = client.get_experiment_by_name("train")
    found = client.search_runs([experiment.experiment_id], f"tags.`gateline.trial` = '{run_id}/tune/0'")
    assert len(found) == 1
    assert [client.get_metric_history(one, "reported") for one in shown(served, run_id)] == before


def test_runs_that_were_made_and_not_written_down_are_found_again(served: Served, hand: Hand, client: mlflow.MlflowClient) -> None:
    from gateline.pipelines.search_store import MAKING, TrialRow
    from gateline.pipelines.store import PipelineRunRow

    run_id = finish(hand, seed=13)
    served.app.reconcile_once()
    parent, child = hand.run(run_id).mlflow_run_id, shown(served, run_id)[0]
    with served.app.records.write() as session:
        session.get_one(PipelineRunRow, run_id).mlflow_run_id = ""
        row = session.get_one(TrialRow, (run_id, "tune", 0))
        row.mlflow_run_id, row.pending = MAKING, 1
    assert shown(served, run_id)[0] == ""
    served.app.reconcile_once()
    assert (hand.run(run_id).mlflow_run_id, shown(served, run_id)[0]) == (parent, child)


def test_what_ends_with_its_run_ends_in_mlflow_too(served: Served, hand: Hand, client: mlflow.MlflowClient) -> None:
    run_id, work = hand.start(search_plan(2, seed=14))
    assert work.step is not None
    hand.pipelines.searches.ask(WORKER, held(work.step), FIRST)
    served.app.reconcile_once()
    child, parent = shown(served, run_id)[0], hand.run(run_id).mlflow_run_id
    assert {client.get_run(one).info.status for one in (child, parent)} == {"RUNNING"}
    hand.pipelines.cancel(WORKER, run_id)
    hand.fail(work.step, Outcome.CANCELLED)
    served.app.reconcile_once()
    served.app.reconcile_once()
    assert {client.get_run(one).info.status for one in (child, parent)} == {"KILLED"}


def test_a_run_that_somebody_deleted_there_holds_nothing_up(served: Served, hand: Hand, client: mlflow.MlflowClient) -> None:
    run_id, work = hand.start(search_plan(1, seed=15))
    assert work.step is not None
    hand.pipelines.searches.ask(WORKER, held(work.step), FIRST)
    served.app.reconcile_once()
    client.delete_run(shown(served, run_id)[0])
    hand.fail(work.step, detail="ValueError: no rows")
    served.app.reconcile_once()
    served.app.reconcile_once()
    parent = client.get_run(hand.run(run_id).mlflow_run_id)
    assert parent.info.status == "FAILED"
