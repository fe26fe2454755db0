"""Autologging: MLflow's own against /mlflow, and ours, with scikit-learn and LightGBM."""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.errors import InvalidInput
from gateline.sdk.autolog import autolog
from gateline.sdk.client import Client
from gateline.sdk.tracking import tracked_run

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of their own future

ROWS = np.random.default_rng(7).random((80, 3))
LABELS = (ROWS[:, 0] > 0.5).astype(int)


@pytest.fixture
def client(served):
    with Client(url=served.url.removesuffix("/mlflow"), token=served.developer) as made:
        yield made


@pytest.fixture(autouse=True)
def _off(stock):
    """Turn automatic logging off before the stock client's surroundings are put back."""
    yield
    autolog(disable=True)


@pytest.fixture(scope="module")
def dataset(served):
    file = served.app.objects.put_bytes(b"autologged,n\na,1\n")
    return served.app.datasets.register("owner", "autologged", file=file.sha256, format="csv", source="test", licence="CC0-1.0")


def fit_sklearn():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=0.5).fit(ROWS, LABELS)


def train_lightgbm():
    import lightgbm

    data = lightgbm.Dataset(ROWS, LABELS, params={"verbose": -1})
    return lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "rate": 0.3}, data, 3)


@pytest.mark.parametrize(("train", "param"), [(fit_sklearn, "C"), (train_lightgbm, "objective")])
def test_autolog_records_the_training_with_inputs_environment_and_resources(served, client, dataset, stock, train, param):
    autolog(client, experiment="auto", datasets=[dataset], params={"horizon": 3}, tags={"team": "delays"}, seed=5)
    begun = time.perf_counter()
    train()
    seconds = time.perf_counter() - begun
    autolog(disable=True)
    (facts,) = served.tracking.search(query("auto", f"params.{param} != '' and params.horizon = '3'")).runs
    assert facts.status == "FINISHED"
    assert (facts.tags["team"], facts.tags["seed"]) == ("delays", "5")
    assert dataset.digest in {one.sha256 for one in facts.inputs}
    assert {"resources.cpu_seconds", "resources.duration_seconds", "resources.peak_memory_bytes"} <= set(facts.metrics)
    assert facts.metrics["resources.duration_seconds"] <= seconds
    snapshot = served.tracking.freeze("developer", facts.run_id)
    assert snapshot.environment_digest == facts.tags["environment.sha256"]
    (model,) = snapshot.models
    loaded = stock.pyfunc.load_model(f"models:/{model.model_id}")
    assert loaded.metadata.signature is not None
    assert loaded.predict(ROWS).shape == (80,)


def query(experiment, condition=""):
    from gateline.tracking import RunQuery

    return RunQuery(experiment=experiment, filter=condition)


def test_requirements_are_pinned_without_the_inference_that_takes_a_subprocess(served, client, stock, monkeypatch):
    monkeypatch.setattr("mlflow.utils.requirements_utils._run_command", lambda *_, **__: pytest.fail("requirements were inferred"))
    autolog(client, experiment="auto-requirements")
    fit_sklearn()
    (facts,) = served.tracking.search(query("auto-requirements")).runs
    path = served.home / "mlflow" / "artifacts" / served.mlflow.loaded().tracking.get_run(facts.run_id).info.experiment_id
    lines = (path / "models" / facts.models[0].model_id / "artifacts" / "requirements.txt").read_text(encoding="utf-8").split()
    assert {"mlflow", "scikit-learn", "numpy"} <= {line.partition("==")[0] for line in lines}
    assert all("==" in line for line in lines)


def test_disabling_puts_everything_back(client, stock):
    import mlflow
    from mlflow.tracking import fluent

    before = (mlflow.start_run, mlflow.end_run, fluent.start_run, fluent.end_run, mlflow.models.infer_pip_requirements)
    token = os.environ["MLFLOW_TRACKING_TOKEN"]
    autolog(client, experiment="auto-off")
    assert mlflow.start_run is not before[0]
    autolog(client, experiment="auto-off", log_models=False)
    autolog(disable=True)
    after = (mlflow.start_run, mlflow.end_run, fluent.start_run, fluent.end_run, mlflow.models.infer_pip_requirements)
    assert after == before
    assert os.environ["MLFLOW_TRACKING_TOKEN"] == token


def test_a_training_that_raises_and_a_run_by_hand_are_recorded_too(served, client):
    import mlflow

    autolog(client, experiment="auto-hand")
    with pytest.raises(ZeroDivisionError), mlflow.start_run(run_name="by hand"):
        raise ZeroDivisionError
    with pytest.raises(InvalidInput, match="active"), mlflow.start_run():
        autolog(client, experiment="auto-hand")
    (facts, *_) = served.tracking.search(query("auto-hand", "attributes.run_name = 'by hand'")).runs
    assert facts.status == "FAILED"
    assert facts.tags["environment.sha256"]
    assert facts.metrics["resources.duration_seconds"] > 0
    with pytest.raises(InvalidInput, match=r"gateline\.forged"):
        autolog(client, tags={"gateline.forged": "x"})


def test_within_a_tracked_run_the_training_goes_into_that_run(served, client):
    autolog(client, experiment="auto-within", log_models=False)
    with tracked_run(client, experiment="auto-within", name="mine", params={"own": 1}) as run:
        fit_sklearn()
    facts = served.tracking.search(query("auto-within")).runs
    assert [one.run_id for one in facts] == [run.run_id]
    assert (facts[0].params["own"], facts[0].params["C"]) == ("1", "0.5")


def test_what_cannot_be_recorded_does_not_stop_the_training(served, client, monkeypatch):
    from mlflow.exceptions import MlflowException

    autolog(client, experiment="auto-warned", log_models=False)

    def fail(*_arguments, **_named):
        raise MlflowException("no")

    monkeypatch.setattr("gateline.sdk.run_records.log_resources", fail)
    monkeypatch.setattr("gateline.sdk.run_records.log_files", fail)
    fit_sklearn()
    (facts,) = served.tracking.search(query("auto-warned")).runs
    assert (facts.status, facts.params["C"]) == ("FINISHED", "0.5")


def test_a_run_has_a_heartbeat_while_it_is_under_way_resumed_or_not(served, client):
    import mlflow

    def alive(run_id):
        until = time.monotonic() + 20
        while "gateline.heartbeat" not in (tags := served.tracking.read(run_id).tags) and time.monotonic() < until:
            time.sleep(0.05)
        return "gateline.heartbeat" in tags

    def beats():
        return [one.name for one in threading.enumerate()].count("run-heartbeat")

    autolog(client, experiment="auto-alive", params={f"p{number}": number for number in range(150)})
    with mlflow.start_run() as run:
        assert alive(run.info.run_id)
        assert beats() == 1
    assert beats() == 0
    facts = served.tracking.read(run.info.run_id)
    assert len(facts.params) == 150
    mlflow.MlflowClient().delete_tag(run.info.run_id, "environment.python")
    with mlflow.start_run(run_id=run.info.run_id):
        assert beats() == 1
    assert beats() == 0
    again = served.tracking.read(run.info.run_id)
    assert "environment.python" not in again.tags
    assert again.metrics == facts.metrics


def test_executed_cells_are_not_kept_when_that_is_not_wanted(served, client, monkeypatch):
    import mlflow

    history = SimpleNamespace(input_hist_raw=["", "x = 1"])
    monkeypatch.setattr("gateline.sdk.notebook.capture._shell", lambda: SimpleNamespace(history_manager=history))
    found = []
    for keep in (True, False):
        autolog(client, experiment="auto-cells", keep_notebook=keep)
        with mlflow.start_run() as run:
            pass
        found.append(sorted(key for key in served.tracking.read(run.info.run_id).tags if key.startswith("notebook.")))
    assert found == [["notebook.findings", "notebook.sha256"], ["notebook.omitted"]]


def test_each_run_records_the_surroundings_it_started_in(served, client, tmp_path):
    import mlflow

    autolog(client, experiment="auto-around", folder=tmp_path)
    found = []
    for lock in (b"first", b"second"):
        (tmp_path / "uv.lock").write_bytes(lock)
        with mlflow.start_run() as run:
            pass
        found.append(served.tracking.read(run.info.run_id).tags["environment.uv.lock"])
    assert found == [sha256_bytes(b"first"), sha256_bytes(b"second")]


@pytest.mark.parametrize(("train", "param"), [(fit_sklearn, "C"), (train_lightgbm, "objective")])
def test_mlflows_own_autologging_works(served, stock, train, param):
    stock.set_experiment("plain-auto")
    stock.autolog(log_models=False, silent=True)
    try:
        train()
    finally:
        stock.autolog(disable=True, silent=True)
    (facts, *_) = served.tracking.search(query("plain-auto", f"params.{param} != ''")).runs
    assert facts.status == "FINISHED"
    assert facts.inputs
