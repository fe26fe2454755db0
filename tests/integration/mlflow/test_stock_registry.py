"""What MLflow's documentation of models and of the registry shows works with its own client; what the gate keeps is refused with 403."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of their own future


@pytest.fixture
def name():
    return f"docs-{uuid.uuid4().hex}"


@pytest.fixture
def experiment(stock, name):
    """The id of a fresh experiment, which is the active one."""
    return stock.set_experiment(name).experiment_id


def doubled(stock, **log):
    """Log a model that doubles its column, within a run, and return what MLflow tells of it."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    class Double(stock.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input["x"] * 2

    signature = ModelSignature(inputs=Schema([ColSpec("double", "x")]), outputs=Schema([ColSpec("double")]))
    with stock.start_run():
        return stock.pyfunc.log_model(name="model", python_model=Double(), signature=signature, pip_requirements=["mlflow"], **log)


def rows():
    import pandas as pd

    return pd.DataFrame({"x": [1.5, 2.0]})


def test_a_logged_model_has_params_tags_and_metrics_and_is_found_by_them(stock, experiment):
    info = doubled(stock, params={"depth": "3"}, tags={"team": "x"})
    client = stock.MlflowClient()
    stock.set_logged_model_tags(info.model_id, {"stage": "dev", "gone": "x"})
    stock.delete_logged_model_tag(info.model_id, "gone")
    with stock.start_run():
        stock.log_metric("auc", 0.9, model_id=info.model_id)
        stock.log_model_params({"rate": "0.1"}, model_id=info.model_id)
    seen = stock.get_logged_model(info.model_id)
    assert (seen.params, seen.tags["stage"], "gone" in seen.tags) == ({"depth": "3", "rate": "0.1"}, "dev", False)
    assert [(one.key, one.value) for one in seen.metrics] == [("auc", 0.9)]
    for condition in ("metrics.auc > 0.8", "params.depth = '3'", "tags.team = 'x'", "name = 'model'"):
        (found,) = stock.search_logged_models([experiment], filter_string=condition, output_format="list")
        assert found.model_id == info.model_id
    assert (
        client.search_logged_models([experiment], order_by=[{"field_name": "metrics.auc", "ascending": False}])[0].model_id == info.model_id
    )
    assert stock.last_logged_model().model_id == info.model_id
    for uri in (f"models:/{info.model_id}", info.model_uri, f"runs:/{seen.source_run_id}/model"):
        assert stock.pyfunc.load_model(uri).predict(rows()).tolist() == [3.0, 4.0]
    assert stock.models.get_model_info(info.model_uri).signature.inputs.input_names() == ["x"]
    assert (Path(stock.artifacts.download_artifacts(f"models:/{info.model_id}")) / "MLmodel").is_file()


def test_models_that_live_elsewhere_and_models_made_step_by_step(stock, experiment):
    client = stock.MlflowClient()
    outside = stock.create_external_model(name="outside", params={"size": "7b"}, tags={"where": "cloud"}, model_type="llm")
    assert stock.get_logged_model(outside.model_id).params == {"size": "7b"}
    begun = stock.initialize_logged_model(name="begun", model_type="own")
    assert str(stock.get_logged_model(begun.model_id).status) == "PENDING"
    stock.finalize_logged_model(begun.model_id, "READY")
    assert str(stock.get_logged_model(begun.model_id).status) == "READY"
    stock.set_active_model(model_id=outside.model_id)
    assert stock.get_active_model_id() == outside.model_id
    stock.clear_active_model()
    client.delete_logged_model(begun.model_id)
    assert [one.model_id for one in stock.search_logged_models([experiment], output_format="list")] == [outside.model_id]


def test_a_model_written_as_code_and_a_flavour_of_a_library_are_logged_and_loaded(stock, experiment, tmp_path):
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    code = tmp_path / "model.py"
    code.write_text(
        "import mlflow\n\nclass Triple(mlflow.pyfunc.PythonModel):\n    def predict(self, context, model_input, params=None):\n"
        "        return model_input['x'] * 3\n\nmlflow.models.set_model(Triple())\n",
        encoding="utf-8",
    )
    fitted = LinearRegression().fit(rows(), [3.0, 4.0])
    with stock.start_run():
        written = stock.pyfunc.log_model(name="code", python_model=str(code), pip_requirements=["mlflow"])
        flavour = stock.sklearn.log_model(
            fitted, name="linear", signature=infer_signature(rows(), [3.0]), pip_requirements=["scikit-learn"], input_example=rows(),
            serialization_format="cloudpickle",
        )  # fmt: skip
    assert stock.pyfunc.load_model(written.model_uri).predict(rows()).tolist() == [4.5, 6.0]
    assert stock.sklearn.load_model(flavour.model_uri).predict(rows()).round(6).tolist() == [3.0, 4.0]
    with pytest.raises(stock.exceptions.MlflowException, match="x"):
        stock.pyfunc.load_model(flavour.model_uri).predict(rows().rename(columns={"x": "y"}))


def test_versions_are_registered_described_tagged_searched_and_loaded_by_number_and_alias(stock, experiment, name):
    client = stock.MlflowClient()
    client.create_registered_model(name, tags={"team": "x"}, description="before")
    client.update_registered_model(name, description="what it is for")
    client.set_registered_model_tag(name, "more", "1")
    client.set_registered_model_tag(name, "gone", "1")
    client.delete_registered_model_tag(name, "gone")
    infos = [doubled(stock) for _ in range(2)]
    first = stock.register_model(f"models:/{infos[0].model_id}", name, tags={"kind": "first"})
    second = client.create_model_version(
        name, infos[1].model_uri, infos[1].run_id, tags={"kind": "second"}, description="by hand", model_id=infos[1].model_id
    )
    client.update_model_version(name, second.version, description="changed")
    client.set_model_version_tag(name, second.version, "checked", "yes")
    client.set_model_version_tag(name, second.version, "gone", "yes")
    client.delete_model_version_tag(name, second.version, "gone")
    client.set_registered_model_alias(name, "candidate", first.version)
    client.set_registered_model_alias(name, "candidate", second.version)
    client.set_registered_model_alias(name, "gone", first.version)
    client.delete_registered_model_alias(name, "gone")
    seen = client.get_model_version(name, second.version)
    assert (seen.description, seen.tags, seen.aliases, seen.status) == (
        "changed",
        {"kind": "second", "checked": "yes"},
        ["candidate"],
        "READY",
    )
    model = client.get_registered_model(name)
    assert (model.description, model.tags, model.aliases) == ("what it is for", {"team": "x", "more": "1"}, {"candidate": second.version})
    assert [one.version for one in client.search_model_versions(f"name = '{name}'", order_by=["version_number ASC"])] == [
        first.version, second.version
    ]  # fmt: skip
    assert [one.version for one in client.search_model_versions(f"run_id = '{infos[0].run_id}'")] == [first.version]
    assert [one.version for one in client.search_model_versions(f"name = '{name}' and tags.kind = 'second'")] == [second.version]
    assert [one.name for one in client.search_registered_models(f"name ILIKE '{name.upper()}'")] == [name]
    assert [one.name for one in stock.search_registered_models(filter_string=f"tags.team = 'x' and name = '{name}'")] == [name]
    assert client.get_model_version_by_alias(name, "candidate").version == second.version
    assert client.get_latest_versions(name)[0].version == second.version
    assert client.get_model_version_download_uri(name, first.version)
    for uri in (f"models:/{name}/1", f"models:/{name}@candidate", f"models:/{name}/latest"):
        assert stock.pyfunc.load_model(uri).predict(rows()).tolist() == [3.0, 4.0]
    assert (Path(stock.artifacts.download_artifacts(f"models:/{name}/1")) / "MLmodel").is_file()


def test_a_version_is_copied_into_another_model(stock, experiment, name):
    client = stock.MlflowClient()
    info = doubled(stock, registered_model_name=name)
    copied = client.copy_model_version(f"models:/{name}/{info.registered_model_version}", f"{name}-copy")
    assert (copied.name, str(copied.version)) == (f"{name}-copy", "1")
    assert stock.pyfunc.load_model(f"models:/{name}-copy/1").predict(rows()).tolist() == [3.0, 4.0]


def test_what_a_release_decides_is_refused_with_403_and_what_to_do(served, stock, experiment, name):
    client = stock.MlflowClient()
    doubled(stock, registered_model_name=name)
    refused = {
        "alias": lambda: client.set_registered_model_alias(name, "production", 1),
        "champion": lambda: client.set_registered_model_alias(name, "Champion", 1),
        "stage": lambda: client.transition_model_version_stage(name, 1, "Production"),
        "rename": lambda: client.rename_registered_model(name, f"{name}-new"),
        "delete version": lambda: client.delete_model_version(name, 1),
        "delete model": lambda: client.delete_registered_model(name),
        "evidence": lambda: client.set_model_version_tag(name, 1, "gateline.approved", "yes"),
    }
    for what, call in refused.items():
        with pytest.raises(stock.exceptions.RestException) as told:
            call()
        assert told.value.get_http_status_code() == 403, what
        assert "refused" in told.value.message
    reply = served.request("POST", "/api/2.0/mlflow/registered-models/alias", json={"name": name, "alias": "production", "version": "1"})
    assert reply.status_code == 403
