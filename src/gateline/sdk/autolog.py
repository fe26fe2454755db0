"""MLflow's autologging against a Gateline server, with what evidence needs around each run that it starts."""

from __future__ import annotations

import atexit
import functools
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import InvalidInput
from gateline.kernel.run_names import ENVIRONMENT_TAG
from gateline.sdk.client import Client
from gateline.sdk.logged_model import COMMON_PACKAGES, pinned
from gateline.sdk.mlflow_client import experiment_id_of, mlflow_at, wait_until_ready
from gateline.sdk.resources import ResourceMeter
from gateline.sdk.run_life import beating
from gateline.sdk.run_records import attempt, log_end, log_start
from gateline.sdk.surroundings import Surroundings, project_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
    keep_notebook: bool | None = None,
    log_models: bool = True,
    disable: bool = False,
) -> None:
    """Turn on MLflow's autologging against the Gateline server, for this process, until `autolog(disable=True)` or the process ends.

    Each training (`fit` of scikit-learn, `train` of LightGBM and XGBoost, and whatever else MLflow knows) becomes a run, as with
    `mlflow.autolog()`. Each such run, and each that `mlflow.start_run` opens, also gets what `tracked_run` records: the dataset versions as
    inputs, environment, code and seed when it starts, a heartbeat, what it used when it ends. Models are logged with signature and pinned
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
        keep_notebook: Whether the cells that a notebook has executed are kept; see `tracked_run`.
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
        surroundings = partial(Surroundings.of, folder, seed=seed, keep_diff=keep_diff, keep_notebook=keep_notebook)
        surroundings()  # what is wrong with gateline.toml is said now
        if name := experiment or project_name(folder):
            mlflow.set_experiment(experiment_id=experiment_id_of(mlflow, name))
        labelled = lambda around: {**around.tags(feature_set, feature_fit), **(tags or {})}  # noqa: E731
        _state.append(_Autolog(mlflow, client, closing, surroundings, labelled, datasets, params or {}))
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


@dataclass(slots=True, kw_only=True)
class _Open:
    """A run that is under way: its heartbeat, and what is to be done before it ends."""

    beating: ExitStack = field(default_factory=ExitStack)
    end: Callable[[], object] = lambda: None


class _Autolog:
    """Autologging while it is on: what was put in place of MLflow's functions, and how to put those back.

    Args:
        mlflow: The module, pointed at the server.
        client: Sends the heartbeats.
        closing: What is undone at the end.
        surroundings: Describes where a run happens, when it starts.
        labelled: Returns the tags of a run for its surroundings.
        datasets: Inputs of every run.
        params: Parameters of every run.
    """

    def __init__(
        self,
        mlflow: Any,
        client: Client,
        closing: ExitStack,
        surroundings: Callable[[], Surroundings],
        labelled: Callable[[Surroundings], dict[str, str]],
        datasets: Sequence[Any],
        params: Mapping[str, Any],
    ) -> None:
        self._mlflow = mlflow
        self._client = client
        self._closing = closing
        self._surroundings = surroundings
        self._labelled = labelled
        self._datasets = datasets
        self._params = params
        self._open: dict[str, _Open] = {}

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
        while self._open and self._mlflow.active_run() is not None:
            self._mlflow.end_run()
        self._closing.close()

    def _replace(self, homes: Sequence[Any], name: str, ours: Callable[..., Any]) -> None:
        for home in homes:
            self._closing.callback(setattr, home, name, getattr(home, name))
            setattr(home, name, ours)

    def _starting(self, start_run: Callable[..., Any]) -> Callable[..., Any]:
        """Return `mlflow.start_run` that also records what is known when a new run starts, and that it is alive."""

        @functools.wraps(start_run)
        def start(*args: Any, **named: Any) -> Any:
            run = start_run(*args, **named)
            run_id, fresh = run.info.run_id, not run.data.tags.get(ENVIRONMENT_TAG)
            resumed = bool(args or named.get("run_id"))
            if run_id not in self._open and (fresh or resumed):  # else it is that of a tracked_run
                self._open[run_id] = opened = _Open()
                opened.beating.enter_context(beating(self._client, run_id))
                if fresh:
                    attempt("start", run_id, partial(self._record_start, run_id, opened))
            return run

        return start

    def _record_start(self, run_id: str, opened: _Open) -> None:
        from mlflow.entities import RunTag

        client, around = self._mlflow.MlflowClient(), self._surroundings()
        opened.end = partial(log_end, client, run_id, ResourceMeter(), around)
        client.log_batch(run_id, tags=[RunTag(key, text) for key, text in self._labelled(around).items()])
        log_start(client, run_id, around, self._datasets, self._params)

    def _ending(self, end_run: Callable[..., Any]) -> Callable[..., Any]:
        """Return `mlflow.end_run` that first records what the run used."""

        @functools.wraps(end_run)
        def end(*args: Any, **named: Any) -> Any:
            active = self._mlflow.active_run()
            opened = None if active is None else self._open.pop(active.info.run_id, None)
            if opened is None:
                return end_run(*args, **named)
            with opened.beating:
                opened.end()
                return end_run(*args, **named)

        return end


def _without_inference(infer: Callable[..., Any]) -> Callable[..., Any]:
    """Return MLflow's inference of requirements that takes the flavour's own, with numpy, pandas and scipy as installed."""

    def without(model_uri: Any, flavor: Any, fallback: list[str] | None = None, **named: Any) -> Any:
        return infer(model_uri, flavor, fallback, **named) if fallback is None else sorted({*fallback, *pinned(COMMON_PACKAGES)})

    return without
