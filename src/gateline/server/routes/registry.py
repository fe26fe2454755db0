"""Models, their versions, approvals and history."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.kernel.limits import NAME_LENGTH_MAX, PAGE_ROWS_MAX, TEXT_LENGTH_MAX
from gateline.kernel.names import version_id
from gateline.registry import Meaning, ModelVersion
from gateline.reproduction import Reproduction
from gateline.server.security import Application, Caller, permission

router = APIRouter(prefix="/models", tags=["models"])

Name = Annotated[str, Path(max_length=NAME_LENGTH_MAX)]
Number = Annotated[int, Path(ge=1, le=2**31)]
_REPRODUCTIONS_SHOWN = 10
Words = Annotated[str, Field(min_length=1, max_length=TEXT_LENGTH_MAX)]


class VersionRequest(BaseModel):
    """A model version with all that it was made from. Times are UTC microseconds."""

    model_config = ConfigDict(extra="forbid")

    run_id: str = ""
    model_files: dict[str, str] = {}
    gate_run_id: str = ""
    feature_set: str = ""
    dataset_versions: list[str] = []
    training_frame: str = ""
    metrics: dict[str, float] = {}
    owner: str = ""
    trained_from: int
    trained_until: int
    description: str = ""


class ApprovalRequest(BaseModel):
    """A signature: what it means and why it is given."""

    model_config = ConfigDict(extra="forbid")

    meaning: Meaning
    comment: Words


class RejectionRequest(BaseModel):
    """Why a version is turned down."""

    model_config = ConfigDict(extra="forbid")

    reason: Words


class GateRunReference(BaseModel):
    """The gate run that makes a version a candidate."""

    model_config = ConfigDict(extra="forbid")

    gate_run_id: str


@router.get("", openapi_extra=permission(Permission.MODEL_READ))
def list_models(app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List models with the version placed in each environment."""
    return [model.as_dict() for model in app.registry.models()]


@router.post("/{name}/versions", status_code=201, openapi_extra=permission(Permission.MODEL_REGISTER))
def register_version(name: Name, body: VersionRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Register a version; the caller is its author. All that is missing is named at once."""
    return app.registry.register(caller.name, name, **body.model_dump()).as_dict()


@router.get("/{name}/versions", openapi_extra=permission(Permission.MODEL_READ))
def list_versions(name: Name, app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List the versions of a model, newest first."""
    return [version.as_dict() for version in app.registry.versions(name)]


@router.get("/{name}/versions/{number}", openapi_extra=permission(Permission.MODEL_READ))
def show_version(name: Name, number: Number, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a version with its approvals, everybody who contributed to it, and the newest grades of making it again."""
    return _with_people(app, app.registry.get(version_id(name, number)))


@router.post("/{name}/versions/{number}/approvals", status_code=201, openapi_extra=permission(Permission.MODEL_APPROVE))
def approve_version(name: Name, number: Number, body: ApprovalRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Sign a version. Whoever contributed to it is refused, and the refusal is recorded."""
    return app.registry.approve(caller, version_id(name, number), body.meaning, body.comment).as_dict()


@router.get("/{name}/versions/{number}/approvals", openapi_extra=permission(Permission.MODEL_READ))
def list_approvals(name: Name, number: Number, app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List the signatures under a version, oldest first."""
    return [approval.as_dict() for approval in app.registry.approvals(version_id(name, number))]


@router.post("/{name}/versions/{number}/rejection", openapi_extra=permission(Permission.MODEL_APPROVE))
def reject_version(name: Name, number: Number, body: RejectionRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Turn a version down for good; one that serves has to be rolled back first."""
    return app.registry.turn_down(caller.name, version_id(name, number), body.reason).as_dict()


@router.post("/{name}/versions/{number}/gate-run", openapi_extra=permission(Permission.MODEL_REGISTER))
def attach_gate_run(name: Name, number: Number, body: GateRunReference, app: Application, caller: Caller) -> dict[str, Any]:
    """Make a version in development a candidate by a gate run that passed on it."""
    return app.registry.attach_gate_run(caller.name, version_id(name, number), body.gate_run_id).as_dict()


@router.get("/{name}/history", openapi_extra=permission(Permission.MODEL_READ))
def show_history(
    name: Name,
    app: Application,
    caller: Caller,  # noqa: ARG001 - the caller is checked
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = PAGE_ROWS_MAX,
) -> list[dict[str, Any]]:
    """Say what happened to the versions of a model, oldest first: who, when, what and why."""
    return [entry.as_dict() for entry in app.registry.history(name, limit=limit)]


def _with_people(app: Application, version: ModelVersion) -> dict[str, Any]:
    contributors = app.registry.contributors(version.id)
    return {
        **version.as_dict(),
        "approvals": [approval.as_dict() for approval in app.registry.approvals(version.id)],
        "contributors": None if contributors is None else sorted(contributors),
        "reproductions": [_reproduction(one) for one in app.reproductions.of(version.id, limit=_REPRODUCTIONS_SHOWN)],
    }


def _reproduction(one: Reproduction) -> dict[str, Any]:
    """Return a reproduction without all that was compared."""
    return {name: value for name, value in one.as_dict().items() if name != "compared"}
