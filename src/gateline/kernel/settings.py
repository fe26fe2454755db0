"""Every setting, read from `GATELINE_…` variables; unknown ones are refused by `gateline doctor`."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def variable(name: str) -> str | None:
    """Return an environment variable that a secret's reference names; None when it is not set."""
    return os.environ.get(name)


class Settings(BaseSettings):
    """The settings of one installation.

    Each field can be set by a variable named GATELINE_ plus the field in upper case.
    """

    model_config = SettingsConfigDict(env_prefix="GATELINE_", extra="forbid", frozen=True)

    home: Path = Field(default=Path(".gateline"), description="Folder of everything Gateline keeps: records, objects, keys, logs.")
    host: str = Field(default="127.0.0.1", description="Address the control plane and the workers listen on.")
    port: int = Field(default=8200, ge=0, le=65535, description="Port of the control plane; 0 takes a free one.")
    serving_port: int = Field(default=8201, ge=0, le=65535, description="Port of the inference workers; 0 takes a free one.")
    workers: int = Field(default=1, ge=0, le=256, description="Number of inference worker processes; 0 starts none.")
    records_url: str = Field(default="", description="SQLAlchemy URL of the records database; empty: SQLite in the home.")
    tables_url: str = Field(
        default="", description="Folder, or URL such as s3://bucket/tables, of the Delta tables; empty: `tables` in the home."
    )
    tables_options: dict[str, str] = Field(
        default={}, description="What Delta Lake needs to reach that URL, as JSON; credentials better come from AWS_… variables."
    )
    tables_checkpoint_commits: int = Field(default=20, ge=1, description="Commits after which the log of a Delta table gets a checkpoint.")
    tables_checkpoint_seconds: float = Field(default=600.0, gt=0, description="Seconds after which it gets one for fewer commits.")
    tables_log_days: float = Field(
        default=30.0, ge=0, description="Days after which log entries that no recorded version needs are removed; 0: never."
    )
    connections: dict[str, str] = Field(
        default={},
        description="Where the server may fetch rows, as JSON: name to SQLAlchemy URL, or to the folder or URL above Delta tables; "
        "secrets as secret://env/NAME or secret://file/PATH.",
    )
    online_url: str = Field(default="", description="Online feature store: redis://… or unix://…; empty: an SQLite file in the home.")
    mlflow: bool = Field(default=True, description="Whether the embedded MLflow is loaded and served under /mlflow.")
    mlflow_url: str = Field(default="", description="SQLAlchemy URL of MLflow's own database; empty: SQLite in the home.")
    run_silent_seconds: float = Field(
        default=86_400.0, ge=300, description="Seconds without a write after which a running MLflow run is closed as KILLED."
    )
    run_heartbeat_seconds: float = Field(
        default=600.0, ge=300, description="Seconds of silence after which a run that had a heartbeat, as the SDK's have, is closed."
    )
    reconcile_interval_seconds: float = Field(
        default=0.2,
        gt=0,
        le=60,
        description="Seconds between two passes of the reconcilers; one whose tables did not change rests up to 1 s.",
    )
    checkpoint_interval_seconds: float = Field(default=60.0, gt=0, description="Most seconds between two signed ledger checkpoints.")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$", description="Least severe log event that is written.")

    @property
    def records_location(self) -> str:
        """The URL of the records database."""
        return self.records_url or f"sqlite:///{self.home.absolute() / 'records.db'}"

    @property
    def online_path(self) -> Path:
        """File of the embedded online store."""
        return self.home / "online.db"

    @property
    def objects_path(self) -> Path:
        """Folder of content-addressed files."""
        return self.home / "objects"

    @property
    def tables_location(self) -> str:
        """Folder or URL of the Delta tables."""
        return self.tables_url or str(self.home.absolute() / "tables")

    @property
    def tables_cache_path(self) -> Path:
        """Folder of local copies of table files that lie elsewhere."""
        return self.home / "cache" / "tables"

    @property
    def keys_path(self) -> Path:
        """Folder of signing and token keys, readable by the owner alone."""
        return self.home / "keys"

    @property
    def serving_path(self) -> Path:
        """Folder of routes, served forms, prediction log and segments."""
        return self.home / "serving"

    @property
    def mlflow_path(self) -> Path:
        """Folder of MLflow's database and artifacts."""
        return self.home / "mlflow"
