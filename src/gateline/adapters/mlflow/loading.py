"""Brings MLflow into this process: its database, its stores with our gates, its ASGI app.

MLflow keeps process-wide state (cached stores, environment variables with private names), so one process serves one of it. The private
names are used in this file alone; `tests/integration/mlflow` is the contract test that runs against each supported release.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.adapters.mlflow.seal import RunSeal
from gateline.kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateline.adapters.mlflow.guard import Guard
    from gateline.adapters.mlflow.liveness import Liveness
    from gateline.adapters.mlflow.metrics import MetricRoute
    from gateline.adapters.mlflow.registry_store import GateRegistryStore
    from gateline.adapters.mlflow.stores import GateTrackingStore
    from gateline.kernel.clock import Clock
    from gateline.kernel.settings import Settings

_ARTIFACT_ROOT = "mlflow-artifacts:/"
_ANALYSED_ROWS_MAX = 1_000
_BUSY_MILLISECONDS_MAX = 20_000
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """MLflow, ready to serve; `metrics` is the short way for metrics, on databases that it knows."""

    app: Any
    metrics: MetricRoute | None
    tracking: GateTrackingStore
    registry: GateRegistryStore
    liveness: Liveness


def database_url(folder: Path, url: str) -> str:
    """Return the URL of MLflow's own database: `url` when given (psycopg 3 on PostgreSQL), otherwise SQLite in the folder."""
    if not url:
        return f"sqlite:///{folder.absolute() / 'mlflow.db'}"
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg{separator}{rest}" if scheme in {"postgresql", "postgres"} else url


def load(settings: Settings, *, guard: Guard, seal: RunSeal, clock: Clock) -> Loaded:
    """Import MLflow (seconds), make or migrate its database, and put our stores in place of its own.

    Raises:
        ConfigurationError: this process already serves another MLflow.
    """
    if not _one_at_a_time.acquire(blocking=False):
        raise ConfigurationError(
            "This process already serves an MLflow: it keeps process-wide state.", next_step="Use one home folder per process."
        )
    try:
        artifacts = settings.mlflow_path / "artifacts"
        artifacts.mkdir(parents=True, exist_ok=True)
        location = database_url(settings.mlflow_path, settings.mlflow_url)
        _set_environment(location, artifacts)
        _import_server()
        registry, tracking = _stores(location, guard, seal)
        return _served(settings, artifacts, registry=registry, tracking=tracking, guard=guard, seal=seal, clock=clock)
    except BaseException:
        _one_at_a_time.release()
        raise


def unload(loaded: Loaded) -> None:
    """Close MLflow's connections and let another home be served by this process."""
    from mlflow.server import handlers

    for store in (loaded.tracking, loaded.registry):
        type(store)._engine_map.pop(store.db_uri, None)  # noqa: SLF001
        store.engine.dispose()
    handlers._tracking_store = handlers._model_registry_store = handlers._artifact_repo = None  # noqa: SLF001
    _one_at_a_time.release()


def _set_environment(location: str, artifacts: Path) -> None:
    """Tell MLflow's server what it reads from nowhere else, before it is imported."""
    os.environ.update(  # noqa: TID251 - MLflow's server takes these settings from the environment only
        {
            "_MLFLOW_SERVER_FILE_STORE": location,
            "_MLFLOW_SERVER_REGISTRY_STORE": location,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": _ARTIFACT_ROOT,
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(artifacts.absolute()),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SGI_NAME": "uvicorn",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "MLFLOW_LOGGING_LEVEL": "WARNING",
        }
    )


def _import_server() -> None:
    # MLflow 3.17 imports a module of Starlette that warns of its removal; it pins the version it needs.
    warnings.filterwarnings("ignore", message="starlette.middleware.wsgi is deprecated")
    import mlflow.server.fastapi_app  # noqa: F401 - the stores need what it registers


def _stores(location: str, guard: Guard, seal: RunSeal) -> tuple[GateRegistryStore, GateTrackingStore]:
    """Return MLflow's two stores with our gates, over a database that is whole, migrated and analysed."""
    from gateline.adapters.mlflow.registry_store import GateRegistryStore
    from gateline.adapters.mlflow.stores import GateTrackingStore

    if location.startswith("sqlite:///"):
        _make_whole(Path(location.removeprefix("sqlite:///")))
    _migrate(location)
    registry = GateRegistryStore(location, guard=guard)
    tracking = GateTrackingStore(location, _ARTIFACT_ROOT, guard=guard, seal=seal, registered=registry.rests_on)
    registry.tracking = tracking
    for store in (registry, tracking):
        _prepare_connections(store.engine)
    analyse(tracking.engine)
    return registry, tracking


def _served(
    settings: Settings,
    artifacts: Path,
    *,
    registry: GateRegistryStore,
    tracking: GateTrackingStore,
    guard: Guard,
    seal: RunSeal,
    clock: Clock,
) -> Loaded:
    """Return MLflow's app over these stores, with the short way for metrics in front where the database allows it."""
    from mlflow.server import handlers
    from mlflow.server.fastapi_app import app

    from gateline.adapters.mlflow.artifacts import SealedArtifactRepository
    from gateline.adapters.mlflow.liveness import Liveness
    from gateline.adapters.mlflow.metric_writer import MetricWriter
    from gateline.adapters.mlflow.metrics import MetricRoute

    handlers._tracking_store = tracking  # noqa: SLF001
    handlers._model_registry_store = registry  # noqa: SLF001
    handlers._artifact_repo = SealedArtifactRepository(  # noqa: SLF001
        artifacts, guard=guard, seal=seal, tracking=tracking, registry=registry
    )
    tracking.liveness = Liveness(
        tracking.engine, guard, clock, silent_seconds=settings.run_silent_seconds, heartbeat_seconds=settings.run_heartbeat_seconds
    )
    metrics = MetricRoute(app, MetricWriter(tracking.engine, seal)) if MetricWriter.supports(tracking.engine) else None
    return Loaded(app=metrics or app, metrics=metrics, tracking=tracking, registry=registry, liveness=tracking.liveness)


def analyse(engine: Engine) -> None:
    """Give SQLite's planner statistics of MLflow's tables: searches ordered by a metric become 20 to 40 times faster.

    At most a thousand rows of each index are looked at, so it is quick at any size. PostgreSQL's autovacuum does the same unasked.
    """
    if engine.dialect.name != "sqlite":
        return
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA analysis_limit={_ANALYSED_ROWS_MAX}")
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    engine.dispose()  # an open connection goes on with the statistics it has read


def _make_whole(path: Path) -> None:
    """Make an SQLite database that does not exist yet beside its place, and move it there when it is complete.

    MLflow's first migration is not one transaction; interrupted half-way it could neither be used nor repeated.
    """
    if not path.exists():
        fresh = path.with_name(f"{path.name}.new")
        for suffix in ("", "-wal", "-shm", "-journal"):
            fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)
        _migrate(f"sqlite:///{fresh}")
        fresh.replace(path)
    _use_wal(str(path))


def _migrate(location: str) -> None:
    """Bring MLflow's tables to what the installed release needs; it does so itself only for an empty database."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine_with_retry(location)
    try:
        if not utils._all_tables_exist(engine):  # noqa: SLF001
            utils._initialize_tables(engine)  # noqa: SLF001
        try:
            utils._verify_schema(engine)  # noqa: SLF001
        except MlflowException:
            utils._upgrade_db(engine)  # noqa: SLF001
    finally:
        engine.dispose()


def _use_wal(path: str) -> None:
    """Keep MLflow's SQLite database in write-ahead mode: 1.3 times the writes, and readers never wait."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _prepare_connections(engine: Engine) -> None:
    """Let each connection wait for a lock as long as MLflow's own do, and sync the write-ahead log at checkpoints only.

    A killed process loses nothing that was answered: the operating system has it. A power cut may lose what was written since the last
    checkpoint (at most 1,000 pages, 4 MB), never its consistency.
    """
    from sqlalchemy import event

    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS_MAX}")

    engine.dispose()
