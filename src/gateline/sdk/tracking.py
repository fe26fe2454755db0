"""A tracked run: an MLflow run on the Gateline server, with its inputs, environment and model logged the way that evidence needs.

`tracked_run` also makes the run MLflow's active one, so that code that calls `mlflow.log_metric` and the like goes on to work.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from gateline.kernel.clock import SystemClock
from gateline.kernel.errors import InvalidInput, Unavailable
from gateline.sdk.logged_model import log_saved_model, requirements_of, saver, signature_of
from gateline.sdk.metric_buffer import MetricBuffer, Value
from gateline.sdk.mlflow_client import (
    check_columns,
    check_metrics,
    experiment_id_of,
    mlflow_at,
    wait_until_ready,
)
from gateline.sdk.resources import ResourceMeter
from gateline.sdk.run_life import beating, ended_by_sigterm
from gateline.sdk.run_records import log_end, log_start
from gateline.sdk.saved_metrics import log_values, save_values
from gateline.sdk.surroundings import Surroundings, log_files, step_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateline.sdk.client import Client

_log = structlog.get_logger(__name__)


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
        self._metrics = MetricBuffer(lambda values: log_values(self._client, run_id, values))

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log values of metrics at one step. Safe to call from several threads.

        They are sent in the background, within a second or a thousand at a time, and all of them before the run ends; `flush` waits for
        them. NaN and infinities are values; MLflow keeps an infinity as the greatest or least finite number.

        Raises:
            Conflict: the run has ended.
            InvalidInput: a value is no number, or MLflow takes no metric of that name or step; all such are named.
            Unavailable: the server did not accept earlier values. They are kept; `flush` tries again.
        """
        self.log_history({name: [value] for name, value in metrics.items()}, first_step=step)

    def log_history(self, metrics: Mapping[str, Sequence[float]], *, first_step: int = 0) -> None:
        """Log a series of values for each metric, one per step, as `log_metrics` does.

        Raises:
            Conflict: the run has ended.
            InvalidInput: a value is no number, or MLflow takes no metric of that name or step; all such are named.
            Unavailable: the server did not accept earlier values. They are kept; `flush` tries again.
        """
        check_metrics(metrics, first_step)
        now = SystemClock().now() // 1_000
        self._metrics.add(
            [Value(name, float(value), now, first_step + offset) for name, values in metrics.items() for offset, value in enumerate(values)]
        )

    def flush(self) -> None:
        """Return once every metric value logged so far is on the server.

        Raises:
            Unavailable: the server did not accept them; they are kept, and the next `flush` tries again.
        """
        self._metrics.flush()

    def log_files(self, files: Mapping[str, bytes | Path]) -> None:
        """Log files under their paths, relative to the run's artifact folder ('served/model.txt').

        Raises:
            InvalidInput: a path is absolute or leaves the folder.
        """
        log_files(self._client, self.run_id, files)

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
        from mlflow.models import ModelSignature
        from mlflow.types.schema import ColSpec, DataType, Schema

        check_columns(booster, columns, categorical)
        kinds = dict.fromkeys(columns, DataType.double)
        kinds |= dict.fromkeys(categorical, DataType.string if booster.pandas_categorical else DataType.long)
        inputs = Schema([ColSpec(kind, column) for column, kind in kinds.items()])
        signature = ModelSignature(inputs=inputs, outputs=Schema([ColSpec(DataType.double)]))
        model_id = self.log_model(booster, flavor="lightgbm", signature=signature, name=name)
        if served is not None:
            files = served if isinstance(served, Mapping) else {path.relative_to(served).as_posix(): path for path in _walk(served)}
            self.log_files({f"served/{path}": content for path, content in files.items()})
        return model_id

    def log_model(
        self,
        model: Any,
        example: Any = None,
        *,
        flavor: str = "sklearn",
        name: str = "model",
        signature: Any = None,
        requirements: Sequence[str] | None = None,
    ) -> str:
        """Log a model of any of MLflow's flavours, with signature and requirements, and return its id (`m-…`).

        Args:
            model: What `mlflow.<flavor>.save_model` saves.
            example: Some rows of its input; the signature is that of these rows and of what the model predicts for them. They are not kept.
            flavor: Name of MLflow's module: sklearn, xgboost, lightgbm, pyfunc and so on.
            name: Name of the logged model within the run.
            signature: An MLflow signature, when there is no example.
            requirements: Lines as in requirements.txt; the flavour's library with numpy, pandas and scipy as installed when not given.

        Raises:
            InvalidInput: neither example nor signature is given, or MLflow has no such flavour.
        """
        if example is None and signature is None:
            raise InvalidInput(f"Model '{name}' has no signature.", next_step="Pass example=some rows of its input, or signature=….")
        save_model, signature = saver(flavor), signature if signature is not None else signature_of(model, example)
        needed = list(requirements) if requirements is not None else requirements_of(flavor)

        def save(folder: str, described: Any) -> None:
            save_model(model, path=folder, mlflow_model=described, signature=signature, pip_requirements=needed)

        return log_saved_model(self._client, self.run_id, self._experiment_id, name=name, kind=flavor, save=save)

    def settle(self, folder: Path) -> Unavailable | None:
        """Log what waits and take no more. Values that the server does not accept go to a file; the error names it."""
        cause: object = "the run was interrupted"
        try:
            self._metrics.flush(last=True)
        except Unavailable as error:
            cause = error.__cause__
        finally:
            self._metrics.close()
            unlogged = self._saved(folder, cause)
        return unlogged

    def _saved(self, folder: Path, cause: object) -> Unavailable | None:
        """Write what the server has not accepted into a file, and return the error that names it; None when there is nothing."""
        path, values = folder / f"unlogged-{self.run_id}.jsonl", self._metrics.unsent
        if not values:
            return None
        message, facts = f"{len(values):,} metric values of run {self.run_id}", {"run_id": self.run_id, "values": len(values)}
        try:
            save_values(path, self.run_id, values)
        except OSError as error:
            return Unavailable(f"{message} are lost: the server said {cause}; the file {path} said {error}.", facts=facts)
        _log.warning("run.values_not_logged", run_id=self.run_id, values=len(values), path=str(path))
        return Unavailable(
            f"{message} were not logged: {cause}. They are in {path}.",
            next_step=f"Log them once the server answers: gateline.sdk.saved_metrics.log_saved(client, '{path}').",
            facts={**facts, "path": str(path)},
        )


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
    feature_fit: Any = None,
    seed: int | None = None,
    folder: Path | None = None,
    keep_diff: bool | None = None,
    keep_notebook: bool | None = None,
) -> Iterator[TrackedRun]:
    """Track what happens in the block as one MLflow run on the client's server.

    The run ends FINISHED, FAILED when the block raises, or KILLED when it is interrupted or the process gets SIGTERM; a process that dies
    without a word is noticed by the server, since the run has a heartbeat. Dataset versions become inputs with their full
    digest; interpreter, packages, lock files, commit, uncommitted changes, seed, hardware and thread counts become `environment.json`.
    At the end duration, processor time, peak memory, bytes moved and, when gateline.toml declares a price, cost become metrics under
    `resources.`; see `gateline.sdk.resources`.

    Args:
        client: The server and the token.
        experiment: Name of the experiment; created when it does not exist.
        name: Name of the run, for people.
        datasets: Dataset versions it reads: `DatasetVersion` objects or their JSON.
        params: Parameters; values are logged as text, and those of more than 6,000 characters whole in `long_params.json`.
        tags: Tags; none may begin with `gateline.`.
        feature_set: The feature set version it uses, as object, JSON or id.
        feature_fit: The fit of its transforms that it trains with, as object or JSON.
        seed: Its seed.
        folder: The project folder; the current one when not given.
        keep_diff: Whether uncommitted changes are kept as the file `code.diff`, at most 1 MiB; their SHA-256 is always recorded. They may
            hold secrets, so they are kept only when this, or `[tracking] keep_diff = true` in gateline.toml, says so.
        keep_notebook: Whether the cells that a notebook has executed are kept with the run. Passwords, tokens and keys of known forms are
            replaced before, and a warning says in which cells; others are not found. They are kept unless this, or
            `[tracking] keep_notebook = false` in gateline.toml, says otherwise.

    Raises:
        Unavailable: the server's MLflow is switched off, failed to load or is not ready within two minutes; or metric values were not
            accepted by the end: the run is then FAILED, and the error names the file that holds them.
    """
    address = f"{client.address().rstrip('/')}/mlflow"  # in process, asking for the address is what starts MLflow
    wait_until_ready(client)
    with mlflow_at(address, client.token) as mlflow:
        around = Surroundings.of(folder, seed=seed, keep_diff=keep_diff, keep_notebook=keep_notebook)
        experiment_id = experiment_id_of(mlflow, experiment)
        labels = {**around.tags(feature_set, feature_fit), **step_tags(), **(tags or {})}
        active = mlflow.start_run(experiment_id=experiment_id, run_name=name, tags=labels)
        run = TrackedRun(mlflow, active.info.run_id, experiment_id, address, around.environment)
        status, raised, meter = "FAILED", None, ResourceMeter()
        try:
            with ended_by_sigterm(), beating(client, run.run_id):
                log_start(mlflow.MlflowClient(), run.run_id, around, datasets, params or {})
                yield run
            status = "FINISHED"
        except BaseException as error:
            raised = error
            status = "KILLED" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "FAILED"
            raise
        finally:
            closing = partial(log_end, mlflow.MlflowClient(), run.run_id, meter, around)
            _end(mlflow, run, status, raised, folder or Path.cwd(), closing)


def _end(mlflow: Any, run: TrackedRun, status: str, raised: BaseException | None, folder: Path, closing: Callable[[], None]) -> None:
    """Log what waits, then close the run: FAILED when something could not be logged. What the block raised is not hidden by that."""
    wrong: Unavailable | None = None
    ended = "KILLED"  # unless what waits can be logged or saved without an interruption
    try:
        wrong = run.settle(folder)
        ended = "FAILED" if wrong is not None and status == "FINISHED" else status
    finally:
        try:
            closing()
        finally:
            unclosed = _close(mlflow, run.run_id, ended)
    for one in (wrong, unclosed):
        if one is not None and raised is None:
            raise one
        if one is not None and raised is not None:
            raised.add_note(str(one))


def _close(mlflow: Any, run_id: str, status: str) -> Unavailable | None:
    """Close the run, or return why it could not be."""
    from mlflow.exceptions import MlflowException

    try:
        mlflow.end_run(status)
    except (MlflowException, OSError) as error:
        next_step = "The server closes it as KILLED once it has been silent for long enough."
        return Unavailable(f"Run {run_id} could not be closed: {error}.", next_step=next_step)
    return None


def _walk(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
