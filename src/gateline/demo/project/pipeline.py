"""From flights to a judged candidate: every step is kept under the digest of its code, inputs and environment, and reused.

    gateline run train as_of=2013-04-01T04:00:00Z feature_set=flight_delay@1

Time is honest throughout: `as_of` is now, and a row takes part only when its label was known by then. The newest days with labels are
held out, the days before them are trained on; a day is never in both.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import lightgbm
import mlflow.lightgbm  # noqa: F401 - takes seconds; a runner loads this file before the first run is asked for
import numpy as np
import polars as pl
from features import flight_delay  # type: ignore[import-not-found]  # the file beside this one

from gateline import context, pipeline, step, tracked_run
from gateline.kernel.names import split_version_id
from gateline.sdk.data import dataset
from gateline.sdk.features import compute_features
from gateline.sdk.features import feature_set as set_version
from gateline.serving import LoadedForm, compile_served_form

NEW_YORK = ZoneInfo("America/New_York")
CATEGORICAL = flight_delay.categorical
NUMERIC = tuple(name for name in flight_delay.features if name not in CATEGORICAL)
COLUMNS = (*NUMERIC, *CATEGORICAL)
ROUNDS = 100
SETTINGS = {
    "objective": "binary",
    "learning_rate": 0.1,
    "max_bin": 63,
    "num_leaves": 31,
    "min_child_samples": 100,
    "feature_fraction": 0.8,
    "num_threads": 2,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


@step
def features(feature_set: str) -> pl.DataFrame:
    """Compute the features of all flights from the dataset versions that the set pins."""
    return compute_features(context().client, set_version(context().client, feature_set)).sort("t", "row_id")


@step
def rows_between(flights: pl.DataFrame, first: str, end: str, as_of: str) -> pl.DataFrame:
    """Return the flights of the days from `first` to before `end` whose label was known at `as_of`."""
    known = pl.col("label_available_at") < datetime.fromisoformat(as_of)
    return flights.filter((pl.col("unit") >= first) & (pl.col("unit") < end) & pl.col("label").is_not_null() & known)


@step
def fit(training: pl.DataFrame, seed: int) -> Path:
    """Train and return the model as LightGBM writes it."""
    data = lightgbm.Dataset(
        matrix(training, categories(training)),
        training.get_column("label").to_numpy().astype(np.float64),
        feature_name=list(COLUMNS),
        categorical_feature=list(CATEGORICAL),
    )
    booster = lightgbm.train({**SETTINGS, "seed": seed}, data, num_boost_round=ROUNDS)
    path = context().project.folder / ".gateline-cache" / f"{context().run_id}-model.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(booster.model_to_string(), encoding="utf-8")
    return path


@step
def compile_form(model: Path, training: pl.DataFrame) -> dict[str, str]:
    """Compile the form that workers serve, and return its files: name to SHA-256."""
    known = categories(training)
    inputs = [
        {"column": name, "feature": name, "kind": "categorical", "categories": known[name]}
        if name in CATEGORICAL
        else {"column": name, "feature": name, "kind": "numeric"}
        for name in COLUMNS
    ]
    files = compile_served_form(model.read_text(encoding="utf-8"), inputs)
    return {name: context().client.upload(content) for name, content in files.items()}


@step
def evaluate(form: dict[str, str], holdout: pl.DataFrame) -> pl.DataFrame:
    """Score the holdout exactly as a worker would; time, day, label and prediction of each row."""
    run = context()
    folder = run.project.folder / ".gateline-cache" / form["serving.json"]
    for name, sha256 in form.items():
        run.client.download(sha256, folder / name)
    scores = LoadedForm.load(folder, form).score_table(holdout, threads=2)
    return holdout.select("t", "unit", "label").with_columns(prediction=pl.Series(scores))


@step
def measure(training: pl.DataFrame, scored: pl.DataFrame) -> dict[str, float]:
    """Return the metrics of a candidate: on the holdout, and against the trivial baseline."""
    label, score = scored["label"].to_numpy().astype(float), scored["prediction"].to_numpy()
    base = float(training["label"].cast(pl.Float64).mean())  # type: ignore[arg-type]
    return {
        "holdout_log_loss": log_loss(label, score),
        "holdout_log_loss_baseline": log_loss(label, np.full(len(label), base)),
        "holdout_brier": float(np.mean((score - label) ** 2)),
        "holdout_auc": area_under_curve(label, score),
        "holdout_rows": float(len(label)),
        "training_rows": float(training.height),
        "training_late_share": base,
    }


@step
def record(model: Path, form: dict[str, str], metrics: dict[str, float], feature_set: str, parameters: dict[str, Any]) -> str:
    """Record the training as an MLflow run with inputs, parameters, metrics, model and environment; freeze it; return its id."""
    run = context()
    used = set_version(run.client, feature_set)
    versions = [dataset(run.client, *split_version_id(pin)) for _, pin in sorted(used.dataset_versions.items())]
    folder = run.project.folder / ".gateline-cache" / form["serving.json"]
    with tracked_run(
        run.client, experiment=run.project.name, name=f"train as of {parameters['as_of'][:10]}", datasets=versions,
        params={**SETTINGS, "rounds": ROUNDS, **parameters}, feature_set=used, seed=parameters["seed"], folder=run.project.folder,
    ) as tracked:  # fmt: skip
        tracked.log_metrics(metrics)
        served = {one: run.client.download(sha256, folder / one) for one, sha256 in form.items()}
        tracked.log_lightgbm(lightgbm.Booster(model_file=str(model)), COLUMNS, CATEGORICAL, served=served)
    run.client.post(f"/runs/{tracked.run_id}/freeze")
    return tracked.run_id


@step(cache=False)
def judge(run_id: str, form: dict[str, str], model: str, compare: bool, trained_until: int) -> dict[str, Any]:
    """Have the gates judge the candidate; where there is a champion it must also be shown better than that."""
    run = context()
    champion = ""
    if compare:
        found = [one for one in run.client.get("/models") if one["name"] == model]
        champion = found[0]["environments"].get("prod", "") if found else ""
    subject = {"run_id": run_id, "files": form, "training_frame": run.artifacts["rows-between"], "trained_until": trained_until}
    body = {"subject": subject, "frame": run.artifacts["rows-between-2"], "policy": run.project.settings["gates"]}
    return dict(run.client.post("/gate-runs", json=body | ({"champion": champion} if champion else {})))


@step(cache=False)
def conclude(gate: dict[str, Any], run_id: str, form: dict[str, str], metrics: dict[str, float], facts: dict[str, Any]) -> dict[str, Any]:
    """Register the candidate when that is wanted, and say what became of it."""
    run = context()
    pinned = set_version(run.client, facts["feature_set"]).dataset_versions
    body = {
        "run_id": run_id, "model_files": form, "gate_run_id": gate["id"], "feature_set": facts["feature_set"],
        "dataset_versions": sorted(pinned.values()), "training_frame": run.artifacts["rows-between"], "metrics": metrics,
        "owner": run.project.settings["project"]["owner"], "trained_from": facts["trained_from"], "trained_until": facts["trained_until"],
        "description": f"Trained as of {facts['as_of']}.",
    }  # fmt: skip
    register = facts["register"] == "always" or (facts["register"] == "passed" and gate["verdict"] == "pass")
    version = run.client.post(f"/models/{facts['model']}/versions", json=body)["id"] if register else None
    return {
        "run_id": run_id, "gate_run_id": gate["id"], "verdict": gate["verdict"], "model_version": version,
        "sentences": [one["sentence"] for one in gate["results"]], "metrics": metrics, "registration": body,
        "reference": {"frame": run.artifacts["rows-between-2"], "scores": run.artifacts["evaluate"]},
    }  # fmt: skip


@pipeline
def train(
    as_of: str,
    feature_set: str,
    model: str = "flight-delay",
    seed: int = 1,
    train_days: int = 120,
    holdout_days: int = 28,
    compare: bool = True,
    register: str = "passed",
) -> Any:
    """Train on the days before the newest labelled ones, judge on those, and register a candidate.

    Args:
        as_of: Now, ISO 8601 with an offset; only labels known by then are used.
        feature_set: Id of the feature set version.
        model: Name of the model.
        seed: Seed of the training.
        train_days: Days trained on.
        holdout_days: Days held out, the newest before `as_of`.
        compare: Whether the candidate must be shown better than the champion, where there is one.
        register: When the pipeline registers the candidate: "passed" gates, "always" or "never" (a person does it).
    """
    today = datetime.fromisoformat(as_of).astimezone(NEW_YORK).date()
    split, first = today - timedelta(days=holdout_days), today - timedelta(days=holdout_days + train_days)
    trained_from, trained_until = first_question(first), first_question(split)
    flights = features(feature_set)
    training = rows_between(flights, first.isoformat(), split.isoformat(), as_of)
    holdout = rows_between(flights, split.isoformat(), today.isoformat(), as_of)
    booster = fit(training, seed)
    form = compile_form(booster, training)
    metrics = measure(training, evaluate(form, holdout))
    parameters = {"as_of": as_of, "seed": seed, "train_days": train_days, "holdout_days": holdout_days}
    run_id = record(booster, form, metrics, feature_set, parameters)
    gate = judge(run_id, form, model, compare, trained_until)
    facts = {
        "as_of": as_of, "feature_set": feature_set, "model": model, "register": register,
        "trained_from": trained_from, "trained_until": trained_until,
    }  # fmt: skip
    return conclude(gate, run_id, form, metrics, facts)


def first_question(day: date) -> int:
    """Return the earliest time at which a flight of a New York day is asked about, in UTC microseconds: an hour before its midnight."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=NEW_YORK)
    return int((midnight.astimezone(UTC) - timedelta(hours=1)).timestamp()) * 1_000_000


def categories(training: pl.DataFrame) -> dict[str, list[str]]:
    """Return the values of each categorical feature that training knows, in the order of their codes."""
    return {name: training.get_column(name).drop_nulls().unique().sort().to_list() for name in CATEGORICAL}


def matrix(rows: pl.DataFrame, known: dict[str, list[str]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the model's columns: numbers as they are, categories as their codes, missing as NaN."""
    numbers = [pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in NUMERIC]
    codes = [
        pl.col(name).replace_strict(values, list(range(len(values))), default=float("nan"), return_dtype=pl.Float64)
        for name, values in known.items()
    ]
    return rows.select(*numbers, *codes).to_numpy()


def log_loss(label: np.ndarray[Any, Any], score: np.ndarray[Any, Any]) -> float:
    """Return the mean negative log likelihood in nats; smaller is better."""
    bounded = np.clip(score, 1e-12, 1 - 1e-12)
    return float(-np.mean(label * np.log(bounded) + (1 - label) * np.log(1 - bounded)))


def area_under_curve(label: np.ndarray[Any, Any], score: np.ndarray[Any, Any]) -> float:
    """Return the chance that a late flight scores above a punctual one (Mann-Whitney); larger is better."""
    rank = pl.Series(score).rank("average").to_numpy()
    late = float(label.sum())
    return float((rank[label == 1].sum() - late * (late + 1) / 2) / (late * (len(label) - late)))
