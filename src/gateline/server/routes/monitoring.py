"""Labels, monitors, windows and alerts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.kernel.clock import parse_iso
from gateline.kernel.limits import LABEL_ROWS_MAX, NAME_LENGTH_MAX, PAGE_ROWS_MAX, TEXT_LENGTH_MAX
from gateline.monitoring import Analysis, ReferenceSource, plan_from_dict
from gateline.server.security import Application, Caller, permission

router = APIRouter(tags=["monitoring"])

Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
Limit = Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)]


class Labels(BaseModel):
    """A batch of labels, each `{prediction_id | request_id, label, event_time}`; the domain names every wrong row."""

    model_config = ConfigDict(extra="forbid")

    labels: list[dict[str, Any]] = Field(max_length=LABEL_ROWS_MAX)


class ReferenceRequest(BaseModel):
    """What windows are held against: uploaded Parquet files and their columns."""

    model_config = ConfigDict(extra="forbid")

    frame: str
    scores: str | None = None
    version: str = Field(default="", max_length=2 * NAME_LENGTH_MAX)
    time: Name = "t"
    prediction: Name = "prediction"
    label: Name = "label"


class Comment(BaseModel):
    """What a person says to an alert."""

    model_config = ConfigDict(extra="forbid")

    comment: str = Field(default="", max_length=TEXT_LENGTH_MAX)


@router.post("/endpoints/{name}/labels", openapi_extra=permission(Permission.LABEL_WRITE))
def record_labels(name: str, body: Labels, app: Application, caller: Caller) -> dict[str, Any]:
    """Record labels: all of the batch, or nothing when a row is wrong. The same labels again change nothing; a later one corrects."""
    receipt = app.monitoring.record_labels(caller.name, name, body.labels)
    app.reconcilers.wake()
    return receipt.as_dict()


@router.put("/endpoints/{name}/monitor", openapi_extra=permission(Permission.MONITOR_WRITE))
def set_monitor(name: str, body: dict[str, Any], app: Application, caller: Caller) -> dict[str, Any]:
    """Declare what is watched on an endpoint: a monitor plan; what it leaves out takes its default."""
    return app.monitoring.set_plan(caller.name, name, plan_from_dict(body)).as_dict()


@router.get("/endpoints/{name}/monitor", openapi_extra=permission(Permission.MONITOR_READ))
def show_monitor(name: str, app: Application) -> dict[str, Any]:
    """Show plan, references, watermark, the next window to close, labels that wait for their prediction, and unresolved alerts."""
    return app.monitoring.status(name)


@router.put("/endpoints/{name}/monitor/reference", openapi_extra=permission(Permission.MONITOR_WRITE))
def set_reference(name: str, body: ReferenceRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Set what windows are held against from now on; windows that are closed keep the reference they were judged by."""
    return app.monitoring.set_reference(caller.name, name, ReferenceSource(**body.model_dump())).as_dict()


@router.get("/endpoints/{name}/windows", openapi_extra=permission(Permission.MONITOR_READ))
def list_windows(
    name: str, app: Application, analysis: Analysis | None = None, start: str | None = None, limit: Limit = 100
) -> list[dict[str, Any]]:
    """List closed windows in order of time: from an instant (ISO 8601) on, or the newest ones."""
    since = None if start is None else parse_iso(start)
    return [window.as_dict() for window in app.monitoring.windows(name, analysis=analysis, start=since, limit=limit)]


@router.get("/endpoints/{name}/alerts", openapi_extra=permission(Permission.MONITOR_READ))
def list_alerts(name: str, app: Application, unresolved: bool = False, limit: Limit = 100) -> list[dict[str, Any]]:
    """List the alerts of an endpoint, newest first."""
    return [alert.as_dict() for alert in app.monitoring.alerts(name, unresolved=unresolved, limit=limit)]


@router.post("/alerts/{alert_id}/acknowledge", openapi_extra=permission(Permission.MONITOR_WRITE))
def acknowledge_alert(alert_id: str, body: Comment, app: Application, caller: Caller) -> dict[str, Any]:
    """Say that somebody looks after an alert."""
    return app.monitoring.acknowledge(caller.name, alert_id, body.comment).as_dict()


@router.post("/alerts/{alert_id}/resolve", openapi_extra=permission(Permission.MONITOR_WRITE))
def resolve_alert(alert_id: str, body: Comment, app: Application, caller: Caller) -> dict[str, Any]:
    """End an alert by hand; quiet windows end it too."""
    return app.monitoring.resolve(caller.name, alert_id, body.comment).as_dict()
