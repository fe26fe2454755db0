"""The SDK's tracked run against a real server: what it logs, what it leaves behind, how many requests it takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateline.cli.output import Session
from gateline.cli.run import group
from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.errors import Conflict, Denied, IntegrityFailure, InvalidInput, NotFound, Unavailable
from gateline.lineage import Lineage, Node
from gateline.sdk.client import Client
from gateline.sdk.saved_metrics import log_saved
from gateline.sdk.tracking import tracked_run
from gateline.tracking import Tracking

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of their own future

COLUMNS = ["temp", "dep hour", "carrier"]


@pytest.fixture(scope="module")
def datasets(served):
    """Three registered dataset versions."""
    found = []
    for name in ("flights", "planes", "weather"):
        file = served.app.objects.put_bytes(f"{name},n\na,1\nb,2\n".encode())
        found.append(served.app.datasets.register("owner", name, file=file.sha256, format="csv", source="test", licence="CC0-1.0"))
    return found


@pytest.fixture
def client(served):
    with Client(url=served.url.removesuffix("/mlflow"), token=served.developer) as made:
        yield made


@pytest.fixture(scope="module")
def booster():
    import lightgbm
    import numpy as np

    rng = np.random.default_rng(5)
    rows = np.column_stack([rng.random((200, 2)), rng.integers(0, 4, 200)])
    data = lightgbm.Dataset(
        rows, (rows[:, 0] > 0.5).astype(int), feature_name=[name.replace(" ", "_") for name in COLUMNS], categorical_feature=[2]
    )
    return lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}, data, 5)


def log_whole_run(client, booster, datasets, **more):
    with tracked_run(
        client,
        experiment="flight-delay",
        name="january",
        datasets=datasets,
        params={f"p{index}": index for index in range(15)},
        tags={"team": "delays"},
        feature_set={"id": "flight_delay@1", "digest": "cd" * 32},
        seed=7,
        **more,
    ) as run:
        run.log_metrics({f"m{index}": index / 10 for index in range(10)})
        run.log_history({"loss": [0.7, 0.6, float("nan")]})
        run.model_id = run.log_lightgbm(
            booster, COLUMNS, ["carrier"], served={"serving.json": b"{}", "model.txt": booster.model_to_string().encode()}
        )
    return run


def test_a_whole_run_is_logged_frozen_and_its_lineage_known(served, client, booster, datasets):
    run = log_whole_run(client, booster, datasets)
    snapshot = served.tracking.freeze("developer", run.run_id)
    assert (snapshot.status, snapshot.user, snapshot.name, snapshot.experiment) == ("FINISHED", "developer", "january", "flight-delay")
    assert snapshot.params == {f"p{index}": str(index) for index in range(15)}
    used = {name for name in snapshot.metrics if name.startswith("resources.")}
    assert {"resources.cpu_seconds", "resources.duration_seconds", "resources.peak_memory_bytes", "resources.written_bytes"} <= used
    assert len(snapshot.metrics) == 11 + len(used), snapshot.metrics
    assert snapshot.metric_points == 13 + len(used)
    assert [(one.version, one.sha256, one.context) for one in snapshot.inputs] == [(one.id, one.digest, "training") for one in datasets]
    assert snapshot.tags["feature_set"] == "flight_delay@1"
    assert snapshot.tags["seed"] == "7"
    assert set(snapshot.artifacts) == {"environment.json", "served/serving.json", "served/model.txt"}
    assert snapshot.artifacts["served/serving.json"].sha256 == sha256_bytes(b"{}")
    assert snapshot.environment_digest == snapshot.tags["environment.sha256"]
    assert [(one.model_id, one.name) for one in snapshot.models] == [(run.model_id, "model")]
    assert {"MLmodel", "model.lgb", "requirements.txt"} <= set(snapshot.models[0].files)
    graph = Lineage(served.ledger.records).ancestors(Node(kind="run", id=run.run_id))
    assert {one.id for one in graph.nodes if one.kind == "dataset_version"} == {"flights@1", "planes@1", "weather@1"}
    assert served.tracking.get(run.run_id).as_dict() == snapshot.as_dict()
    assert served.entries("run.frozen")[-1].payload["digest"] == snapshot.digest


def test_the_environment_names_packages_code_seed_hardware_and_threads(served, client, tmp_path):
    (tmp_path / "uv.lock").write_bytes(b"locked")
    with tracked_run(client, experiment="flight-delay", name="environment", seed=3, folder=tmp_path) as run:
        pass
    environment = json.loads((served.home / "mlflow" / "artifacts" / path_of(served, run.run_id) / "environment.json").read_bytes())
    assert environment == run.environment
    assert environment["packages"]["lightgbm"]
    assert environment["locks"] == {"uv.lock": sha256_bytes(b"locked")}
    assert environment["code"] == {}
    assert environment["seed"] == 3
    assert environment["hardware"]["cpus"] >= 1
    assert environment["threads"]["usable"] >= 1


def path_of(served, run_id):
    facts = served.mlflow.loaded().tracking.get_run(run_id).info
    return f"{facts.experiment_id}/{run_id}/artifacts"


def test_the_logged_model_predicts_as_the_booster_does(client, booster, datasets, stock):
    import numpy as np
    import pandas as pd

    run = log_whole_run(client, booster, datasets)
    model = stock.pyfunc.load_model(f"models:/{run.model_id}")
    frame = pd.DataFrame({"temp": [0.1, 0.9, None], "dep hour": [0.5, 0.2, 0.1], "carrier": [0, 3, 1]})
    assert np.allclose(model.predict(frame), booster.predict(frame.to_numpy()))
    assert [one.name for one in model.metadata.signature.inputs] == COLUMNS


def test_code_in_the_block_may_use_mlflow_itself_and_the_address_is_put_back(served, client):
    import mlflow

    before = mlflow.get_tracking_uri()
    with tracked_run(client, experiment="flight-delay", name="fluent") as run:
        mlflow.log_metric("by_hand", 1.5)
        assert mlflow.active_run().info.run_id == run.run_id
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None
    assert "MLFLOW_TRACKING_TOKEN" not in os.environ
    assert served.tracking.read(run.run_id).metrics["by_hand"] == 1.5


@pytest.mark.parametrize(("raised", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_block_that_raises_closes_its_run_which_cannot_be_frozen(served, client, datasets, raised, status):
    with pytest.raises(raised):
        with tracked_run(client, experiment="flight-delay", name="broken", datasets=datasets) as run:
            raise raised
    facts = served.tracking.read(run.run_id)
    assert facts.status == status
    assert facts.ended_at is not None
    assert len(facts.inputs) == 3
    with pytest.raises(Conflict):
        served.tracking.freeze("developer", run.run_id)


def test_wrong_columns_metrics_and_paths_are_refused_by_name(client, booster):
    with tracked_run(client, experiment="flight-delay", name="wrong") as run:
        with pytest.raises(InvalidInput, match="trained on"):
            run.log_lightgbm(booster, ["temp", "carrier"])
        with pytest.raises(InvalidInput, match="nothing"):
            run.log_lightgbm(booster, COLUMNS, ["nothing"])
        with pytest.raises(InvalidInput, match="word"):
            run.log_metrics({"auc": 0.5, "word": "high"})
        with pytest.raises(InvalidInput, match="inside"):
            run.log_files({"../escape": b""})


def test_a_run_that_claims_another_digest_of_a_dataset_is_not_frozen(served, client, datasets):
    with tracked_run(client, experiment="flight-delay", name="claims", datasets=datasets[:1]) as run:
        pass

    def knowing(digest):
        lineage = Lineage(served.ledger.records)
        return Tracking(served.ledger, served.mlflow.run_source, lineage, dataset_digest={"flights@1": digest}.get)

    with pytest.raises(IntegrityFailure, match="flights@1"):
        knowing("00" * 32).freeze("developer", run.run_id)
    known = knowing(datasets[0].digest)
    assert known.freeze("developer", run.run_id).inputs[0].version == "flights@1"


def test_a_run_names_the_fit_it_was_trained_with_and_a_fit_that_is_not_on_record_is_refused(served, client):
    fit = {"id": "flight_delay@1/fit@2", "digest": "ef" * 32}
    with tracked_run(client, experiment="flight-delay", name="fitted", feature_fit=fit) as run:
        pass
    tags = served.tracking.read(run.run_id).tags
    assert (tags["feature_fit"], tags["feature_fit.digest"]) == (fit["id"], fit["digest"])
    with pytest.raises(IntegrityFailure, match="there is no such fit"):
        served.tracking.freeze("developer", run.run_id)


def test_a_whole_run_takes_few_requests(client, booster, datasets, monkeypatch):
    from gateline.adapters.mlflow.asgi import Gate

    asked = []
    admit = Gate._admit

    def counted(self, method, path, headers):
        asked.append(f"{method} {path}")
        return admit(self, method, path, headers)

    monkeypatch.setattr(Gate, "_admit", counted)
    log_whole_run(client, booster, datasets)
    assert len(asked) <= 25, asked


def test_runs_are_listed_shown_frozen_and_verified_over_rest_and_on_the_command_line(served, client, booster, datasets, capsys):
    run_id = log_whole_run(client, booster, datasets).run_id
    shown = client.get(f"/runs/{run_id}")
    assert (shown["frozen"], shown["artifacts"], shown["user"]) == (False, {}, "developer")
    frozen = client.post(f"/runs/{run_id}/freeze")
    assert frozen["frozen"]
    assert client.post(f"/runs/{run_id}/freeze") == frozen == client.get(f"/runs/{run_id}") == client.post(f"/runs/{run_id}/verify")
    (first,) = client.get("/runs", params={"experiment": "flight-delay", "max_results": 1})["runs"]
    assert (first["run_id"], first["frozen"]) == (run_id, True)
    with Client(url=client.url, token=served.viewer) as viewer:
        assert viewer.get(f"/runs/{run_id}") == frozen
        with pytest.raises(Denied):
            viewer.post(f"/runs/{run_id}/freeze")
    with pytest.raises(NotFound):
        client.get(f"/runs/{'0' * 32}")
    session = Session(url=client.url)
    session.choose(home=None, url=client.url)
    session._client = client
    for words, expected in [
        (["list", "--experiment", "flight-delay"], run_id),
        (["show", run_id], frozen["digest"]),
        (["freeze", run_id], frozen["digest"]),
        (["verify", run_id], "matches"),
    ]:
        group.main(words, obj=session, standalone_mode=False)
        assert expected in capsys.readouterr().out


def test_values_logged_one_by_one_take_few_requests_and_all_arrive(served, client, monkeypatch):
    from gateline.adapters.mlflow.metrics import MetricRoute

    asked, log = [], MetricRoute.log
    monkeypatch.setattr(MetricRoute, "log", lambda self, path, body: asked.append(path) or log(self, path, body))
    with tracked_run(client, experiment="flight-delay", name="many") as run:
        for step in range(3_000):
            run.log_metrics({"loss": step / 7, "flat": float("inf") if step == 2_999 else 1.0}, step=step)
        run.flush()
        assert served.tracking.read(run.run_id).metrics == {"loss": 2_999 / 7, "flat": 1.7976931348623157e308}
    assert served.tracking.freeze("developer", run.run_id).metric_points == 6_000 + 5  # and what the run used
    assert len(asked) <= 30, asked


def test_values_that_the_server_does_not_accept_fail_the_run_and_are_logged_later_from_their_file(served, client, tmp_path, monkeypatch):
    with pytest.raises(Unavailable, match="3 metric values") as told:
        with tracked_run(client, experiment="flight-delay", name="cut off", folder=tmp_path) as run:
            monkeypatch.setattr(run._client, "log_batch", cut_off)
            run.log_history({"loss": [0.5, float("nan"), 0.25]})
    path = tmp_path / f"unlogged-{run.run_id}.jsonl"
    assert str(path) in str(told.value)
    assert served.tracking.read(run.run_id).status == "FAILED"
    assert log_saved(client, path) == 3
    assert not path.exists()
    assert served.tracking.read(run.run_id).metrics["loss"] == 0.25


def cut_off(*_args, **_more):
    raise ConnectionError("the network is gone")


def test_what_the_block_raised_is_not_hidden_by_values_that_could_not_be_logged(client, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="diverged") as told:
        with tracked_run(client, experiment="flight-delay", name="cut off", folder=tmp_path) as run:
            monkeypatch.setattr(run._client, "log_batch", cut_off)
            run.log_metrics({"loss": 1.0})
            raise ValueError("diverged")
    assert "1 metric values" in told.value.__notes__[0]


def failing(*_args, **_more):
    raise RuntimeError("the disk is on fire")


def test_what_fails_while_a_run_closes_hides_neither_lost_values_nor_what_the_block_raised(served, client, tmp_path, monkeypatch):
    monkeypatch.setattr("gateline.sdk.run_records.log_resources", failing)
    with (
        pytest.raises(Unavailable, match="1 metric values"),
        tracked_run(client, experiment="closing", name="lost", folder=tmp_path) as run,
    ):
        monkeypatch.setattr(run._client, "log_batch", cut_off)
        run.log_metrics({"loss": 1.0})
    assert served.tracking.read(run.run_id).status == "FAILED"
    with pytest.raises(ValueError, match="diverged"), tracked_run(client, experiment="closing", name="raises") as run:
        raise ValueError("diverged")
    assert served.tracking.read(run.run_id).status == "FAILED"
    with tracked_run(client, experiment="closing", name="fine") as run:
        pass
    assert served.tracking.read(run.run_id).status == "FINISHED"


def test_values_that_not_even_a_file_takes_are_said_to_be_lost_and_the_run_is_closed(served, client, tmp_path, monkeypatch):
    with pytest.raises(Unavailable, match=r"1 metric values .* lost.*on fire"):
        with tracked_run(client, experiment="closing", name="no file", folder=tmp_path / "none" / "such") as run:
            monkeypatch.setattr(run._client, "log_batch", cut_off)
            monkeypatch.setattr("gateline.sdk.tracking.save_values", lambda *_: (_ for _ in ()).throw(OSError("the disk is on fire")))
            run.log_metrics({"loss": 1.0})
    assert served.tracking.read(run.run_id).status == "FAILED"


def test_a_run_that_cannot_be_closed_says_so_and_hides_nothing(client, stock, monkeypatch):
    def no_end(mlflow, error):
        end = mlflow.end_run
        return lambda status: end(status) or (_ for _ in ()).throw(error)

    with pytest.raises(Unavailable, match="could not be closed: the server is gone"):
        with tracked_run(client, experiment="closing", name="open"):
            monkeypatch.setattr(stock, "end_run", no_end(stock, ConnectionError("the server is gone")))
    with pytest.raises(ValueError, match="diverged") as told, tracked_run(client, experiment="closing", name="open too"):
        raise ValueError("diverged")
    assert "could not be closed" in told.value.__notes__[0]


def test_a_value_logged_after_the_run_is_refused(client):
    with tracked_run(client, experiment="closing", name="late") as run:
        pass
    with pytest.raises(Conflict, match="has ended"):
        run.log_metrics({"loss": 1.0})
    run.flush()


@pytest.mark.parametrize("name", ["a$b", "", "../up", "x" * 251, "a//b"])
def test_a_wrong_name_of_a_metric_is_refused_at_once_and_blocks_no_other(served, client, name):
    with tracked_run(client, experiment="closing", name="names") as run:
        with pytest.raises(InvalidInput, match="metric"):
            run.log_metrics({"good": 0.5, name: 0.5})
        with pytest.raises(InvalidInput, match="step"):
            run.log_metrics({"good": 0.5}, step=2**63)
        with pytest.raises(InvalidInput, match="no numbers: huge"):
            run.log_metrics({"huge": 10**400})
        run.log_metrics({"good": 0.25})
        run.flush()
    assert served.tracking.read(run.run_id).metrics["good"] == 0.25


@pytest.fixture
def kernel(monkeypatch):
    """Let this process look like a kernel that has executed two cells."""
    history = SimpleNamespace(input_hist_raw=["", "x = 1", "password = 'hunter2x'"])
    monkeypatch.setattr("gateline.sdk.notebook.capture._shell", lambda: SimpleNamespace(history_manager=history))


def test_executed_cells_are_kept_without_their_secrets_and_only_when_that_is_wanted(served, client, kernel, tmp_path, capsys):
    with tracked_run(client, experiment="cells", name="kept") as run:
        pass
    folder = served.home / "mlflow" / "artifacts" / path_of(served, run.run_id)
    kept = [(folder / name).read_text(encoding="utf-8") for name in ("notebook.json", "notebook.py")]
    assert all("[redacted]" in text and "hunter2x" not in text for text in kept)
    assert served.tracking.read(run.run_id).tags["notebook.findings"] == "error=0 warning=1 note=0"
    assert "notebook.redacted" in capsys.readouterr().out
    (tmp_path / "gateline.toml").write_text("[project]\nname = 'x'\n[tracking]\nkeep_notebook = false\n", encoding="utf-8")
    for more in ({"keep_notebook": False}, {"folder": tmp_path}):
        with tracked_run(client, experiment="cells", name="not kept", **more) as run:
            pass
        tags = served.tracking.read(run.run_id).tags
        assert ("notebook.sha256" in tags, tags["notebook.omitted"]) == (False, "keep_notebook = false")


PROGRAM = """
import sys, time
from gateline.sdk.client import Client
from gateline.sdk.tracking import tracked_run
with Client() as client, tracked_run(client, experiment="flight-delay", name="child") as run:
    run.log_metrics({"loss": 0.5})
    print(run.run_id, flush=True)
    time.sleep(120)
"""


def test_sigterm_closes_the_run_as_killed_with_all_values_and_a_sigkill_leaves_its_heartbeat(served, client):
    found = {}
    for sent in (signal.SIGTERM, signal.SIGKILL):
        environment = os.environ | {"GATELINE_URL": client.url, "GATELINE_TOKEN": client.token}
        with subprocess.Popen([sys.executable, "-W", "ignore", "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=environment) as child:
            run_id = next(line.strip() for line in child.stdout if len(line.strip()) == 32)
            while "gateline.heartbeat" not in served.tracking.read(run_id).tags:
                time.sleep(0.05)
            child.send_signal(sent)
            assert child.wait(60) == (143 if sent is signal.SIGTERM else -9)
        found[sent] = served.tracking.read(run_id)
    assert (found[signal.SIGTERM].status, found[signal.SIGTERM].metrics["loss"]) == ("KILLED", 0.5)
    assert found[signal.SIGKILL].status == "RUNNING"


def test_any_model_is_logged_with_signature_and_requirements(client, stock):
    import numpy as np
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    frame = pd.DataFrame({"a": np.linspace(0, 1, 40), "b": np.linspace(1, 0, 40)})
    model = LogisticRegression().fit(frame, frame["a"] > 0.5)
    with tracked_run(client, experiment="flight-delay", name="sklearn") as run:
        model_id = run.log_model(model, frame.head(3))
        with pytest.raises(InvalidInput, match="signature"):
            run.log_model(model)
        with pytest.raises(InvalidInput, match="nonsense"):
            run.log_model(model, frame, flavor="nonsense")
    loaded = stock.pyfunc.load_model(f"models:/{model_id}")
    assert [one.name for one in loaded.metadata.signature.inputs] == ["a", "b"]
    assert list(loaded.predict(frame)) == list(model.predict(frame))
    lines = (Path(stock.artifacts.download_artifacts(f"models:/{model_id}")) / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {"mlflow", "scikit-learn", "numpy"} <= {line.split("==")[0] for line in lines}
