"""Pipeline runs: ask for one, follow it, cancel it, declare what alerts start."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.pipelines import Retraining
from gateline.server.security import Application, Caller, permission

router = APIRouter(tags=["pipelines"])


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RunRequest(_Body):
    """What a run is asked for with."""

    parameters: dict[str, Any] = {}
    reason: str = Field(default="", max_length=1000)
    request_key: str = Field(default="", max_length=200)
    project: str = Field(default="", max_length=100)
    priority: int = Field(default=0, ge=-1000, le=1000)


class Drawn(_Body):
    """The plan of a run, with the digests of its code and environment."""

    plan: dict[str, Any]
    codes: dict[str, str]
    environment: str = Field(pattern="^[0-9a-f]{64}$")


class RetrainingPlan(_Body):
    """When alerts start a pipeline."""

    pipeline: str
    alert_kinds: list[Literal["drift", "performance"]]
    cool_down_seconds: int = Field(ge=0)
    parameters: dict[str, Any] = {}


@router.post("/pipelines/{name}/runs", status_code=201, openapi_extra=permission(Permission.PIPELINE_RUN))
def request_run(name: str, body: RunRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Queue a run of a pipeline; the same request_key again returns the run it named before."""
    return app.pipelines.request(
        caller, name, body.parameters, reason=body.reason, request_key=body.request_key, project=body.project, priority=body.priority
    ).as_dict()


@router.post("/pipeline-plans/preview", openapi_extra=permission(Permission.PIPELINE_READ))
def preview_plan(body: Drawn, app: Application, caller: Caller) -> dict[str, str]:  # noqa: ARG001 - the caller is checked
    """Say for each node what a run would do now: reuse, run, skip, fail, or unknown before earlier ones ran. Nothing is recorded."""
    return app.pipelines.preview(body.plan, body.codes, body.environment)


@router.get("/pipeline-runs", openapi_extra=permission(Permission.PIPELINE_READ))
def list_runs(app: Application, caller: Caller, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List the newest runs, newest first, without their steps."""
    return [run.as_dict() for run in app.pipelines.newest(limit=limit)]


@router.get("/pipeline-runs/{run_id}", openapi_extra=permission(Permission.PIPELINE_READ))
def show_run(run_id: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a run with its steps, in the order of the plan."""
    return app.pipelines.get(run_id).as_dict()


@router.get("/pipeline-runs/{run_id}/plan", openapi_extra=permission(Permission.PIPELINE_READ))
def show_plan(run_id: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show the plan of a run; empty before a runner has drawn it."""
    return app.pipelines.plan(run_id)


@router.get("/pipeline-runs/{run_id}/attempts", openapi_extra=permission(Permission.PIPELINE_READ))
def list_attempts(run_id: str, app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List every attempt at the steps of a run, oldest first: runner, times, outcome, processor time, memory."""
    return [attempt.as_dict() for attempt in app.pipelines.attempts(run_id)]


@router.get("/pipeline-runs/{run_id}/steps/{node}/output", openapi_extra=permission(Permission.PIPELINE_READ))
def show_output(
    run_id: str,
    node: str,
    app: Application,
    caller: Caller,  # noqa: ARG001 - the caller is checked
    index: Annotated[int, Query(ge=0)] = 0,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """Show what the newest attempt at a step has written, from a position on; ask again from `offset` until it is `over`."""
    return app.pipelines.output(run_id, node, index, offset=offset)


@router.post("/pipeline-runs/{run_id}/cancel", openapi_extra=permission(Permission.PIPELINE_RUN))
def cancel_run(run_id: str, app: Application, caller: Caller) -> dict[str, Any]:
    """Ask for a run to end; a run that is over stays as it is."""
    return app.pipelines.cancel(caller, run_id).as_dict()


@router.post("/pipeline-runs/{run_id}/retry", status_code=201, openapi_extra=permission(Permission.PIPELINE_RUN))
def retry_run(run_id: str, app: Application, caller: Caller) -> dict[str, Any]:
    """Queue a run with the parameters of another; steps that need not run again are reused."""
    return app.pipelines.retry(caller, run_id).as_dict()


@router.put("/endpoints/{name}/retraining", openapi_extra=permission(Permission.PIPELINE_RUN))
def set_retraining(name: str, body: RetrainingPlan, app: Application, caller: Caller) -> dict[str, Any]:
    """Declare when alerts of an endpoint start a pipeline."""
    plan = Retraining(
        endpoint=name, pipeline=body.pipeline, alert_kinds=tuple(body.alert_kinds), cool_down_seconds=body.cool_down_seconds,
        parameters=body.parameters,
    )  # fmt: skip
    return app.triggers.set_retraining(caller, plan).as_dict()
