"""MLflow's autologging against a Gateline server, with what evidence needs around each run that it starts."""

from __future__ import annotations

import atexit
import functools
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from gateline.kernel.errors import GatelineError, InvalidInput
from gateline.sdk.client import Client
from gateline.sdk.mlflow_client import dataset_input, experiment_id_of, mlflow_at, wait_until_ready
from gateline.sdk.notebook import log_notebook
from gateline.sdk.parameters import logged_params
from gateline.sdk.resources import ResourceMeter
from gateline.sdk.surroundings import Surroundings, log_files, log_resources, project_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_log = structlog.get_logger(__name__)
_COMMON_PACKAGES = ("numpy", "pandas", "scipy")
_RECORDED_TAG = "environment.sha256"  # a run that has it, such as that of tracked_run or one resumed, keeps what it has
_state: list[_Autolog] = []


def autolog(
    client: Client | None = None,
    *,
    experiment: str = "",
    datasets: Sequence[Any] = (),
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    feature_set: Any = None,
    feature_fit: Any = None,
    seed: int | None = None,
    folder: Path | None = None,
    keep_diff: bool | None = None,
    log_models: bool = True,
    disable: bool = False,
) -> None:
    """Turn on MLflow's autologging against the Gateline server, for this process, until `autolog(disable=True)` or the process ends.

    Each training (`fit` of scikit-learn, `train` of LightGBM and XGBoost, and whatever else MLflow knows) becomes a run, as with
    `mlflow.autolog()`. Each such run, and each that `mlflow.start_run` opens, also gets what `tracked_run` records: the dataset versions as
    inputs, environment, code and seed when it starts, and what it used when it ends. Models are logged with signature and pinned
    requirements; MLflow's own inference of them, 17 to 28 seconds in a subprocess, is left out. Within `tracked_run` the training is
    logged into that run.

    What cannot be recorded is logged as a warning; it never stops the training. Called again, the new arguments count.

    Args:
        client: The server and the token; the one that `Client()` finds when not given.
        experiment: Name of the experiment, made when it does not exist; the project's name when not given, else MLflow's own choice.
        datasets: Dataset versions the trainings read: `DatasetVersion` objects or their JSON.
        params: Parameters of every run.
        tags: Tags of every run; none may begin with `gateline.`.
        feature_set: The feature set version in use, as object, JSON or id.
        feature_fit: The fit of its transforms, as object or JSON.
        seed: The seed.
        folder: The project folder; the current one when not given.
        keep_diff: Whether uncommitted changes are kept; see `tracked_run`.
        log_models: Whether trained models are logged.
        disable: Turn it off, and put back MLflow's address.

    Raises:
        InvalidInput: a run of MLflow is active in this process, or a tag is reserved.
        Unavailable: the server's MLflow is switched off, failed to load or is not ready within two minutes.
    """
    if not disable:
        _check(tags or {})
    while _state:
        _state.pop().close()
    if disable:
        return
    own = client is None
    client = client or Client()
    closing = ExitStack()
    if own:
        closing.callback(client.close)
    try:
        address = f"{client.address().rstrip('/')}/mlflow"
        wait_until_ready(client)
        mlflow = closing.enter_context(mlflow_at(address, client.token))
        folder = folder or Path.cwd()
        around = Surroundings.of(folder, seed=seed, keep_diff=keep_diff)
        if name := experiment or project_name(folder):
            mlflow.set_experiment(experiment_id=experiment_id_of(mlflow, name))
        labels = {**around.tags(feature_set, feature_fit), **(tags or {})}
        _state.append(_Autolog(mlflow, closing, around, labels, datasets, params or {}))
        _state[-1].turn_on(log_models=log_models)
    except BaseException:
        closing.close()
        raise


def _check(tags: Mapping[str, str]) -> None:
    import mlflow

    if mlflow.active_run() is not None:
        raise InvalidInput("A run of MLflow is active.", next_step="End it first: mlflow.end_run().")
    if reserved := sorted(key for key in tags if key.strip().casefold().startswith("gateline.")):
        raise InvalidInput(f"Tags are reserved for Gateline: {', '.join(reserved)}.", next_step="Choose other names.")


class _Autolog:
    """Autologging while it is on: what was put in place of MLflow's functions, and how to put those back."""

    def __init__(
        self,
        mlflow: Any,
        closing: ExitStack,
        around: Surroundings,
        tags: Mapping[str, str],
        datasets: Sequence[Any],
        params: Mapping[str, Any],
    ) -> None:
        self._mlflow = mlflow
        self._closing = closing
        self._around = around
        self._tags = tags
        self._datasets = datasets
        self._params = params
        self._meters: dict[str, ResourceMeter] = {}

    def turn_on(self, *, log_models: bool) -> None:
        """Put our functions around MLflow's and turn its autologging on."""
        from mlflow.tracking import fluent

        mlflow = self._mlflow
        start, end = self._starting(mlflow.start_run), self._ending(mlflow.end_run)
        self._replace((mlflow, fluent), "start_run", start)
        self._replace((mlflow, fluent), "end_run", end)
        self._replace((mlflow.models,), "infer_pip_requirements", _without_inference(mlflow.models.infer_pip_requirements))
        mlflow.autolog(log_models=log_models, log_model_signatures=True, log_input_examples=False, log_traces=False, silent=True)
        self._closing.callback(mlflow.autolog, disable=True, silent=True)
        atexit.register(self.close)

    def close(self) -> None:
        """Turn autologging off and put MLflow's functions and address back; a run that is open is ended first."""
        atexit.unregister(self.close)
        while self._meters and self._mlflow.active_run() is not None:
            self._mlflow.end_run()
        self._closing.close()

    def _replace(self, homes: Sequence[Any], name: str, ours: Callable[..., Any]) -> None:
        for home in homes:
            self._closing.callback(setattr, home, name, getattr(home, name))
            setattr(home, name, ours)

    def _starting(self, start_run: Callable[..., Any]) -> Callable[..., Any]:
        """Return `mlflow.start_run` that also records what is known when a new run starts."""

        @functools.wraps(start_run)
        def start(*args: Any, **named: Any) -> Any:
            run = start_run(*args, **named)
            if run.info.run_id not in self._meters and not run.data.tags.get(_RECORDED_TAG):
                self._meters[run.info.run_id] = ResourceMeter()
                self._attempt("start", run.info.run_id, self._record_start)
            return run

        return start

    def _ending(self, end_run: Callable[..., Any]) -> Callable[..., Any]:
        """Return `mlflow.end_run` that first records what the run used."""

        @functools.wraps(end_run)
        def end(*args: Any, **named: Any) -> Any:
            active = self._mlflow.active_run()
            meter = None if active is None else self._meters.pop(active.info.run_id, None)
            if meter is not None:
                record = lambda client, run_id: log_resources(client, run_id, meter, self._around.price)  # noqa: E731
                self._attempt("end", active.info.run_id, record)
                self._attempt("notebook", active.info.run_id, log_notebook)
            return end_run(*args, **named)

        return end

    def _record_start(self, client: Any, run_id: str) -> None:
        from mlflow.entities import Param, RunTag

        texts, files = logged_params(self._params)
        client.log_batch(
            run_id, params=[Param(key, text) for key, text in texts.items()], tags=[RunTag(key, text) for key, text in self._tags.items()]
        )  # fmt: skip
        if self._datasets:
            client.log_inputs(run_id, [dataset_input(one) for one in self._datasets])
        log_files(client, run_id, {**self._around.files(), **files})

    def _attempt(self, what: str, run_id: str, record: Callable[[Any, str], object]) -> None:
        """Record something of a run; a failure must not stop the training, so it becomes a warning."""
        from mlflow.exceptions import MlflowException

        try:
            record(self._mlflow.MlflowClient(), run_id)
        except (MlflowException, GatelineError, OSError) as error:
            _log.warning("autolog.not_recorded", what=what, run_id=run_id, failure=str(error))


def _without_inference(infer: Callable[..., Any]) -> Callable[..., Any]:
    """Return MLflow's inference of requirements that takes the flavour's own, with numpy, pandas and scipy as installed."""

    def pinned(model_uri: Any, flavor: Any, fallback: list[str] | None = None, **named: Any) -> Any:
        return infer(model_uri, flavor, fallback, **named) if fallback is None else sorted({*fallback, *_installed(_COMMON_PACKAGES)})

    return pinned


def _installed(packages: Sequence[str]) -> list[str]:
    found = []
    for package in packages:
        try:
            found.append(f"{package}=={version(package)}")
        except PackageNotFoundError:
            continue
    return found
