"""Which features derive from personal or protected columns."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.server.security import Application, Caller, permission

router = APIRouter(prefix="/feature-sets", tags=["feature sets"])


class NotPersonalRequest(BaseModel):
    """A feature made of personal columns that is no personal data, and why."""

    model_config = ConfigDict(extra="forbid")

    feature: str
    reason: str = Field(min_length=1, max_length=10_000)


@router.get("/{name}/versions/{version}/marks", openapi_extra=permission(Permission.FEATURE_READ))
def show_feature_marks(name: str, version: int, app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List the features of a version with the personal and protected columns they derive from, under the contracts now in force."""
    return [one.as_dict() for one in app.marks.of(name, version)]


@router.post("/{name}/versions/{version}/not-personal", status_code=201, openapi_extra=permission(Permission.FEATURE_WRITE))
def declare_not_personal(name: str, version: int, body: NotPersonalRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Declare that a feature made of personal columns is no personal data; it holds until feature or marks change."""
    return app.marks.declare_not_personal(caller.name, name, version, body.feature, body.reason).as_dict()
