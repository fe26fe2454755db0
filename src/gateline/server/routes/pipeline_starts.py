"""What starts pipelines and what holds them up: schedules, triggers, limits, backfills, approvals."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.kernel.clock import parse_iso
from gateline.kernel.errors import InvalidInput
from gateline.pipelines import CatchUp, Limits, Schedule, Trigger, TriggerSource
from gateline.server.security import Application, Caller, permission

router = APIRouter(tags=["pipelines"])

_READ = permission(Permission.PIPELINE_READ)
_RUN = permission(Permission.PIPELINE_RUN)
_APPROVE = permission(Permission.PIPELINE_APPROVE)
_SECONDS_MAX = 100 * 366 * 86_400
Seconds = Annotated[int, Field(ge=0, le=_SECONDS_MAX)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Started(_Body):
    """What every declaration of a start says."""

    pipeline: str
    parameters: dict[str, Any] = {}
    project: str = Field(default="", max_length=100)


class ScheduleBody(_Started):
    """When a pipeline runs by the clock."""

    cron: str = Field(max_length=200)
    zone: str = Field(default="UTC", max_length=100)
    catch_up: CatchUp = CatchUp.LAST
    catch_up_max: int = Field(default=1, ge=1, le=1000)
    time_parameter: str = Field(default="", max_length=200)
    priority: int = Field(default=0, ge=-1000, le=1000)


class TriggerBody(_Started):
    """What else starts a pipeline."""

    source: TriggerSource
    subject: str = Field(max_length=200)
    alert_kinds: list[Annotated[str, Field(max_length=100)]] = Field(default=[], max_length=20)
    cool_down_seconds: Seconds = 0
    parameter: str = Field(default="", max_length=200)


class LimitsBody(_Body):
    """How much of a pipeline may happen."""

    concurrent_max: int | None = Field(default=None, ge=1, le=1_000_000)
    runs_max: int | None = Field(default=None, ge=1, le=1_000_000)
    period_seconds: int = Field(default=3600, ge=1, le=_SECONDS_MAX)
    cool_down_seconds: Seconds = 0
    deduplicate_seconds: Seconds = 0


class BackfillBody(_Started):
    """Runs over a range: nominal times of a schedule (start, end as ISO times), or versions of a dataset (first, last)."""

    parameter: str = Field(max_length=200)
    schedule: str = Field(default="", max_length=200)
    start: str = Field(default="", max_length=100)
    end: str = Field(default="", max_length=100)
    dataset: str = Field(default="", max_length=200)
    first: int = Field(default=1, ge=1, le=10**9)
    last: int = Field(default=0, ge=0, le=10**9)
    parallel_max: int = Field(default=1, ge=1, le=100)
    priority: int = Field(default=0, ge=-1000, le=1000)


class Answer(_Body):
    """Why a step is approved or rejected."""

    reason: str = Field(min_length=1, max_length=10_000)


@router.get("/pipeline-schedules", openapi_extra=_READ)
def list_schedules(app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List every schedule with its next nominal time."""
    return app.schedules.all()


@router.put("/pipeline-schedules/{name}", openapi_extra=_RUN)
def set_schedule(name: str, body: ScheduleBody, app: Application, caller: Caller) -> dict[str, Any]:
    """Declare a schedule, or declare it anew: times from now on count."""
    return app.schedules.set(caller, Schedule(name=name, **body.model_dump()))


@router.get("/pipeline-schedules/{name}", openapi_extra=_READ)
def show_schedule(name: str, app: Application, caller: Caller, shown: Annotated[int, Query(ge=1, le=100)] = 5) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a schedule with its next nominal times and what it decided last."""
    return app.schedules.get(name, shown=shown)


@router.delete("/pipeline-schedules/{name}", status_code=204, openapi_extra=_RUN)
def remove_schedule(name: str, app: Application, caller: Caller) -> None:
    """Remove a schedule; its runs stay."""
    app.schedules.remove(caller, name)


@router.post("/pipeline-schedules/{name}/pause", openapi_extra=_RUN)
def pause_schedule(name: str, app: Application, caller: Caller) -> dict[str, Any]:
    """Let no time of a schedule start a run until it is resumed."""
    return app.schedules.pause(caller, name)


@router.post("/pipeline-schedules/{name}/resume", openapi_extra=_RUN)
def resume_schedule(name: str, app: Application, caller: Caller) -> dict[str, Any]:
    """Go on with a schedule; times that passed meanwhile are not caught up."""
    return app.schedules.resume(caller, name)


@router.get("/pipeline-triggers", openapi_extra=_READ)
def list_triggers(app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List every trigger with what it decided last."""
    return app.triggers.all()


@router.put("/pipeline-triggers/{name}", openapi_extra=_RUN)
def set_trigger(name: str, body: TriggerBody, app: Application, caller: Caller) -> dict[str, Any]:
    """Declare that alerts of an endpoint, or new versions of a dataset, start a pipeline."""
    fields = body.model_dump() | {"alert_kinds": tuple(body.alert_kinds)}
    return app.triggers.set(caller, Trigger(name=name, **fields))


@router.delete("/pipeline-triggers/{name}", status_code=204, openapi_extra=_RUN)
def remove_trigger(name: str, app: Application, caller: Caller) -> None:
    """Remove a trigger; its runs stay."""
    app.triggers.remove(caller, name)


@router.get("/pipelines/{name}/limits", openapi_extra=_READ)
def show_limits(name: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show the limits of a pipeline, what counts against them, and why no run may begin now, if so."""
    return app.pipeline_limits.get(name)


@router.put("/pipelines/{name}/limits", openapi_extra=_RUN)
def set_limits(name: str, body: LimitsBody, app: Application, caller: Caller) -> dict[str, Any]:
    """Set the limits of a pipeline; what is left out has none. Runs under way go on, queued ones wait."""
    return app.pipeline_limits.set(caller, Limits(pipeline=name, **body.model_dump()))


@router.get("/pipeline-backfills", openapi_extra=_READ)
def list_backfills(app: Application, caller: Caller, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List the newest backfills, newest first."""
    return [one.as_dict() for one in app.backfills.all(limit=limit)]


@router.post("/pipeline-backfills", status_code=201, openapi_extra=_RUN)
def start_backfill(body: BackfillBody, app: Application, caller: Caller) -> dict[str, Any]:
    """Run a pipeline once for each nominal time of a schedule, or each version of a dataset, in a range."""
    if bool(body.schedule) == bool(body.dataset):
        raise InvalidInput("A backfill is over a schedule or over a dataset.", next_step="Name exactly one of them.")
    if body.schedule:
        items = app.backfills.times(body.schedule, parse_iso(body.start), parse_iso(body.end))
    else:
        items = app.backfills.versions(body.dataset, body.first, body.last)
    return app.backfills.start(
        caller, body.pipeline, body.parameter, items, parameters=body.parameters, parallel_max=body.parallel_max, project=body.project,
        priority=body.priority,
    ).as_dict()  # fmt: skip


@router.get("/pipeline-backfills/{backfill_id}", openapi_extra=_READ)
def show_backfill(backfill_id: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a backfill with the number of its runs in each state."""
    return app.backfills.get(backfill_id).as_dict()


@router.post("/pipeline-backfills/{backfill_id}/cancel", openapi_extra=_RUN)
def cancel_backfill(backfill_id: str, app: Application, caller: Caller) -> dict[str, Any]:
    """Ask for no more runs, and cancel those that are queued or under way."""
    return app.backfills.cancel(caller, backfill_id).as_dict()


@router.post("/pipeline-backfills/{backfill_id}/resume", openapi_extra=_RUN)
def resume_backfill(backfill_id: str, app: Application, caller: Caller) -> dict[str, Any]:
    """Go on with a backfill that is cancelled or done: items without a run that succeeded are run."""
    return app.backfills.resume(caller, backfill_id).as_dict()


@router.get("/pipeline-approvals", openapi_extra=_READ)
def list_open_approvals(app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List the questions that steps wait with, oldest first."""
    return [one.as_dict() for one in app.approvals.open()]


@router.get("/pipeline-runs/{run_id}/approvals", openapi_extra=_READ)
def list_approvals(run_id: str, app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List the questions of a run and their answers."""
    return [one.as_dict() for one in app.approvals.of(run_id)]


@router.post("/pipeline-runs/{run_id}/steps/{node}/approve", openapi_extra=_APPROVE)
def approve_step(run_id: str, node: str, body: Answer, app: Application, caller: Caller) -> dict[str, Any]:
    """Let a step run that waits for approval; who asked for the run cannot."""
    return app.approvals.approve(caller, run_id, node, body.reason).as_dict()


@router.post("/pipeline-runs/{run_id}/steps/{node}/reject", openapi_extra=_APPROVE)
def reject_step(run_id: str, node: str, body: Answer, app: Application, caller: Caller) -> dict[str, Any]:
    """Let a step fail that waits for approval, and with it its run; who asked for the run cannot."""
    return app.approvals.reject(caller, run_id, node, body.reason).as_dict()
