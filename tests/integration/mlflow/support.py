"""What the tests of this folder share: a logged model made by MLflow's own client, without training."""

from __future__ import annotations

import os
from dataclasses import dataclass
from unittest.mock import patch


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    run_id: str
    experiment_id: str
    model_id: str
    version: str
    run_path: str
    model_path: str
    mlmodel: bytes


def registered(served, name: str | None) -> Made:
    """A finished run that logged a small LightGBM model, registered under `name` by the stock client when one is given."""
    import lightgbm
    import mlflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Schema

    rng = np.random.default_rng(3)
    rows = rng.random((60, 2))
    data = lightgbm.Dataset(rows, (rows[:, 0] > 0.5).astype(int), params={"verbose": -1})
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}, data, 3)
    signature = ModelSignature(inputs=Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.double, "b")]))
    before = mlflow.get_tracking_uri()
    with patch.dict(os.environ, MLFLOW_TRACKING_TOKEN=served.developer, MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false"):
        mlflow.set_tracking_uri(served.url)
        mlflow.set_experiment("gated")
        with mlflow.start_run() as run:
            mlflow.log_metric("auc", 0.8)
            info = mlflow.lightgbm.log_model(
                booster, name="model", signature=signature, pip_requirements=["lightgbm"], registered_model_name=name
            )
            mlflow.log_text("hello", "notes.txt")
        mlflow.set_tracking_uri(before)
    experiment_id = run.info.experiment_id
    model_path = f"{experiment_id}/models/{info.model_id}/artifacts"
    return Made(
        run_id=run.info.run_id,
        experiment_id=experiment_id,
        model_id=info.model_id,
        version=str(info.registered_model_version),
        run_path=f"{experiment_id}/{run.info.run_id}/artifacts",
        model_path=model_path,
        mlmodel=seen_as_stored(served, f"{model_path}/MLmodel"),
    )


def seen_as_stored(served, path: str) -> bytes:
    """The bytes of an artifact on disk."""
    return (served.home / "mlflow" / "artifacts" / path).read_bytes()
