"""From raw data to a judged candidate. Each step is kept under the digest of its code and inputs, and reused when nothing changed.

gateline run train
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import lightgbm
import numpy as np
import polars as pl
from features import late_parcel
from make_data import make_data

from gateline import context, pipeline, step, tracked_run
from gateline.sdk.data import dataset, register_dataset
from gateline.sdk.features import compute_features, feature_set, register_feature_set
from gateline.serving import compile_served_form

CATEGORICAL = late_parcel.categorical
NUMERIC = tuple(name for name in late_parcel.features if name not in CATEGORICAL)
COLUMNS = (*NUMERIC, *CATEGORICAL)
ROUNDS = 120
SETTINGS = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_child_samples": 40,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


@step(cache=False)
def prepare(seed: int) -> str:
    """Make and register the data and the feature set, write the gates down, and return the set's version id."""
    run = context()
    file = make_data(run.project.folder / "data", seed=seed)
    register_dataset(
        run.client, "parcels", file, source="made up by make_data.py", licence="CC0-1.0",
        types={"shipped_at": "datetime", "delivered_at": "datetime"},
    )  # fmt: skip
    run.client.post("/gate-policies", json={"policy": run.project.settings["gates"]})
    return register_feature_set(run.client, late_parcel).id


@step
def compute(set_id: str) -> pl.DataFrame:
    """Compute the features of all parcels, each as of the moment it was shipped."""
    return compute_features(context().client, set_id).sort("t", "row_id")


@step
def between(parcels: pl.DataFrame, first: str, end: str) -> pl.DataFrame:
    """Return the parcels shipped from the day `first` to before `end` that were delivered; a day is never split."""
    return parcels.filter((pl.col("unit") >= first) & (pl.col("unit") < end) & pl.col("label").is_not_null())


@step
def fit(training: pl.DataFrame, seed: int) -> dict[str, str]:
    """Train, compile the form that workers serve, and return its files: name to SHA-256."""
    known = {name: training[name].drop_nulls().unique().sort().to_list() for name in CATEGORICAL}
    data = lightgbm.Dataset(
        matrix(training, known),
        training["label"].to_numpy().astype(float),
        feature_name=list(COLUMNS),
        categorical_feature=list(CATEGORICAL),
    )
    booster = lightgbm.train({**SETTINGS, "seed": seed}, data, num_boost_round=ROUNDS)
    inputs: list[dict[str, Any]] = [{"column": name, "feature": name, "kind": "numeric"} for name in NUMERIC]
    inputs += [{"column": name, "feature": name, "kind": "categorical", "categories": values} for name, values in known.items()]
    form = compile_served_form(booster.model_to_string(), inputs)
    return {name: context().client.upload(content) for name, content in form.items()}


@step
def record(form: dict[str, str], training: pl.DataFrame, set_id: str, seed: int) -> str:
    """Record the training as an MLflow run with its inputs, freeze it, and return its id."""
    run = context()
    version = feature_set(run.client, set_id)
    inputs = [dataset(run.client, pin) for pin in version.dataset_versions.values()]
    files = {name: run.client.download(sha256, run.project.folder / ".gateline-cache" / sha256) for name, sha256 in form.items()}
    with tracked_run(
        run.client, experiment=run.project.name, name="train", datasets=inputs, params={**SETTINGS, "rounds": ROUNDS},
        feature_set=version, seed=seed, folder=run.project.folder,
    ) as tracked:  # fmt: skip
        tracked.log_metrics(
            {"training_rows": training.height, "training_late_share": float(training["label"].cast(pl.Float64).mean() or 0)}
        )
        tracked.log_lightgbm(lightgbm.Booster(model_file=str(files["model.txt"])), COLUMNS, CATEGORICAL, served=files)
    run.client.post(f"/runs/{tracked.run_id}/freeze")
    return tracked.run_id


@step(cache=False)
def judge(run_id: str, form: dict[str, str], holdout: pl.DataFrame, trained_until: int) -> dict[str, Any]:
    """Have the gates judge the candidate on the held-out days; they score it themselves."""
    run = context()
    print(f"The gates judge run {run_id} on {holdout.height} parcels.")
    subject = {"run_id": run_id, "files": form, "training_frame": run.artifacts["between"], "trained_until": trained_until}
    body = {"subject": subject, "frame": run.artifacts["between-2"], "policy": run.project.settings["gates"]}
    return dict(run.client.post("/gate-runs", json=body))


@step(cache=False)
def register(gate: dict[str, Any], run_id: str, form: dict[str, str], set_id: str, trained: dict[str, int]) -> dict[str, Any]:
    """Register the version when the gates passed, and say what they found."""
    run, version = context(), None
    if gate["verdict"] == "pass":
        body = {
            "run_id": run_id, "model_files": form, "gate_run_id": gate["id"], "feature_set": set_id,
            "dataset_versions": sorted(feature_set(run.client, set_id).dataset_versions.values()),
            "training_frame": run.artifacts["between"], "owner": run.project.settings["project"]["owner"],
            "metrics": {one["name"]: one["value"] for one in gate["results"] if one["value"] is not None}, **trained,
        }  # fmt: skip
        version = run.client.post(f"/models/{run.project.settings['project']['model']}/versions", json=body)["id"]
    return {"verdict": gate["verdict"], "model_version": version, "sentences": [one["sentence"] for one in gate["results"]]}


@pipeline
def train(seed: int = 1, until: str = "2025-05-25", train_days: int = 100, holdout_days: int = 28) -> Any:
    """Train on the days before the newest `holdout_days` that end at `until`, judge on those, and register what passes."""
    end = datetime.fromisoformat(until).replace(tzinfo=UTC)
    split, first = end - timedelta(days=holdout_days), end - timedelta(days=holdout_days + train_days)
    set_id = prepare(seed)
    parcels = compute(set_id)
    training = between(parcels, f"{first:%Y-%m-%d}", f"{split:%Y-%m-%d}")
    holdout = between(parcels, f"{split:%Y-%m-%d}", f"{end:%Y-%m-%d}")
    form = fit(training, seed)
    run_id = record(form, training, set_id, seed)
    gate = judge(run_id, form, holdout, int(split.timestamp()) * 1_000_000)
    trained = {"trained_from": int(first.timestamp()) * 1_000_000, "trained_until": int(split.timestamp()) * 1_000_000}
    return register(gate, run_id, form, set_id, trained)


def matrix(rows: pl.DataFrame, known: dict[str, list[str]]) -> np.ndarray:
    """Return the model's columns: numbers as they are, categories as their codes, missing as NaN."""
    numbers = [pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in NUMERIC]
    codes = [
        pl.col(name).replace_strict(values, list(range(len(values))), default=float("nan"), return_dtype=pl.Float64)
        for name, values in known.items()
    ]
    return rows.select(*numbers, *codes).to_numpy()
