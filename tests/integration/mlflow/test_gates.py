"""Nothing that comes over HTTP gets past the gates, and each refusal is in the ledger."""

from __future__ import annotations

import concurrent.futures

import pytest

from gateline.kernel.errors import Conflict, IntegrityFailure, NotFound
from tests.integration.mlflow.support import registered, seen_as_stored

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of their own future

API, AJAX = "/api/2.0/mlflow", "/ajax-api/2.0/mlflow"
PREFIXES = [API, AJAX]


@pytest.fixture(scope="module")
def model(served):
    """A finished run with a logged model that the developer registered in MLflow's registry."""
    return registered(served, "gated")


def assert_refused(served, method, path, body, fragment):
    with served.refusal(fragment):
        reply = served.request(method, path, json=body)
    assert reply.status_code == 403
    assert reply.json()["error_code"] == "PERMISSION_DENIED"
    assert reply.json()["message"].endswith(".")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("alias", ["production", "champion", "staging", "Production"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_protected_aliases_do_not_move(served, model, prefix, alias, method):
    body = {"name": "gated", "alias": alias, "version": model.version}
    assert_refused(served, method, f"{prefix}/registered-models/alias", body, alias)


def test_the_stock_client_is_told_what_to_do_instead(served, model, stock):
    with served.refusal("@production"), pytest.raises(stock.exceptions.MlflowException, match="gateline rollout start"):
        stock.MlflowClient().set_registered_model_alias("gated", "production", model.version)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "model-versions/transition-stage", {"stage": "Production", "archive_existing_versions": False}),
        ("DELETE", "model-versions/delete", {}),
        ("DELETE", "registered-models/delete", {}),
        ("POST", "registered-models/rename", {"new_name": "other"}),
        ("POST", "registered-models/set-tag", {"key": "gateline.approved", "value": "yes"}),
        ("DELETE", "registered-models/delete-tag", {"key": "gateline.approved"}),
        ("POST", "model-versions/set-tag", {"key": "gateline.approved", "value": "yes"}),
        ("POST", "model-versions/set-tag", {"key": "Gateline.approved", "value": "yes"}),
        ("DELETE", "model-versions/delete-tag", {"key": "gateline.approved"}),
        ("POST", "registered-models/create", {"name": "fresh", "tags": [{"key": "gateline.x", "value": "1"}]}),
    ],
)
def test_the_registry_refuses(served, model, prefix, method, path, body):
    assert_refused(served, method, f"{prefix}/{path}", {"name": "gated", "version": model.version, **body}, "gate")


def test_a_version_is_not_created_with_reserved_tags(served, model):
    tags = [{"key": "gateline.x", "value": "1"}]
    body = {"name": "gated", "source": f"models:/{model.model_id}", "model_id": model.model_id, "tags": tags}
    assert_refused(served, "POST", f"{API}/model-versions/create", body, "gateline.x")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("runs/set-tag", {"key": "gateline.frozen", "value": "1"}),
        ("runs/set-tag", {"key": "mlflow.user", "value": "somebody-else"}),
        ("runs/delete-tag", {"key": "gateline.frozen"}),
        ("runs/log-batch", {"tags": [{"key": "fine", "value": "1"}, {"key": "gateline.frozen", "value": "1"}]}),
        ("runs/create", {"experiment_id": "0", "tags": [{"key": "gateline.frozen", "value": "1"}]}),
        ("experiments/set-experiment-tag", {"experiment_id": "0", "key": "gateline.x", "value": "1"}),
        ("experiments/create", {"name": "elsewhere", "artifact_location": "mlflow-artifacts:/0"}),
        ("runs/delete", {}),
    ],
)
def test_runs_and_experiments_refuse(served, model, prefix, path, body):
    assert_refused(served, "POST", f"{prefix}/{path}", {"run_id": model.run_id, **body}, "mlflow")


def test_an_experiment_that_holds_a_registered_run_is_not_deleted(served, model):
    assert_refused(served, "POST", f"{API}/experiments/delete", {"experiment_id": model.experiment_id}, "experiment")


def test_a_logged_model_of_a_registered_run_is_not_deleted(served, model):
    assert_refused(served, "DELETE", f"{API}/logged-models/{model.model_id}", {}, model.model_id)


def test_reserved_tags_on_logged_models_are_refused(served, model):
    body = {"tags": [{"key": "gateline.x", "value": "1"}]}
    assert_refused(served, "PATCH", f"{API}/logged-models/{model.model_id}/tags", body, "gateline.x")


@pytest.mark.parametrize("prefix", ["/api/2.0", "/ajax-api/2.0"])
@pytest.mark.parametrize(
    "spelling", ["{root}/MLmodel", "{root}/./MLmodel", "{root}//MLmodel", "{root}/%4dLmodel", "{root}/%254dLmodel", "{root}/new"]
)
def test_files_of_a_registered_model_are_sealed(served, model, prefix, spelling):
    path = f"{prefix}/mlflow-artifacts/artifacts/{spelling.format(root=model.model_path)}"
    with served.refusal("Writing artifact"):
        assert served.request("PUT", path, data=b"evil").status_code == 403
    assert seen_as_stored(served, f"{model.model_path}/MLmodel") == model.mlmodel


@pytest.mark.parametrize("folder", ["{root}", "{root}/..", "{experiment}", "{experiment}/models", ""])
def test_no_folder_that_holds_a_sealed_file_is_deleted(served, model, folder):
    path = folder.format(root=model.model_path, experiment=model.experiment_id)
    reply = served.request("DELETE", f"/api/2.0/mlflow-artifacts/artifacts/{path}")
    assert reply.status_code in {400, 403, 404, 405}
    assert seen_as_stored(served, f"{model.model_path}/MLmodel") == model.mlmodel


def test_files_outside_a_run_or_model_are_not_written(served):
    with served.refusal("folder of a run"):
        assert served.request("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/stray.txt", data=b"x").status_code == 403


def test_a_run_registered_in_mlflow_alone_still_takes_other_files(served, model, stock):
    stock.MlflowClient().log_text(model.run_id, "later", "notes/later.txt")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/ajax-api/3.0/mlflow/assistant/message"),
        ("POST", "/api/2.0/mlflow/webhooks"),
        ("POST", "/api/3.0/mlflow/gateway/endpoints/create"),
        ("POST", "/ajax-api/3.0/mlflow/demo/generate"),
        ("POST", "/ajax-api/2.0/mlflow/runs/create-promptlab-run"),
        ("POST", "/api/2.0/mlflow-artifacts/mpu/create/0/x"),
        ("POST", "/api/2.0/mlflow//registered-models/alias"),
        ("POST", "/api/2.0/mlflow/registered-models/alias/"),
    ],
)
def test_writes_off_the_list_are_refused(served, method, path):
    with served.refusal("not among"):
        assert served.request(method, path, json={}).status_code == 403


@pytest.mark.parametrize(
    "path", ["/ajax-api/3.0/mlflow/assistant/config", "/api/2.0/mlflow/webhooks", "/gateway/x", "/api/3.0/mlflow/workspaces"]
)
def test_reads_off_the_list_are_not_found(served, path):
    assert served.request("GET", path).status_code == 404


def test_a_viewer_reads_and_does_not_write(served, model):
    assert served.request("GET", f"{API}/runs/get?run_id={model.run_id}", token=served.viewer).status_code == 200
    reply = served.request("POST", f"{API}/runs/set-tag", token=served.viewer, json={"run_id": model.run_id, "key": "a", "value": "b"})
    assert reply.status_code == 403
    assert "mlflow:write" in reply.json()["message"]
    assert served.entries("mlflow.request.refused")[-1].actor == "viewer"


def test_a_page_of_another_site_cannot_write(served, model):
    body = {"run_id": model.run_id, "key": "a", "value": "b"}
    with served.refusal("another site"):
        reply = served.request("POST", f"{API}/runs/set-tag", json=body, headers={"Origin": "https://evil.example"})
    assert reply.status_code == 403
    own = served.url.removesuffix("/mlflow")
    assert served.request("POST", f"{API}/runs/set-tag", json=body, headers={"Origin": own}).status_code == 200


def test_a_request_larger_than_the_limit_is_refused_before_it_is_read(served, model):
    reply = served.request("POST", f"{API}/runs/log-batch", data=b" " * (17 << 20))
    assert reply.status_code == 413


def test_every_change_of_the_registry_is_in_the_ledger(served, stock):
    client = stock.MlflowClient()
    before = len(served.entries("mlflow.registry.changed"))
    client.create_registered_model("told")
    client.update_registered_model("told", description="for the ledger")
    client.set_registered_model_tag("told", "team", "delays")
    client.delete_registered_model_tag("told", "team")
    fresh = served.entries("mlflow.registry.changed")[before:]
    assert [one.payload["what"] for one in fresh] == ["model created", "model description changed", "model tag set", "model tag deleted"]
    assert {(one.actor, one.subject) for one in fresh} == {("developer", "told")}
    assert "registered-models" in fresh[0].payload["request"]


def test_a_frozen_run_takes_nothing_more(served, stock):
    made = registered(served, None)
    snapshot = served.tracking.freeze("developer", made.run_id)
    assert snapshot.user == "developer"
    client = stock.MlflowClient()
    run = {"run_id": made.run_id}
    for path, body in [
        ("log-metric", {"key": "auc", "value": 1.0, "timestamp": 0}),
        ("log-parameter", {"key": "new", "value": "1"}),
        ("log-batch", {"metrics": [{"key": "auc", "value": 1.0, "timestamp": 0}]}),
        ("update", {"status": "RUNNING"}),
        ("log-inputs", {"datasets": []}),
        ("outputs", {"models": []}),
        ("delete", {}),
    ]:
        assert_refused(served, "POST", f"{API}/runs/{path}", run | body, made.run_id)
    files = "/api/2.0/mlflow-artifacts/artifacts"
    for method, path in [("PUT", f"{made.run_path}/notes.txt"), ("PUT", f"{made.model_path}/MLmodel"), ("DELETE", made.run_path)]:
        with served.refusal("frozen"):
            assert served.request(method, f"{files}/{path}", data=b"evil").status_code == 403
    with served.refusal("frozen"):
        reply = served.request("POST", f"{AJAX}/upload-artifact?run_uuid={made.run_id}&path=notes.txt", data=b"evil")
        assert reply.status_code == 403
    client.set_tag(made.run_id, "note", "a plain tag may still be set")
    assert served.tracking.verify(made.run_id) == snapshot
    assert served.tracking.freeze("viewer", made.run_id) == snapshot


def test_a_file_changed_on_disk_is_named(served):
    made = registered(served, None)
    served.tracking.freeze("developer", made.run_id)
    path = served.home / "mlflow" / "artifacts" / made.model_path / "MLmodel"
    path.write_bytes(made.mlmodel + b" ")
    with pytest.raises(IntegrityFailure, match="MLmodel") as caught:
        served.tracking.verify(made.run_id)
    assert made.run_id in str(caught.value)


def test_only_finished_runs_freeze(served, stock):
    client = stock.MlflowClient()
    run = client.create_run("0")
    with pytest.raises(Conflict, match="RUNNING"):
        served.tracking.freeze("developer", run.info.run_id)
    client.set_terminated(run.info.run_id, "FAILED")
    with pytest.raises(Conflict, match="FAILED"):
        served.tracking.freeze("developer", run.info.run_id)
    with pytest.raises(NotFound):
        served.tracking.freeze("developer", "0" * 32)


def test_a_snapshot_holds_what_the_client_logged_also_when_it_writes_meanwhile(served, stock):
    """Whatever a client was told is logged before the freeze is in the snapshot, and nothing is logged after it."""
    client = stock.MlflowClient()
    run_id = client.create_run("0").info.run_id
    client.set_terminated(run_id)

    def write(step):
        body = {"run_id": run_id, "key": "m", "value": float(step), "timestamp": step, "step": step}
        return served.request("POST", f"{API}/runs/log-metric", json=body).status_code

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        written = [pool.submit(write, step) for step in range(40)]
        written[5].result()
        snapshot = served.tracking.freeze("developer", run_id)
        accepted = sum(one.result() == 200 for one in written)
    assert snapshot.metric_points == accepted == len(client.get_metric_history(run_id, "m"))


def test_projection_is_seen_by_the_stock_client_and_may_be_repeated(served, stock):
    made = registered(served, None)
    tags = {"gateline.model_version": "flight-delay@1"}
    version = served.mlflow.project_version("flight-delay", made.run_id, tags=tags)
    entries = len(served.entries("mlflow.registry.changed"))
    assert served.mlflow.project_version("flight-delay", made.run_id, tags=tags) == version
    assert len(served.entries("mlflow.registry.changed")) == entries
    served.mlflow.project_alias("flight-delay", "production", version)
    served.mlflow.project_alias("flight-delay", "production", version)
    seen = stock.MlflowClient().get_model_version_by_alias("flight-delay", "production")
    assert (str(seen.version), seen.run_id, seen.source, seen.tags) == (version, made.run_id, f"models:/{made.model_id}", tags)
    assert served.entries("mlflow.registry.changed")[-1].actor == "gateline"
    assert stock.pyfunc.load_model("models:/flight-delay@production") is not None
    served.mlflow.project_alias("flight-delay", "production", None)
    with pytest.raises(stock.exceptions.MlflowException):
        stock.MlflowClient().get_model_version_by_alias("flight-delay", "production")
    with pytest.raises(NotFound):
        served.mlflow.project_version("flight-delay", made.run_id, logged_model="other")
