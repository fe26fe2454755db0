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
    from gateline.adapters.mlflow.guard import Guard
    from gateline.adapters.mlflow.registry_store import GateRegistryStore
    from gateline.adapters.mlflow.stores import GateTrackingStore

_ARTIFACT_ROOT = "mlflow-artifacts:/"
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """MLflow, ready to serve."""

    app: Any
    tracking: GateTrackingStore
    registry: GateRegistryStore


def database_url(folder: Path, url: str) -> str:
    """Return the URL of MLflow's own database: `url` when given (psycopg 3 on PostgreSQL), otherwise SQLite in the folder."""
    if not url:
        return f"sqlite:///{folder.absolute() / 'mlflow.db'}"
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg{separator}{rest}" if scheme in {"postgresql", "postgres"} else url


def load(folder: Path, url: str, *, guard: Guard, seal: RunSeal) -> Loaded:
    """Import MLflow (seconds), make or migrate its database, and put our stores in place of its own.

    Raises:
        ConfigurationError: this process already serves another MLflow.
    """
    if not _one_at_a_time.acquire(blocking=False):
        raise ConfigurationError(
            "This process already serves an MLflow: it keeps process-wide state.", next_step="Use one home folder per process."
        )
    try:
        artifacts = folder / "artifacts"
        artifacts.mkdir(parents=True, exist_ok=True)
        location = database_url(folder, url)
        _set_environment(location, artifacts)
        return _load(location, artifacts, guard, seal)
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


def _load(location: str, artifacts: Path, guard: Guard, seal: RunSeal) -> Loaded:
    # MLflow 3.17 imports a module of Starlette that warns of its removal; it pins the version it needs.
    warnings.filterwarnings("ignore", message="starlette.middleware.wsgi is deprecated")
    from mlflow.server import handlers
    from mlflow.server.fastapi_app import app

    from gateline.adapters.mlflow.artifacts import SealedArtifactRepository
    from gateline.adapters.mlflow.registry_store import GateRegistryStore
    from gateline.adapters.mlflow.stores import GateTrackingStore

    if location.startswith("sqlite:///"):
        _make_whole(Path(location.removeprefix("sqlite:///")))
    _migrate(location)
    registry = GateRegistryStore(location, guard=guard)
    tracking = GateTrackingStore(location, _ARTIFACT_ROOT, guard=guard, seal=seal, registered=registry.rests_on)
    registry.tracking = tracking
    for store in (registry, tracking):
        _relax_sync(store.engine)
    handlers._tracking_store = tracking  # noqa: SLF001
    handlers._model_registry_store = registry  # noqa: SLF001
    handlers._artifact_repo = SealedArtifactRepository(  # noqa: SLF001
        artifacts, guard=guard, seal=seal, tracking=tracking, registry=registry
    )
    return Loaded(app=app, tracking=tracking, registry=registry)


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


def _relax_sync(engine: Any) -> None:
    """Sync the write-ahead log at checkpoints only: a power cut may lose MLflow's last writes, never its consistency."""
    from sqlalchemy import event

    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    engine.dispose()
