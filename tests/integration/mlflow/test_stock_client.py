"""What users of MLflow do every day works unchanged behind the gate."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import pytest

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of their own future


def train(stock, **log):
    """A run with all that runs have: inputs, params, metrics with steps, a model, files."""
    import numpy as np
    import pandas as pd
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(7)
    frame = pd.DataFrame(rng.random((200, 3)), columns=["a", "b", "c"])
    label = (frame.a + frame.b > 1).astype(int)
    model = LogisticRegression().fit(frame, label)
    with stock.start_run() as run:
        dataset = stock.data.from_pandas(frame.assign(label=label), source="s3://bucket/data.csv", targets="label", name="train")
        stock.log_input(dataset, context="training")
        stock.log_params({"C": 1, "solver": "lbfgs"})
        stock.log_metric("auc", 0.8, step=1)
        stock.log_metric("auc", 0.9, step=2)
        stock.set_tag("team", "delays")
        info = stock.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(frame, label),
            pip_requirements=["scikit-learn"],
            skops_trusted_types=["numpy.dtype"],
            **log,
        )
        stock.log_text("hello", "notes/a.txt")
    return run, info, frame


def test_a_run_with_inputs_metrics_model_and_files_round_trips(stock):
    stock.set_experiment("round-trip")
    run, info, frame = train(stock)
    seen = stock.MlflowClient().get_run(run.info.run_id)
    assert seen.data.params == {"C": "1", "solver": "lbfgs"}
    assert seen.data.metrics["auc"] == 0.9
    assert [one.value for one in stock.MlflowClient().get_metric_history(run.info.run_id, "auc")] == [0.8, 0.9]
    assert [one.dataset.name for one in seen.inputs.dataset_inputs] == ["train"]
    assert [one.model_id for one in seen.outputs.model_outputs] == [info.model_id]
    assert stock.artifacts.load_text(f"{run.info.artifact_uri}/notes/a.txt") == "hello"
    assert len(stock.pyfunc.load_model(info.model_uri).predict(frame.head(2))) == 2
    assert len(stock.search_runs(filter_string="metrics.auc > 0.85 and params.C = '1'")) >= 1


def test_a_registered_model_is_loaded_by_an_alias_that_users_may_set(stock):
    stock.set_experiment("registry")
    _, info, frame = train(stock, registered_model_name="users-own")
    client = stock.MlflowClient()
    version = info.registered_model_version
    client.set_registered_model_alias("users-own", "candidate", version)
    seen = client.get_model_version_by_alias("users-own", "candidate")
    assert (str(seen.version), seen.source) == (str(version), f"models:/{info.model_id}")
    assert len(stock.pyfunc.load_model("models:/users-own@candidate").predict(frame.head(3))) == 3


def test_the_author_of_a_run_is_the_principal_whatever_the_client_claims(stock, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    client = stock.MlflowClient()
    run = client.create_run("0", tags={"mlflow.user": "somebody-else"})
    client.set_terminated(run.info.run_id)
    seen = client.get_run(run.info.run_id)
    assert (seen.info.user_id, seen.data.tags["mlflow.user"]) == ("developer", "developer")


def test_a_token_as_basic_password_is_accepted(served, stock, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anyone")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", served.developer)
    assert stock.MlflowClient().search_experiments()


def test_no_token_and_an_unknown_token_are_401(served):
    for token in ("", "unknown"):
        reply = served.request("GET", "/api/2.0/mlflow/experiments/search?max_results=5", token=token)
        assert reply.status_code == 401
        assert reply.json()["error_code"] == "UNAUTHENTICATED"
        assert "MLFLOW_TRACKING_TOKEN" in reply.text or "token" in reply.text
        assert reply.headers["www-authenticate"].startswith("Basic")


def test_the_web_ui_and_its_files_are_served_under_the_prefix(served):
    page = served.request("GET", "/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    files = re.findall(r'(?:src|href)="([^"]+\.(?:js|css))"', page.text)
    assert files
    for name in files[:3]:
        url = urljoin(f"{served.url}/", name)
        assert url.startswith(served.url)
        assert served.request("GET", url.removeprefix(served.url)).status_code == 200


@pytest.mark.parametrize("prefix", ["/api/2.0", "/ajax-api/2.0"])
def test_the_search_that_mlflow_sends_as_post_is_a_read(served, prefix):
    reply = served.request("POST", f"{prefix}/mlflow/experiments/search", token=served.viewer, json={"max_results": 5})
    assert reply.status_code == 200


def test_graphql_reads(served):
    reply = served.request("POST", "/graphql", json={"query": 'query { test(inputString: "x") { output } }'})
    assert reply.status_code == 200
