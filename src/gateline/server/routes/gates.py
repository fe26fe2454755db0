"""Gate policies and gate runs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.gates import ModelSubject, parse_policy
from gateline.kernel.limits import PAGE_ROWS_MAX
from gateline.server.security import Application, Caller, permission

router = APIRouter(tags=["gates"])

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class PolicyRequest(BaseModel):
    """The `[gates]` table of gateline.toml."""

    model_config = ConfigDict(extra="forbid")

    policy: dict[str, Any]


class SubjectRequest(BaseModel):
    """The model to judge, named by content: run, files of the served form, the rows it was trained on and until when (UTC microseconds)."""

    model_config = ConfigDict(extra="forbid")

    run_id: str = Field(min_length=1, max_length=200)
    files: dict[str, Sha256] = Field(min_length=1, max_length=100)
    training_frame: Sha256
    trained_until: int


class GateRunRequest(BaseModel):
    """What to judge, on which rows, by which policy, and against which version."""

    model_config = ConfigDict(extra="forbid")

    subject: SubjectRequest
    frame: Sha256
    policy: dict[str, Any]
    champion: str = Field(default="", description="Id of the model version to compare with; empty compares with none.")
    suite: list[str] | None = Field(default=None, description="Checks to make; those the policy requires when left out.")
    force: bool = Field(default=False, description="Judge again what was judged already.")


@router.post("/gate-policies", status_code=201, openapi_extra=permission(Permission.GATE_RUN))
def record_policy(body: PolicyRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Write a policy down, so that gate runs may use it; recorded again, it keeps its first time."""
    return app.gates.record_policy(caller.name, parse_policy(body.policy)).as_dict()


@router.get("/gate-policies/{digest}", openapi_extra=permission(Permission.GATE_READ))
def show_policy(digest: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a recorded policy."""
    return app.gates.policy(digest).as_dict()


@router.post("/gate-runs", status_code=201, openapi_extra=permission(Permission.GATE_RUN))
def run_gates(body: GateRunRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Judge a model: the platform scores it itself. An equal request returns the earlier record unless `force`."""
    subject = ModelSubject(
        run_id=body.subject.run_id, files=body.subject.files, training_frame=body.subject.training_frame,
        trained_until=body.subject.trained_until,
    )  # fmt: skip
    champion = app.registry.get(body.champion).subject() if body.champion else None
    run = app.gates.run(
        caller.name, subject=subject, frame=body.frame, policy=parse_policy(body.policy), champion=champion, suite=body.suite,
        force=body.force,
    )  # fmt: skip
    return run.as_dict()


@router.get("/gate-runs", openapi_extra=permission(Permission.GATE_READ))
def list_gate_runs(
    app: Application,
    caller: Caller,  # noqa: ARG001 - the caller is checked
    subject_digest: str = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = 100,
) -> list[dict[str, Any]]:
    """List gate runs, newest first, of one model (digest of its files) or of all."""
    return [run.as_dict() for run in app.gates.runs(subject_digest=subject_digest, limit=limit)]


@router.get("/gate-runs/{gate_run_id}", openapi_extra=permission(Permission.GATE_READ))
def show_gate_run(gate_run_id: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a gate run with every result and its signature."""
    return app.gates.get(gate_run_id).as_dict()
