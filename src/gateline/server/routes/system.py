"""The server itself: status, health, and the description of the API."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from gateline.access import Permission
from gateline.server.security import Application, permission, public
from gateline.server.status import health, status

router = APIRouter(tags=["system"])


@router.get("/health", openapi_extra=public("a load balancer has no token; it learns only that the server answers"))
def read_health(app: Application) -> dict[str, Any]:
    """Say that the server answers, which version it is and whether MLflow is ready."""
    return health(app)


@router.get("/status", openapi_extra=permission(Permission.SYSTEM_READ))
def read_status(app: Application) -> dict[str, Any]:
    """Return where the records are and how much they hold."""
    return status(app)


@router.get("/openapi.json", include_in_schema=False, openapi_extra=public("the description of the API holds no records"))
def read_openapi(request: Request) -> dict[str, Any]:
    """Return the OpenAPI document; each operation names the permission it takes."""
    document: dict[str, Any] = request.app.openapi()
    return document
