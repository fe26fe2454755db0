"""Gates and registry as users reach them: a LightGBM model, real workers, the REST API, the SDK and the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import lightgbm
import polars as pl
import pytest

from gateline.access import Role
from gateline.app import App, build
from gateline.cli import main
from gateline.gates import Policy, Verdict, parse_policy_toml
from gateline.kernel.clock import DAY, iso
from gateline.kernel.errors import Conflict, Denied, InvalidInput, NotFound
from gateline.kernel.settings import Settings
from gateline.sdk.client import Client
from gateline.sdk.gates import gate_run, record_policy, run_gates
from gateline.sdk.registry import approvals, approve, champion, history, model_version, model_versions, models, register_model
from gateline.sdk.transport import InProcessTransport
from gateline.server.asgi import create_app
from gateline.serving import compile_served_form
from gateline.tracking import Tracking
from tests.unit.gates.conftest import START, make_rows
from tests.unit.registry.conftest import CSV, Runs, view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLICY = """
[gates]
resamples = 500
unit_noun = "day"
[gates.holdout]
improvement_min = 0.005
[gates.slices]
columns = ["carrier"]
rows_min = 100
improvement_min = -0.02
[gates.latency]
p99_ms_max = 5000
requests = 300
warmup = 10
"""


def coded_rows(first_day: int, days: int) -> pl.DataFrame:
    """Return rows whose carrier is a number, as the model takes it."""
    return make_rows(first_day, days).with_columns(pl.col("carrier").replace_strict({"AA": 0, "B6": 1, "UA": 2}))


class Installation:
    """An installation in a folder with a trained model in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.app: App = build(Settings(home=home, mlflow=False))
        self.owner = self.connect(self.app.access.ensure_owner())
        self.developer = self.client("developer", Role.DEVELOPER, Role.VALIDATOR)
        self.validator = self.client("validator", Role.VALIDATOR)
        self.training, self.holdout = coded_rows(0, 60), coded_rows(60, 28)
        self.form = self.train()
        self.policy: Policy = parse_policy_toml(POLICY)

    def client(self, name: str, *roles: Role) -> Client:
        self.owner.post("/principals", json={"name": name, "roles": [role.value for role in roles], "kind": "person"})
        return self.connect(self.owner.post("/tokens", json={"principal": name})["token"])

    def connect(self, token: str) -> Client:
        transport = InProcessTransport(create_app(self.app))
        return Client(url="http://gateline.test", token=token, transport=transport)

    def train(self) -> dict[str, bytes]:
        data = lightgbm.Dataset(
            self.training.select("x", "carrier").to_numpy(), self.training["label"].to_numpy(), feature_name=["x", "carrier"]
        )
        options = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1, "deterministic": True, "seed": 1}
        text = lightgbm.train(options, data, 40).model_to_string()
        inputs = [{"column": name, "feature": name, "kind": "numeric"} for name in ("x", "carrier")]
        return compile_served_form(text, inputs)

    def write(self, folder: Path) -> dict[str, Path]:
        (folder / "form").mkdir(parents=True)
        for name, content in self.form.items():
            (folder / "form" / name).write_bytes(content)
        self.training.write_parquet(folder / "training.parquet")
        self.holdout.write_parquet(folder / "holdout.parquet")
        (folder / "gateline.toml").write_text(POLICY)
        return {name: folder / name for name in ("form", "training.parquet", "holdout.parquet", "gateline.toml")}

    def request(self) -> dict[str, Any]:
        upload = self.developer.upload
        return {
            "run_id": "run-1", "files": {name: upload(content) for name, content in self.form.items()},
            "training_frame": self.app.objects.put_with(self.training.write_parquet).sha256, "trained_until": START + 60 * DAY,
            "frame": self.app.objects.put_with(self.holdout.write_parquet).sha256, "policy": self.policy,
        }  # fmt: skip

    def registration(self, gate_run_id: str) -> dict[str, Any]:
        raw = self.app.objects.put_bytes(CSV).sha256
        dataset = self.app.datasets.register("data-engineer", "flights", file=raw, format="csv", source="made by a test", licence="CC0-1.0")
        features = self.app.feature_sets.register("feature-author", view())
        runs = Runs()
        runs.add("run-1", "trainer", dataset.id)
        Tracking(self.app.ledger, runs, self.app.lineage).freeze("trainer", "run-1")
        judged = self.request()
        return {
            "run_id": "run-1", "model_files": judged["files"], "gate_run_id": gate_run_id, "feature_set": features.id,
            "dataset_versions": [dataset.id], "training_frame": judged["training_frame"], "metrics": {"auc": 0.75},
            "owner": "flight-operations", "trained_from": START, "trained_until": judged["trained_until"],
        }  # fmt: skip


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path / "a home" / ".gateline")
    yield made
    for client in (made.owner, made.developer, made.validator):
        client.close()
    made.app.stop()


def test_a_model_is_judged_registered_refused_to_its_author_and_approved(installation):
    developer, validator = installation.developer, installation.validator
    with pytest.raises(Conflict, match="not recorded before"):
        run_gates(developer, **installation.request())
    assert record_policy(developer, installation.policy).recorded_by == "developer"
    run = run_gates(developer, **installation.request())
    assert run.verdict is Verdict.PASS, [one.sentence for one in run.results]
    assert [one.name for one in run.results] == ["schema", "holdout", "slices:carrier", "latency"]
    assert gate_run(validator, run.id) == run
    assert run_gates(developer, **installation.request()).id == run.id

    version = register_model(developer, "flight-delay", **installation.registration(run.id))
    assert (version.id, version.state, version.created_by) == ("flight-delay@1", "candidate", "developer")
    with pytest.raises(Denied, match="may not approve it"):
        approve(developer, version.id, comment="it is mine")
    signed = approve(validator, version.id, comment="numbers checked")
    assert approvals(developer, version.id) == [signed]
    assert model_version(validator, version.id) == model_versions(validator, "flight-delay")[0] == version
    assert [model.name for model in models(validator)] == ["flight-delay"]
    assert champion(validator, "flight-delay") is None
    assert [one.kind for one in history(validator, "flight-delay")] == ["registered", "approval_refused", "approved"]

    later = installation.request() | {"champion": version.id, "suite": ["champion"]}
    compared = run_gates(developer, **later)
    assert compared.champion.version == version.id
    assert compared.results[0].verdict is Verdict.INCONCLUSIVE


def test_bad_requests_name_every_mistake(installation):
    with pytest.raises(InvalidInput) as caught:
        installation.developer.post("/models/flight-delay/versions", json={"trained_from": 2, "trained_until": 1})
    for words in ("no owner", "no metrics", "no dataset versions", "serving.json"):
        assert words in str(caught.value)
    with pytest.raises(InvalidInput, match="holdout"):
        installation.developer.post("/gate-policies", json={"policy": {"holdout": 3}})
    for path in ("/gate-runs/gate_x", "/models/x/versions/1", "/models/x/history", "/gate-policies/x"):
        with pytest.raises(NotFound):
            installation.developer.get(path)


def test_the_command_line_judges_and_its_exit_status_is_the_verdict(installation, tmp_path, capsys):
    paths = installation.write(tmp_path / "project")
    home = ["--home", str(installation.home)]
    assert main([*home, "gate", "policy", str(paths["gateline.toml"])]) == 0
    common = [
        *home, "gate", "run", "--run-id", "run-1", "--form", str(paths["form"]), "--frame", str(paths["holdout.parquet"]),
        "--training-frame", str(paths["training.parquet"]), "--trained-until", iso(START + 60 * DAY),
        "--policy", str(paths["gateline.toml"]),
    ]  # fmt: skip
    capsys.readouterr()
    assert main([*common, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["verdict"] == "pass"
    assert main([*home, "gate", "show", shown["id"]]) == 0
    text = capsys.readouterr().out
    assert "PASS: model" in text
    assert "at least 0.005" in text
    assert main([*common, "--check", "schema"]) == 4
    bad = tmp_path / "strict.toml"
    bad.write_text(POLICY.replace("improvement_min = 0.005", "improvement_min = 5.0"))
    coded_rows(100, 28).write_parquet(tmp_path / "later.parquet")
    assert main([*home, "gate", "policy", str(bad)]) == 0
    again = [*common[:-1], str(bad), "--frame", str(tmp_path / "later.parquet"), "--check", "holdout"]
    assert main(again) == 3
    assert main([*home, "gate", "show", "gate_x"]) == 1


def test_the_command_line_shows_and_approves_models(installation, capsys, monkeypatch):
    record_policy(installation.developer, installation.policy)
    run = run_gates(installation.developer, **installation.request())
    register_model(installation.developer, "flight-delay", **installation.registration(run.id))
    home = ["--home", str(installation.home)]
    assert main([*home, "model", "approve", "flight-delay@1", "--comment", "as owner"]) == 1
    assert "may not approve" in capsys.readouterr().err
    token = installation.owner.post("/tokens", json={"principal": "validator"})["token"]
    monkeypatch.setenv("GATELINE_TOKEN", token)
    assert main([*home, "model", "approve", "flight-delay@1", "--comment", "numbers checked"]) == 0
    assert "meaning approval: numbers checked" in capsys.readouterr().out
    for words, arguments in (
        ("flight-delay", ["list"]), ("candidate", ["list", "flight-delay"]), ("contributors:", ["show", "flight-delay@1"]),
        ("registered", ["history", "flight-delay"]),
    ):  # fmt: skip
        assert main([*home, "model", *arguments]) == 0
        assert words in capsys.readouterr().out
    assert main([*home, "model", "show", "flight-delay@1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["approvals"][0]["principal"] == "validator"
