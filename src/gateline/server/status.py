"""What the server says of itself."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateline.app import App


def installed_version() -> str:
    """Return the version of the installed package."""
    return version("gateline")


def health(app: App) -> dict[str, Any]:
    """Return what anybody may know: that the server answers, its version, and whether MLflow does (off, loading, ready, failed)."""
    return {"status": "ok", "version": installed_version(), "mlflow": app.mlflow.state.value}


def status(app: App) -> dict[str, Any]:
    """Return what a reader of the system may know."""
    return {
        **health(app),
        "home": str(app.settings.home.absolute()),
        "records": "sqlite" if app.records.is_sqlite else "postgresql",
        "ledger_entries": app.ledger.size(),
        "policies": app.access.policies.digest,
        "datasets": len(app.datasets.list()),
    }
