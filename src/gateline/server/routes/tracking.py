"""Runs: search, comparison, metric histories, tags and notes, and frozen snapshots."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.kernel.limits import PAGE_ROWS_MAX, TEXT_LENGTH_MAX
from gateline.server.security import Application, Caller, permission
from gateline.tracking import SAMPLED_POINTS_MAX, SAMPLED_POINTS_MIN, RunQuery

router = APIRouter(prefix="/runs", tags=["runs"])

RunId = Annotated[str, Path(max_length=64)]


class Annotations(BaseModel):
    """New tags and note of a run. A tag whose value is null is removed, an empty note too; what is not named stays."""

    model_config = ConfigDict(extra="forbid")

    tags: Annotated[dict[str, str | None], Field(max_length=100)] = {}
    note: Annotated[str, Field(max_length=TEXT_LENGTH_MAX)] | None = None


@router.get("", openapi_extra=permission(Permission.RUN_READ))
def search_runs(
    app: Application,
    caller: Caller,  # noqa: ARG001 - the caller is checked
    experiment: str = "",
    filter: str = "",
    order_by: Annotated[list[str] | None, Query()] = None,
    max_results: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = 50,
    page_token: str = "",
) -> dict[str, Any]:
    """Search runs in MLflow's filter grammar, newest first unless ordered; files and metric histories are left out."""
    query = RunQuery(
        experiment=experiment, filter=filter, order_by=tuple(order_by or ()), max_results=max_results, page_token=page_token
    )  # fmt: skip
    page = app.tracking.search(query)
    frozen = app.tracking.frozen(run.run_id for run in page.runs)
    return {
        "runs": [{**run.as_dict(), "frozen": run.run_id in frozen} for run in page.runs],
        "next_page_token": page.next_page_token,
    }


@router.get("/compare", openapi_extra=permission(Permission.RUN_READ))
def compare_runs(run: Annotated[list[str], Query()], app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - checked
    """Compare two to ten runs: parameters, metrics, tags, inputs, features, code, environment and packages, equal and different."""
    return app.tracking.compare(run).as_dict()


@router.get("/{run_id}", openapi_extra=permission(Permission.RUN_READ))
def show_run(run_id: RunId, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a run: its snapshot with every file's digest when it is frozen, and otherwise what MLflow tells of it now, without files."""
    found = app.tracking.read(run_id)
    return {**found.as_dict(), "frozen": bool(app.tracking.frozen([run_id]))}


@router.post("/{run_id}/heartbeat", openapi_extra=permission(Permission.MLFLOW_WRITE))
def beat(run_id: RunId, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Say that the client of a run is alive; after `run_heartbeat_seconds` without another and without a write the run is closed."""
    return {"run_id": run_id, "running": app.mlflow.beat(run_id)}


@router.patch("/{run_id}", openapi_extra=permission(Permission.RUN_WRITE))
def annotate_run(run_id: RunId, body: Annotations, app: Application, caller: Caller) -> dict[str, Any]:
    """Set and remove tags of a run and set its note; refused once the run is frozen."""
    return {**app.tracking.annotate(caller.name, run_id, tags=body.tags, note=body.note).as_dict(), "frozen": False}


@router.get("/{run_id}/metrics/{name:path}", openapi_extra=permission(Permission.RUN_READ))
def metric_history(
    run_id: RunId,
    name: str,
    app: Application,
    caller: Caller,  # noqa: ARG001 - the caller is checked
    points: Annotated[int, Query(ge=SAMPLED_POINTS_MIN, le=SAMPLED_POINTS_MAX)] = 1_000,
) -> dict[str, Any]:
    """Return the values of a metric by step: all, or a sample of at most `points` that keeps first, last, peaks and gaps."""
    return app.tracking.history(run_id, name, limit=points).as_dict()


@router.post("/{run_id}/freeze", openapi_extra=permission(Permission.RUN_WRITE))
def freeze_run(run_id: RunId, app: Application, caller: Caller) -> dict[str, Any]:
    """Freeze a finished run: its facts and files get a digest in records, and MLflow refuses further writes to it."""
    return {**app.tracking.freeze(caller.name, run_id).as_dict(), "frozen": True}


@router.post("/{run_id}/verify", openapi_extra=permission(Permission.RUN_READ))
def verify_run(run_id: RunId, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Read every file of a frozen run again and compare it with the snapshot."""
    return {**app.tracking.verify(run_id).as_dict(), "frozen": True}
