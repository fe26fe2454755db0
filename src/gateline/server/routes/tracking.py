"""Runs and their frozen snapshots."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateline.access import Permission
from gateline.kernel.limits import PAGE_ROWS_MAX
from gateline.server.security import Application, Caller, permission

router = APIRouter(prefix="/runs", tags=["runs"])


@router.get("", openapi_extra=permission(Permission.RUN_READ))
def list_runs(
    app: Application,
    caller: Caller,  # noqa: ARG001 - the caller is checked
    experiment: str = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = 50,
) -> list[dict[str, Any]]:
    """List runs, newest first, of one experiment or of all; files and metric histories are left out."""
    found = app.tracking.recent(experiment=experiment, limit=limit)
    frozen = app.tracking.frozen(run.run_id for run in found)
    return [{**run.as_dict(), "frozen": run.run_id in frozen} for run in found]


@router.get("/{run_id}", openapi_extra=permission(Permission.RUN_READ))
def show_run(run_id: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a run: its snapshot with every file's digest when it is frozen, and otherwise what MLflow tells of it now, without files."""
    found = app.tracking.read(run_id)
    return {**found.as_dict(), "frozen": bool(app.tracking.frozen([run_id]))}


@router.post("/{run_id}/heartbeat", openapi_extra=permission(Permission.MLFLOW_WRITE))
def beat(run_id: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Say that the client of a run is alive; after `run_heartbeat_seconds` without another and without a write the run is closed."""
    return {"run_id": run_id, "running": app.mlflow.beat(run_id)}


@router.post("/{run_id}/freeze", openapi_extra=permission(Permission.RUN_WRITE))
def freeze_run(run_id: str, app: Application, caller: Caller) -> dict[str, Any]:
    """Freeze a finished run: its facts and files get a digest in records, and MLflow refuses further writes to it."""
    return {**app.tracking.freeze(caller.name, run_id).as_dict(), "frozen": True}


@router.post("/{run_id}/verify", openapi_extra=permission(Permission.RUN_READ))
def verify_run(run_id: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Read every file of a frozen run again and compare it with the snapshot."""
    return {**app.tracking.verify(run_id).as_dict(), "frozen": True}
