"""Feature parity: features as served against their offline recomputation."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.kernel.clock import parse_iso
from gateline.kernel.limits import PAGE_ROWS_MAX
from gateline.monitoring import parity_plan_from_dict
from gateline.server.security import Application, Caller, permission

router = APIRouter(tags=["monitoring"])


class Interval(BaseModel):
    """What to compare: ISO 8601 instants. Without `start` the newest closed day; without `end` the day that begins at `start`."""

    model_config = ConfigDict(extra="forbid")

    start: str | None = Field(default=None, max_length=100)
    end: str | None = Field(default=None, max_length=100)


@router.put("/endpoints/{name}/parity", openapi_extra=permission(Permission.MONITOR_WRITE))
def set_parity(name: str, body: dict[str, Any], app: Application, caller: Caller) -> dict[str, Any]:
    """Declare how an endpoint's features are compared: a parity plan; what it leaves out takes its default."""
    return app.parity.set_plan(caller.name, name, parity_plan_from_dict(body)).as_dict()


@router.get("/endpoints/{name}/parity", openapi_extra=permission(Permission.MONITOR_READ))
def show_parity(name: str, app: Application) -> dict[str, Any]:
    """Show plan, watermark, the next day to compare, the newest daily run and unresolved alerts of feature parity."""
    return app.parity.status(name)


@router.post("/endpoints/{name}/parity/runs", status_code=201, openapi_extra=permission(Permission.MONITOR_WRITE))
def run_parity(name: str, body: Interval, app: Application, caller: Caller) -> dict[str, Any]:
    """Compare an interval now; the run before is returned when plan, feature set, data and log are the same."""
    start, end = (None if one is None else parse_iso(one) for one in (body.start, body.end))
    return app.parity.run(caller.name, name, start, end).as_dict()


@router.get("/endpoints/{name}/parity/runs", openapi_extra=permission(Permission.MONITOR_READ))
def list_parity_runs(name: str, app: Application, limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = 20) -> list[dict[str, Any]]:
    """List runs, the newest interval and revision first."""
    return [run.as_dict() for run in app.parity.runs(name, limit=limit)]
