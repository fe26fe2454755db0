"""The embedded MLflow: started in the background, served under /mlflow, read and written in-process."""

from __future__ import annotations

import threading
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import structlog

from gateline.adapters.mlflow.asgi import Gate
from gateline.adapters.mlflow.guard import Guard, internally
from gateline.adapters.mlflow.loading import Loaded, analyse, load, unload
from gateline.adapters.mlflow.projection import Projection
from gateline.adapters.mlflow.registrations import Registrations
from gateline.adapters.mlflow.run_source import MlflowRuns
from gateline.adapters.mlflow.seal import RunSeal
from gateline.adapters.mlflow.trials import ShownTrials
from gateline.kernel.clock import SystemClock
from gateline.kernel.errors import Unavailable
from gateline.tracking import frozen_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateline.access import Permission, Principal
    from gateline.adapters.mlflow.registrations import Registered
    from gateline.kernel.clock import Clock
    from gateline.kernel.settings import Settings
    from gateline.ledger import Ledger

_log = structlog.get_logger(__name__)


class State(StrEnum):
    """What the embedded MLflow does."""

    OFF = "off"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class EmbeddedMlflow:
    """MLflow in this process, behind Gateline's authentication and gates.

    Args:
        settings: `mlflow_path` holds its database and artifacts; `mlflow_url` names another database.
        ledger: Where refusals and changes of the registry are written; its records tell which runs are frozen.
        authenticate: Returns the principal of an API token; raises Unauthenticated.
        decide: Tells whether a principal holds a permission.
        clock: Tells when a run was last heard of; the machine's clock when not given.

    Attributes:
        asgi: The ASGI app to mount at /mlflow. It answers 503 with Retry-After until MLflow is ready.
        run_source: Runs as `gateline.tracking.Tracking` reads them.
        trials: Where the trials of searches are shown.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        authenticate: Callable[[str], Principal],
        decide: Callable[[Principal, Permission], bool],
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._guard = Guard(ledger)
        self._seal = RunSeal(self._guard, lambda run_ids: frozen_runs(ledger.records, run_ids), wrote=self._wrote)
        self._loaded: Loaded | None = None
        self._failure = ""
        self._settled = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._lock = threading.Lock()
        self.load_seconds: float | None = None
        self.asgi = Gate(lambda: self._loaded, self._sentence, self._guard, authenticate, decide)
        self.run_source = MlflowRuns(self.loaded, self._seal, settings.mlflow_path / "artifacts")
        self._projection = Projection(self.loaded)
        self.trials = ShownTrials(lambda: self._loaded)

    @property
    def state(self) -> State:
        """What it does now."""
        if self._loaded is not None:
            return State.READY
        if self._failure:
            return State.FAILED
        return State.LOADING if self._thread is not None else State.OFF

    def health(self) -> dict[str, Any]:
        """Return state, cause of a failure and seconds that loading took, for the health route."""
        return {"state": self.state.value, "failure": self._failure, "load_seconds": self.load_seconds}

    def start(self) -> None:
        """Begin to load MLflow in a background thread and return at once; does nothing when settings switch MLflow off."""
        with self._lock:
            if self._thread is None and self._settings.mlflow:
                self._stopping = False
                self._thread = threading.Thread(target=self._load, name="mlflow-loader", daemon=True)
                self._thread.start()

    def wait(self, timeout_seconds: float = 120.0) -> None:
        """Block until MLflow is ready.

        Raises:
            Unavailable: it is off, failed to load, or is not ready in time.
        """
        if self._thread is not None:
            self._settled.wait(timeout_seconds)
        self.loaded()

    def stop(self) -> None:
        """Close MLflow's connections. A load under way is let go; it closes what it opened when it ends."""
        with self._lock:
            loaded, self._loaded = self._loaded, None
            self._stopping = True
            self._thread = None
            self._failure = ""
            self._settled.clear()
        if loaded is not None:
            unload(loaded)

    def loaded(self) -> Loaded:
        """Return MLflow.

        Raises:
            Unavailable: it is off, still loading or failed to load.
        """
        if self._loaded is None:
            raise Unavailable(self._sentence(), next_step="Try again in a moment." if self.state is State.LOADING else "")
        return self._loaded

    def project_version(self, name: str, run_id: str, *, logged_model: str = "model", tags: Mapping[str, str] | None = None) -> str:
        """Return the number of the MLflow version of model `name` that points at the run's logged model; made when absent.

        Raises:
            NotFound: the run logged no model of that name.
            Unavailable: MLflow is not ready.
        """
        return self._projection.version(name, run_id, logged_model=logged_model, tags=tags)

    def project_alias(self, name: str, alias: str, version: str | None) -> None:
        """Point an alias of MLflow's registry at a version, or remove it when the version is None.

        Raises:
            NotFound: there is no such model or version.
            Unavailable: MLflow is not ready.
        """
        self._projection.alias(name, alias, version)

    def beat(self, run_id: str) -> bool:
        """Note that the client of a run is alive, and return whether the run is under way.

        Raises:
            NotFound: there is no such run.
            Unavailable: MLflow is not ready.
        """
        return self.loaded().liveness.beat(run_id)

    def close_silent_runs(self) -> list[str]:
        """Close the runs whose client died and return them; nothing while MLflow is not ready. Call it once a minute."""
        loaded = self._loaded
        return [] if loaded is None else loaded.liveness.close_silent()

    def analyse(self) -> None:
        """Renew the statistics of MLflow's tables, when MLflow is ready and its database needs to be told."""
        loaded = self._loaded
        if loaded is not None:
            analyse(loaded.tracking.engine)

    def _wrote(self, run_ids: set[str]) -> None:
        loaded = self._loaded
        if loaded is not None and run_ids:
            loaded.liveness.wrote(run_ids)

    def registrations(
        self,
        clock: Clock,
        *,
        freeze: Callable[[str, str], object],
        frozen: Callable[[Iterable[str]], set[str]],
        registered: Callable[[], Iterable[Registered]],
    ) -> Registrations:
        """Return the reconciler of registrations; see there."""
        return Registrations(
            lambda: self._loaded, self._projection, self._guard, clock, freeze=freeze, frozen=frozen, registered=registered
        )  # fmt: skip

    def _load(self) -> None:
        begun = time.perf_counter()
        try:
            with internally():
                loaded = load(self._settings, guard=self._guard, seal=self._seal, clock=self._clock)
        except Exception as error:  # the boundary of the loader thread: the failure is shown by health and by each request
            with self._lock:
                self._failure = f"{type(error).__name__}: {error}"
                self._settled.set()
            _log.exception("mlflow.load_failed")
            return
        with self._lock:
            if not self._stopping:
                self._loaded = loaded
                self.load_seconds = round(time.perf_counter() - begun, 2)
                self._settled.set()
                _log.info("mlflow.ready", seconds=self.load_seconds)
                return
        unload(loaded)

    def _sentence(self) -> str:
        match self.state:
            case State.OFF:
                return "MLflow is switched off (GATELINE_MLFLOW=false) or was not started."
            case State.FAILED:
                return f"MLflow could not be loaded: {self._failure}."
            case State.LOADING | State.READY:
                return "MLflow is still loading."
