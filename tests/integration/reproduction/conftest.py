"""A small project whose training can be made to differ in known ways, and an installation in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from gateline.sdk.client import Client
from gateline.sdk.project import Project
from gateline.sdk.running import run_inline

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = '[project]\nname = "small"\n[pipelines]\ntrees = "flows:trees"\nlinear = "flows:linear"\n'
FLOWS = '''
import datetime, os
from pathlib import Path
import numpy as np
import polars as pl
from gateline import EventSource, FeatureSet, Label, context, pipeline, step, tracked_run
from gateline.sdk.data import dataset, register_dataset
from gateline.sdk.features import compute_features, feature_set, register_feature_set

CHANCE = np.random.default_rng(int.from_bytes(os.urandom(8)))
COLUMNS = ["a", "b", "c", "d"]

items = EventSource(
    name="items", dataset="items", columns={"id": "id", "at": "at", "day": "STRFTIME(at, '%Y-%m-%d')", **{one: one for one in COLUMNS}},
    event_time="at", available_at="at",
)
SET = FeatureSet(
    name="items", description="Small.", spine=items, entity="id", time="at", views=(), columns=tuple(COLUMNS),
    label=Label(source=items, sql="y > 0", available_at="at"), unit="day",
)


@step
def prepare() -> str:
    client, rng, rows = context().client, np.random.default_rng(1), 3000
    values = rng.normal(size=(rows, 4))
    y = values @ [1.0, -0.5, 0.3, 0.0] + rng.normal(size=rows)
    start = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    frame = pl.DataFrame({"id": [f"i{one:05d}" for one in range(rows)],
                          "at": [start + datetime.timedelta(minutes=20 * one) for one in range(rows)],
                          **{name: values[:, place] for place, name in enumerate(COLUMNS)}, "y": y})
    file = context().folder / "items.csv"
    frame.with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(file)
    register_dataset(client, "items", file, source="made up", licence="CC0-1.0", types={"at": "datetime"})
    return register_feature_set(client, SET).id


@step
def compute(set_id: str) -> pl.DataFrame:
    return compute_features(context().client, set_id).sort("t", "row_id")


def xy(rows: pl.DataFrame):
    return rows.select(COLUMNS).to_numpy(), rows["label"].to_numpy().astype(float)


def tracked(rows, set_id, seed, params):
    run = context()
    version = feature_set(run.client, set_id)
    inputs = [dataset(run.client, pin) for pin in version.dataset_versions.values()]
    return tracked_run(run.client, experiment="small", name="train", datasets=inputs, params=params, feature_set=version, seed=seed,
                       folder=run.project.folder)


@step
def fit(rows: pl.DataFrame, differ: str) -> Path:
    """LightGBM, differing from call to call in the way that is asked for."""
    import lightgbm
    x, y = xy(rows)
    if differ == "rows":
        kept = CHANCE.random(len(y)) < 0.9
        x, y = x[kept], y[kept]
    if differ == "labels":
        y = np.where(CHANCE.random(len(y)) < CHANCE.uniform(0.3, 0.5), 1 - y, y)
    settings = {"objective": "binary", "num_threads": 1, "deterministic": True, "force_row_wise": True, "seed": 1, "verbose": -1}
    booster = lightgbm.train(settings, lightgbm.Dataset(x, y, feature_name=COLUMNS), 20)
    if differ == "leaf":
        booster.set_leaf_output(0, 0, booster.get_leaf_output(0, 0) + CHANCE.uniform(1e-9, 1e-8))
    if differ == "dies":
        flag = Path(context().project.folder / "die")
        if flag.exists():
            os._exit(7)
    path = context().folder / "model.txt"
    path.write_text(booster.model_to_string())
    return path


@step
def form(model: Path) -> dict[str, str]:
    from gateline.serving import compile_served_form
    inputs = [{"column": one, "feature": one, "kind": "numeric"} for one in COLUMNS]
    return {name: context().client.upload(body) for name, body in compile_served_form(model.read_text(), inputs).items()}


@step
def record(model: Path, rows: pl.DataFrame, set_id: str, differ: str) -> str:
    import lightgbm
    with tracked(rows, set_id, 1, {"differ": differ}) as run:
        booster = lightgbm.Booster(model_file=str(model))
        run.log_metrics({"mean": float(booster.predict(xy(rows)[0]).mean())})
        run.log_lightgbm(booster, COLUMNS, [])
    return run.run_id


@step(cache=False)
def register(run_id: str, files: dict[str, str], set_id: str, rows: pl.DataFrame) -> str:
    run = context()
    run.client.post(f"/runs/{run_id}/freeze")
    body = {"run_id": run_id, "model_files": files, "feature_set": set_id, "owner": "team", "metrics": {"one": 1.0},
            "dataset_versions": sorted(feature_set(run.client, set_id).dataset_versions.values()),
            "training_frame": run.artifacts["compute"], "trained_from": 1, "trained_until": 2}
    return run.client.post(f"/models/{run.client.get('/pipeline-runs/' + run.run_id)['pipeline']}/versions", json=body)["id"]


@pipeline
def trees(differ: str = "nothing"):
    set_id = prepare()
    rows = compute(set_id)
    model = fit(rows, differ)
    files = form(model)
    return register(record(model, rows, set_id, differ), files, set_id, rows)


@step
def fit_and_predict(rows: pl.DataFrame, set_id: str) -> pl.DataFrame:
    """scikit-learn, in one step: its model, and what it predicts."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import PolynomialFeatures
    x, y = xy(rows)
    wide = PolynomialFeatures(4).fit_transform(x)
    with tracked(rows, set_id, 1, {}) as run:
        model = LogisticRegression(max_iter=300).fit(wide, y)
        run.log_model(model, wide[:5])
    return rows.select("label", "unit").with_columns(prediction=pl.Series(model.predict_proba(wide)[:, 1]))


@step(cache=False)
def register_linear(predicted: pl.DataFrame, set_id: str, rows: pl.DataFrame) -> str:
    run = context()
    found = run.client.get("/runs", params={"filter": f"tags.`pipeline.run` = '{run.run_id}'"})["runs"]
    files = {"serving.json": run.client.upload(b"{}")}
    return register.function(found[0]["run_id"], files, set_id, rows)


@pipeline
def linear():
    set_id = prepare()
    rows = compute(set_id)
    return register_linear(fit_and_predict(rows, set_id), set_id, rows)
'''


@dataclass(slots=True)
class World:
    """The project and the installation."""

    client: Client
    project: Project

    def train(self, pipeline: str, **parameters: Any) -> str:
        """Run a pipeline and return the version that it registered."""
        run_id = self.client.post(f"/pipelines/{pipeline}/runs", json={"parameters": parameters, "project": "small"})["id"]
        run_inline(self.client, self.project, run_id, name=f"test-{run_id}", tell=lambda *_: None)
        run = self.client.get(f"/pipeline-runs/{run_id}")
        assert run["state"] == "succeeded", run["failure"]
        (artifact,) = [step["artifact"] for step in run["steps"] if step["node"].startswith("register")]
        path = self.project.folder / "version.json"
        self.client.download(artifact["sha256"], path)
        return path.read_text(encoding="utf-8").strip('"')


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("reproduction")
    (folder / "project").mkdir()
    (folder / "project" / "gateline.toml").write_text(SETTINGS)
    (folder / "project" / "flows.py").write_text(FLOWS)
    with Client(home=folder / "home") as client:
        yield World(client=client, project=Project.load(folder / "project"))
