"""Releases and rollouts."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.rollout import RolloutPlan
from gateline.server.security import Application, Caller, permission

router = APIRouter(tags=["rollout"])


class ReleaseRequest(BaseModel):
    """Which approved version goes to which endpoint, and how carefully."""

    model_config = ConfigDict(extra="forbid")

    model_version: str
    endpoint: str
    plan: dict[str, Any] = {}


class Reason(BaseModel):
    """Why a person acts."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=1000)


@router.post("/releases", status_code=201, openapi_extra=permission(Permission.MODEL_RELEASE))
def release(body: ReleaseRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Start the rollout of an approved version."""
    released = app.rollouts.release(caller, body.model_version, body.endpoint, RolloutPlan.from_dict(body.plan))
    app.reconcilers.wake()
    return released.as_dict()


@router.get("/rollouts", openapi_extra=permission(Permission.ROLLOUT_READ))
def list_rollouts(app: Application, caller: Caller, endpoint: str = "") -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List rollouts, newest first, of one endpoint or of all."""
    return [rollout.as_dict() for rollout in app.rollouts.list(endpoint)]


@router.get("/rollouts/{rollout_id}", openapi_extra=permission(Permission.ROLLOUT_READ))
def show_rollout(rollout_id: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a rollout with its evidence."""
    return app.rollouts.get(rollout_id).as_dict()


@router.post("/rollouts/{rollout_id}/rollback", openapi_extra=permission(Permission.ROLLOUT_CONTROL))
def roll_back(rollout_id: str, body: Reason, app: Application, caller: Caller) -> dict[str, Any]:
    """Take a version back by hand; the route before it is published in the same transaction."""
    taken_back = app.rollouts.roll_back(caller, rollout_id, body.reason)
    app.reconcilers.wake()
    return taken_back.as_dict()


@router.post("/rollouts/{rollout_id}/pause", openapi_extra=permission(Permission.ROLLOUT_CONTROL))
def pause(rollout_id: str, body: Reason, app: Application, caller: Caller) -> dict[str, Any]:
    """Hold a canary at its present share."""
    return app.rollouts.pause(caller, rollout_id, body.reason).as_dict()


@router.post("/rollouts/{rollout_id}/resume", openapi_extra=permission(Permission.ROLLOUT_CONTROL))
def resume(rollout_id: str, body: Reason, app: Application, caller: Caller) -> dict[str, Any]:
    """Let a paused canary go on."""
    return app.rollouts.resume(caller, rollout_id, body.reason).as_dict()
