"""A tracked run: an MLflow run on the Gateline server, with its inputs, environment and model logged the way that evidence needs.

`tracked_run` also makes the run MLflow's active one, so that code that calls `mlflow.log_metric` and the like goes on to work.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import canonical_bytes, sha256_bytes
from gateline.kernel.errors import InvalidInput
from gateline.sdk.environment import describe_environment
from gateline.sdk.mlflow_client import (
    check_columns,
    dataset_input,
    experiment_id_of,
    field_of,
    mlflow_at,
    model_requirements,
    wait_until_ready,
)
from gateline.sdk.notebook import log_notebook

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateline.sdk.client import Client

ENVIRONMENT_FILE = "environment.json"
_BATCH_METRICS = 1_000
_BATCH_PARAMS = 100


class TrackedRun:
    """One run that is under way.

    Attributes:
        run_id: Its id in MLflow.
        url: Where MLflow's UI shows it.
        environment: What was recorded of where it runs.
    """

    def __init__(self, mlflow: Any, run_id: str, experiment_id: str, address: str, environment: dict[str, Any]) -> None:
        self._mlflow = mlflow
        self._client = mlflow.MlflowClient()
        self._experiment_id = experiment_id
        self.run_id = run_id
        self.url = f"{address}/#/experiments/{experiment_id}/runs/{run_id}"
        self.environment = environment

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log values of metrics at one step, in one request.

        Raises:
            InvalidInput: a value is no number; all such are named.
        """
        self.log_history({name: [value] for name, value in metrics.items()}, first_step=step)

    def log_history(self, metrics: Mapping[str, Sequence[float]], *, first_step: int = 0) -> None:
        """Log a series of values for each metric, one per step, a thousand per request.

        Raises:
            InvalidInput: a value is no number; all such are named.
        """
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        wrong = [name for name, values in metrics.items() if not all(_is_number(value) for value in values)]
        if wrong:
            raise InvalidInput(f"Metrics hold values that are no numbers: {', '.join(wrong)}.", next_step="Log numbers; NaN is one.")
        now = get_current_time_millis()
        points = [
            Metric(name, float(value), now, first_step + offset) for name, values in metrics.items() for offset, value in enumerate(values)
        ]
        for start in range(0, len(points), _BATCH_METRICS):
            self._client.log_batch(self.run_id, metrics=points[start : start + _BATCH_METRICS])

    def log_files(self, files: Mapping[str, bytes | Path]) -> None:
        """Log files under their paths, relative to the run's artifact folder ('served/model.txt').

        Raises:
            InvalidInput: a path is absolute or leaves the folder.
        """
        with tempfile.TemporaryDirectory(prefix="gateline-run-") as temporary:
            root = Path(temporary)
            for name, content in files.items():
                target = root / name
                if Path(name).is_absolute() or ".." in Path(name).parts:
                    raise InvalidInput(f"'{name}' is no path inside the run's artifact folder.")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
            self._client.log_artifacts(self.run_id, str(root))

    def log_lightgbm(
        self,
        booster: Any,
        columns: Sequence[str],
        categorical: Sequence[str] = (),
        name: str = "model",
        *,
        served: Mapping[str, bytes | Path] | Path | None = None,
    ) -> str:
        """Log a LightGBM booster as an MLflow model that `mlflow.pyfunc.load_model` loads, and return its id (`m-…`).

        Signature and requirements are explicit: left to MLflow, finding them takes 10 to 30 seconds in a subprocess.

        Args:
            booster: A `lightgbm.Booster`.
            columns: Its input columns, in the order of training.
            categorical: Those of them that are categories. The model takes text when the booster was trained on pandas categories, and
                otherwise the whole-number codes it was trained on; it takes all other columns as floating point.
            name: Name of the logged model within the run.
            served: Files of the served form, or the folder that holds them; logged under `served/`.

        Raises:
            InvalidInput: the columns are not those of the booster, or a categorical column is unknown.
        """
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus
        from mlflow.lightgbm import save_model
        from mlflow.models import Model, ModelSignature
        from mlflow.types.schema import ColSpec, DataType, Schema

        check_columns(booster, columns, categorical)
        kinds = dict.fromkeys(columns, DataType.double)
        kinds |= dict.fromkeys(categorical, DataType.string if booster.pandas_categorical else DataType.long)
        inputs = Schema([ColSpec(kind, column) for column, kind in kinds.items()])
        signature = ModelSignature(inputs=inputs, outputs=Schema([ColSpec(DataType.double)]))
        # mlflow.lightgbm.log_model would fetch the history of every metric of the run, one request each
        model = self._client.create_logged_model(self._experiment_id, name=name, source_run_id=self.run_id, model_type="lightgbm")
        described = Model(artifact_path=model.artifact_location, model_uuid=model.model_id, run_id=self.run_id, model_id=model.model_id)
        with tempfile.TemporaryDirectory(prefix="gateline-model-") as temporary:
            folder = Path(temporary) / "model"
            save_model(booster, str(folder), mlflow_model=described, signature=signature, pip_requirements=model_requirements())
            self._client.log_model_artifacts(model.model_id, str(folder))
        self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self._client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, 0)])
        if served is not None:
            files = served if isinstance(served, Mapping) else {path.relative_to(served).as_posix(): path for path in _walk(served)}
            self.log_files({f"served/{path}": content for path, content in files.items()})
        model_id: str = model.model_id
        return model_id


@contextmanager
def tracked_run(
    client: Client,
    *,
    experiment: str,
    name: str,
    datasets: Sequence[Any] = (),
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    feature_set: Any = None,
    seed: int | None = None,
    folder: Path | None = None,
) -> Iterator[TrackedRun]:
    """Track what happens in the block as one MLflow run on the client's server.

    The run ends FINISHED, FAILED when the block raises, or KILLED when it is interrupted. Dataset versions become inputs with their full
    digest; interpreter, packages, lock files, commit, uncommitted changes, seed, hardware and thread counts become `environment.json`.

    Args:
        client: The server and the token.
        experiment: Name of the experiment; created when it does not exist.
        name: Name of the run, for people.
        datasets: Dataset versions it reads: `DatasetVersion` objects or their JSON.
        params: Parameters; values are logged as text.
        tags: Tags; none may begin with `gateline.`.
        feature_set: The feature set version it uses, as object, JSON or id.
        seed: Its seed.
        folder: The project folder; the current one when not given.

    Raises:
        Unavailable: the server's MLflow is switched off, failed to load or is not ready within two minutes.
    """
    address = f"{client.address().rstrip('/')}/mlflow"  # in process, asking for the address is what starts MLflow
    wait_until_ready(client)
    with mlflow_at(address, client.token) as mlflow:
        environment = describe_environment(folder or Path.cwd(), seed=seed)
        content = canonical_bytes(environment)
        experiment_id = experiment_id_of(mlflow, experiment)
        labels = {**_tags(environment, content, feature_set), **(tags or {})}
        active = mlflow.start_run(experiment_id=experiment_id, run_name=name, tags=labels)
        run = TrackedRun(mlflow, active.info.run_id, experiment_id, address, environment)
        status = "FAILED"
        try:
            _log_start(mlflow, run, datasets, params or {}, content)
            yield run
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            try:
                log_notebook(mlflow.MlflowClient(), run.run_id)  # outside a notebook there is nothing to log
            finally:
                mlflow.end_run(status)


def _tags(environment: dict[str, Any], content: bytes, feature_set: Any) -> dict[str, str]:
    """Return what people search runs by; the whole environment is an artifact."""
    code = environment["code"]
    found = {
        "environment.sha256": sha256_bytes(content),
        "environment.python": environment["python"],
        "environment.packages_sha256": environment["packages_sha256"],
        **{f"environment.{name}": value for name, value in environment["locks"].items()},
    }
    if code:
        found |= {"mlflow.source.git.commit": code["commit"], "code.dirty": str(code["dirty"]).lower()}
        found |= {"code.diff_sha256": code["diff_sha256"]} if code["dirty"] else {}
    if environment["seed"] is not None:
        found["seed"] = str(environment["seed"])
    if isinstance(feature_set, str):
        found["feature_set"] = feature_set
    elif feature_set is not None:
        found |= {"feature_set": str(field_of(feature_set, "id")), "feature_set.digest": str(field_of(feature_set, "digest"))}
    return found


def _log_start(mlflow: Any, run: TrackedRun, datasets: Sequence[Any], params: Mapping[str, Any], environment: bytes) -> None:
    """Log parameters, inputs and environment, one request each."""
    from mlflow.entities import Param

    client = mlflow.MlflowClient()
    logged = [Param(key, str(value)) for key, value in params.items()]
    for start in range(0, len(logged), _BATCH_PARAMS):
        client.log_batch(run.run_id, params=logged[start : start + _BATCH_PARAMS])
    if datasets:
        client.log_inputs(run.run_id, [dataset_input(one) for one in datasets])
    run.log_files({ENVIRONMENT_FILE: environment})


def _walk(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _is_number(value: Any) -> bool:
    try:
        return isinstance(math.isnan(value), bool)
    except TypeError:
        return False
