"""What MLflow's documentation of tracking shows works with its own client: runs, files, search, experiments, data sets."""

from __future__ import annotations

import threading
import time
import uuid

import pytest

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of their own future


@pytest.fixture
def experiment(stock):
    """The id of a fresh experiment, which is the active one."""
    return stock.set_experiment(f"docs-{uuid.uuid4().hex}").experiment_id


def test_params_metrics_and_tags_are_logged_one_by_one_and_in_batches(stock, experiment):
    from mlflow.entities import Metric, Param, RunTag

    client = stock.MlflowClient()
    with stock.start_run(run_name="all", description="what it is for", tags={"a": "1"}, log_system_metrics=False) as run:
        run_id = run.info.run_id
        assert stock.log_param("depth", 3) == 3
        stock.log_params({"rate": 0.1, "model": "gbm"})
        stock.log_metrics({"loss": 0.5, "auc": 0.7}, step=1)
        stock.log_metric("loss", 0.4, step=2, synchronous=True)
        stock.set_tags({"b": 2, "c": "3"})
        stock.delete_tag("a")
        metrics = [Metric("batch", index / 7, 1_700_000_000_000 + index, index) for index in range(20)]
        client.log_batch(run_id, metrics, [Param("p", "1")], [RunTag("t", "1")])
        stock.log_metric("later", 1.0, synchronous=False).wait()
        stock.flush_async_logging()
    data = client.get_run(run_id).data
    assert data.params == {"depth": "3", "rate": "0.1", "model": "gbm", "p": "1"}
    assert data.metrics == {"loss": 0.4, "auc": 0.7, "batch": 19 / 7, "later": 1.0}
    assert {key: data.tags.get(key) for key in "abct"} == {"a": None, "b": "2", "c": "3", "t": "1"}
    assert data.tags["mlflow.note.content"] == "what it is for"
    assert [(one.step, one.value) for one in client.get_metric_history(run_id, "loss")] == [(1, 0.5), (2, 0.4)]
    with pytest.raises(stock.exceptions.MlflowException, match="INVALID_PARAMETER_VALUE"):
        client.log_param(run_id, "depth", 4)


def test_files_of_every_kind_are_logged_listed_loaded_and_downloaded(stock, experiment, tmp_path):
    import matplotlib as mpl
    import numpy as np
    import pandas as pd

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a b.txt").write_text("one", encoding="utf-8")
    (tmp_path / "in" / "deep" / "ü.bin").write_bytes(bytes(range(256)) * 4_000)
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    client = stock.MlflowClient()
    with stock.start_run() as run:
        stock.log_artifact(str(tmp_path / "in" / "a b.txt"), "single")
        stock.log_artifacts(str(tmp_path / "in"), "many")
        stock.log_text("<b>hello</b>", "report.html")
        stock.log_dict({"k": [1, 2]}, "config.json")
        stock.log_figure(figure, "plots/line.png")
        stock.log_image(np.zeros((8, 8, 3), dtype=np.uint8), "black.png")
        stock.log_image(np.full((8, 8, 3), 200, dtype=np.uint8), key="frame", step=1)
        stock.log_table({"q": ["a"], "n": [1]}, "table.json")
        stock.log_table(pd.DataFrame({"q": ["b"], "n": [2]}), "table.json")
        uri = stock.get_artifact_uri("config.json")
    plt.close(figure)
    run_id = run.info.run_id
    assert {one.path for one in client.list_artifacts(run_id)} >= {
        "single", "many", "report.html", "config.json", "plots", "black.png", "images", "table.json"
    }  # fmt: skip
    (deep,) = client.list_artifacts(run_id, "many/deep")
    assert (deep.path, deep.is_dir, deep.file_size) == ("many/deep/ü.bin", False, 1_024_000)
    assert stock.artifacts.load_dict(uri) == {"k": [1, 2]}
    assert stock.artifacts.load_text(f"{run.info.artifact_uri}/report.html") == "<b>hello</b>"
    assert stock.artifacts.load_image(f"runs:/{run_id}/black.png").size == (8, 8)
    assert stock.load_table("table.json", run_ids=[run_id], extra_columns=["run_id"])["n"].tolist() == [1, 2]
    folder = stock.artifacts.download_artifacts(run_id=run_id, artifact_path="many", dst_path=str(tmp_path / "out"))
    assert (tmp_path / "out" / "many" / "deep" / "ü.bin").read_bytes() == bytes(range(256)) * 4_000
    assert folder.rstrip("/").endswith("many")
    assert len(stock.artifacts.list_artifacts(run_id=run_id, artifact_path="images")) == 2
    assert client.download_artifacts(run_id, "plots/line.png").endswith("line.png")


def test_runs_nest_resume_end_and_are_deleted_and_restored(stock, experiment):
    client = stock.MlflowClient()
    with stock.start_run(run_name="parent") as parent:
        with stock.start_run(run_name="child", nested=True) as child:
            stock.log_param("depth", 1)
    with stock.start_run(run_name="grandchild", nested=True, parent_run_id=child.info.run_id) as grandchild:
        pass
    assert client.get_parent_run(child.info.run_id).info.run_id == parent.info.run_id
    assert client.get_parent_run(grandchild.info.run_id).info.run_id == child.info.run_id
    children = stock.search_runs(filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    assert children.run_id.tolist() == [child.info.run_id]
    with pytest.raises(ValueError, match="no"), stock.start_run(run_id=child.info.run_id):
        stock.log_metric("resumed", 1)
        raise ValueError("no")
    assert client.get_run(child.info.run_id).info.status == "FAILED"
    client.set_terminated(child.info.run_id, "KILLED", end_time=1_700_000_000_000)
    client.update_run(child.info.run_id, status="FINISHED", name="renamed")
    again = client.get_run(child.info.run_id).info
    assert (again.status, again.run_name) == ("FINISHED", "renamed")
    assert stock.last_active_run().info.run_id == child.info.run_id
    stock.delete_run(grandchild.info.run_id)
    assert client.get_run(grandchild.info.run_id).info.lifecycle_stage == "deleted"
    assert len(stock.search_runs(run_view_type=stock.entities.ViewType.DELETED_ONLY)) == 1
    client.restore_run(grandchild.info.run_id)
    assert len(stock.search_runs()) == 3


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("metrics.auc > 0.75", "bc"),
        ("metrics.auc >= 0.8 and metrics.auc != 0.9", "b"),
        ("metrics.`val/auc` <= 0.7", "a"),
        ("params.model = 'gbm'", "ab"),
        ("params.model != 'gbm'", "c"),
        ("params.model LIKE 'l%'", "c"),
        ("params.model ILIKE 'GB%'", "ab"),
        ("params.only_c IS NOT NULL", "c"),
        ("params.only_c IS NULL", "ab"),
        ("tags.team = 'x' AND params.depth = '2'", "b"),
        ("tags.`two words` = 'y'", "a"),
        ("attributes.status = 'FINISHED' and attributes.run_name = 'a'", "a"),
        ("attributes.run_id IN ('{a}')", "a"),
        ("attributes.run_id NOT IN ('{a}', '{b}')", "c"),
        ("attributes.user_id = 'developer'", "abc"),
        ("attributes.start_time > 1600000000000 and attributes.end_time > 0", "abc"),
        ("attributes.artifact_uri LIKE '%{a}%'", "a"),
        ("datasets.name = 'rows'", "b"),
        ("dataset.digest = 'd1' and dataset.context = 'training'", "b"),
        ("datasets.name LIKE 'r%' AND metrics.auc > 0.1", "b"),
    ],
)
def test_runs_are_searched_by_everything_the_grammar_has(stock, searched, condition, found):
    experiment, runs = searched
    condition = condition.format(**runs)
    answer = stock.search_runs([experiment], filter_string=condition, order_by=["attributes.run_name ASC"], output_format="list")
    assert "".join(one.info.run_name for one in answer) == found


@pytest.fixture(scope="module")
def searched(served):
    """The experiment with three runs a, b and c, and their ids."""
    import mlflow
    from mlflow.entities import Dataset, DatasetInput, InputTag

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_TOKEN", served.developer)
        client, runs = mlflow.MlflowClient(tracking_uri=served.url), {}
        experiment = client.create_experiment("docs-searched")
        for index, name in enumerate("abc"):
            run_id = runs[name] = client.create_run(experiment, run_name=name, tags={"team": "x"}).info.run_id
            client.log_param(run_id, "model", "linear" if name == "c" else "gbm")
            client.log_param(run_id, "depth", index + 1)
            client.log_metric(run_id, "auc", (7 + index) / 10)
            client.log_metric(run_id, "val/auc", (7 + index) / 10)
        client.log_param(runs["c"], "only_c", "yes")
        client.set_tag(runs["a"], "two words", "y")
        dataset = Dataset(name="rows", digest="d1", source_type="http", source='{"url": "https://example.org/rows.csv"}')
        client.log_inputs(runs["b"], [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        for run_id in runs.values():
            client.set_terminated(run_id)
    return experiment, runs


def test_results_are_ordered_paged_and_come_as_frame_or_list(stock, searched):
    experiment, runs = searched
    frame = stock.search_runs([experiment], order_by=["metrics.auc DESC", "start_time ASC"])
    assert frame["tags.mlflow.runName"].tolist() == ["c", "b", "a"]
    assert frame["params.depth"].tolist() == ["3", "2", "1"]
    client = stock.MlflowClient()
    page = client.search_runs([experiment], max_results=2, order_by=["params.depth"])
    rest = client.search_runs([experiment], max_results=2, order_by=["params.depth"], page_token=page.token)
    assert [one.info.run_id for one in [*page, *rest]] == list(runs.values())
    assert stock.search_runs(search_all_experiments=True, filter_string="tags.`two words` = 'y'").run_id.tolist() == [runs["a"]]
    with pytest.raises(stock.exceptions.MlflowException, match="Invalid"):
        stock.search_runs([experiment], filter_string="colour = 'red'")


def test_experiments_are_made_tagged_renamed_searched_deleted_and_restored(stock):
    client, name = stock.MlflowClient(), f"docs-{uuid.uuid4().hex}"
    made = stock.create_experiment(name, tags={"owner": "ana"})
    client.set_experiment_tag(made, "team", "x")
    client.set_experiment_tag(made, "gone", "x")
    client.delete_experiment_tag(made, "gone")
    seen = stock.get_experiment_by_name(name)
    assert (seen.experiment_id, seen.tags["owner"], seen.tags["team"], "gone" in seen.tags) == (made, "ana", "x", False)
    client.rename_experiment(made, f"{name}-new")
    assert stock.get_experiment(made).name == f"{name}-new"
    assert [one.experiment_id for one in stock.search_experiments(filter_string=f"name LIKE '{name}%' AND tags.team = 'x'")] == [made]
    assert stock.search_experiments(order_by=["name DESC"], max_results=1)
    with pytest.raises(stock.exceptions.MlflowException, match="RESOURCE_ALREADY_EXISTS"):
        stock.create_experiment(f"{name}-new")
    stock.delete_experiment(made)
    assert stock.get_experiment(made).lifecycle_stage == "deleted"
    assert made in {one.experiment_id for one in stock.search_experiments(view_type=stock.entities.ViewType.DELETED_ONLY)}
    client.restore_experiment(made)
    stock.set_experiment(experiment_id=made)
    stock.set_experiment_tags({"more": "1"})
    with stock.start_run() as run:
        pass
    assert run.info.experiment_id == made


def test_data_sets_are_logged_as_inputs_and_read_back(stock, experiment, tmp_path):
    import numpy as np
    import pandas as pd

    (tmp_path / "rows.csv").write_text("a,y\n1,0\n2,1\n", encoding="utf-8")
    frame = pd.read_csv(tmp_path / "rows.csv")
    with stock.start_run() as run:
        stock.log_input(stock.data.from_pandas(frame, source=str(tmp_path / "rows.csv"), name="rows", targets="y"), context="training")
        stock.log_input(stock.data.from_numpy(np.arange(4), name="array"), context="eval", tags={"k": "v"})
        stock.log_inputs([stock.data.from_pandas(frame, name="again")], contexts=["test"], tags_list=[{"a": "b"}])
    inputs = {one.dataset.name: one for one in stock.get_run(run.info.run_id).inputs.dataset_inputs}
    contexts = {name: next(tag.value for tag in one.tags if tag.key == "mlflow.data.context") for name, one in inputs.items()}
    assert contexts == {"rows": "training", "array": "eval", "again": "test"}
    source = stock.data.get_source(inputs["rows"].dataset)
    assert pd.read_csv(source.load()).equals(frame)
    assert '"num_rows": 2' in inputs["rows"].dataset.profile


def test_runs_logged_by_threads_and_child_processes_reach_the_server(stock, experiment):
    def work(index):
        with stock.start_run(run_name=f"thread-{index}"):
            for step in range(20):
                stock.log_metric("loss", step, step=step)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    frame = stock.search_runs()
    assert sorted(frame["tags.mlflow.runName"]) == [f"thread-{index}" for index in range(4)]
    assert set(frame["metrics.loss"]) == {19.0}


def test_system_metrics_are_logged_by_mlflows_own_monitor(stock, experiment):
    stock.set_system_metrics_sampling_interval(0.1)
    stock.set_system_metrics_samples_before_logging(1)
    try:
        with stock.start_run(log_system_metrics=True) as run:
            until = time.monotonic() + 20
            while not any(key.startswith("system/") for key in stock.get_run(run.info.run_id).data.metrics) and time.monotonic() < until:
                time.sleep(0.1)
    finally:
        stock.set_system_metrics_sampling_interval(None)
        stock.set_system_metrics_samples_before_logging(None)
    assert "system/cpu_utilization_percentage" in stock.get_run(run.info.run_id).data.metrics
