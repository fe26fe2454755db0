"""Pipeline runs: ask for one, execute one under a lease, declare what alerts start."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
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


class Runner(_Body):
    """Who executes."""

    runner: str = Field(min_length=1, max_length=200)


class StepStart(Runner):
    """A step about to run."""

    key: str = Field(pattern="^[0-9a-f]{64}$")


class StepArtifact(_Body):
    """What a step returned."""

    kind: Literal["frame", "file", "json"]
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class StepFinish(Runner):
    """A step that returned."""

    artifact: StepArtifact


class RunFinish(Runner):
    """A run that ended."""

    result: dict[str, Any] = {}
    failure: str = Field(default="", max_length=10_000)


class RetrainingPlan(_Body):
    """When alerts start a pipeline."""

    pipeline: str
    alert_kinds: list[Literal["drift", "performance"]]
    cool_down_seconds: int = Field(ge=0)
    parameters: dict[str, Any] = {}


@router.post("/pipelines/{name}/runs", status_code=201, openapi_extra=permission(Permission.PIPELINE_RUN))
def request_run(name: str, body: RunRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Queue a run of a pipeline; the same request_key again returns the run it named before."""
    run = app.pipelines.request(caller, name, body.parameters, reason=body.reason, request_key=body.request_key)
    return run.as_dict()


@router.get("/pipeline-runs", openapi_extra=permission(Permission.PIPELINE_READ))
def list_runs(app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List the newest runs, newest first."""
    return [run.as_dict() for run in app.pipelines.list()]


@router.get("/pipeline-runs/{run_id}", openapi_extra=permission(Permission.PIPELINE_READ))
def show_run(run_id: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a run with its steps."""
    return app.pipelines.get(run_id).as_dict()


@router.post("/pipeline-runs/claim", openapi_extra=permission(Permission.PIPELINE_WORK))
def claim_run(body: Runner, app: Application, caller: Caller) -> dict[str, Any]:
    """Take the oldest run that waits; `run` is null when there is none."""
    run = app.pipelines.claim(caller, body.runner)
    return {"run": None if run is None else run.as_dict()}


@router.post("/pipeline-runs/{run_id}/heartbeat", openapi_extra=permission(Permission.PIPELINE_WORK))
def heartbeat(run_id: str, body: Runner, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Prolong the lease of a run."""
    app.pipelines.heartbeat(run_id, body.runner)
    return {}


@router.post("/pipeline-runs/{run_id}/steps/{name}/start", openapi_extra=permission(Permission.PIPELINE_WORK))
def start_step(run_id: str, name: str, body: StepStart, app: Application, caller: Caller) -> dict[str, Any]:
    """Begin a step; its `artifact` is set at once when the same was computed before."""
    return app.pipelines.start_step(caller, run_id, body.runner, name, body.key).as_dict()


@router.post("/pipeline-runs/{run_id}/steps/{name}/finish", openapi_extra=permission(Permission.PIPELINE_WORK))
def finish_step(run_id: str, name: str, body: StepFinish, app: Application, caller: Caller) -> dict[str, Any]:
    """Record what a step returned."""
    return app.pipelines.finish_step(caller, run_id, body.runner, name, **body.artifact.model_dump()).as_dict()


@router.post("/pipeline-runs/{run_id}/finish", openapi_extra=permission(Permission.PIPELINE_WORK))
def finish_run(run_id: str, body: RunFinish, app: Application, caller: Caller) -> dict[str, Any]:
    """Close a run."""
    return app.pipelines.finish(caller, run_id, body.runner, result=body.result, failure=body.failure).as_dict()


@router.put("/endpoints/{name}/retraining", openapi_extra=permission(Permission.PIPELINE_RUN))
def set_retraining(name: str, body: RetrainingPlan, app: Application, caller: Caller) -> dict[str, Any]:
    """Declare when alerts of an endpoint start a pipeline."""
    plan = Retraining(
        endpoint=name, pipeline=body.pipeline, alert_kinds=tuple(body.alert_kinds), cool_down_seconds=body.cool_down_seconds,
        parameters=body.parameters,
    )  # fmt: skip
    return app.pipelines.set_retraining(caller, plan).as_dict()
