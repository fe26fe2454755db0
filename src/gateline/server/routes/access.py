"""Principals and API tokens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission, PrincipalKind
from gateline.kernel.clock import parse_iso
from gateline.kernel.limits import NAME_LENGTH_MAX
from gateline.server.security import Application, Caller, permission

router = APIRouter(tags=["access"])

Name = Annotated[str, Field(max_length=NAME_LENGTH_MAX)]


class NewPrincipal(BaseModel):
    """A person or service to create."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    roles: list[Name] = Field(max_length=32)
    kind: PrincipalKind = PrincipalKind.PERSON


class NewToken(BaseModel):
    """A token to create."""

    model_config = ConfigDict(extra="forbid")

    principal: Name
    expires_at: str | None = Field(default=None, max_length=64, description="ISO 8601 with an offset; null for no end")


@router.post("/principals", status_code=201, openapi_extra=permission(Permission.ACCESS_ADMIN))
def create_principal(app: Application, caller: Caller, body: NewPrincipal) -> dict[str, Any]:
    """Create a principal; the same call again changes nothing."""
    return app.access.create_principal(caller.name, body.name, body.roles, body.kind).as_dict()


@router.get("/principals", openapi_extra=permission(Permission.ACCESS_ADMIN))
def list_principals(app: Application) -> list[dict[str, Any]]:
    """Return every principal."""
    return [principal.as_dict() for principal in app.access.principals()]


@router.get("/principals/me", openapi_extra=permission(Permission.SYSTEM_READ))
def read_caller(app: Application, caller: Caller) -> dict[str, Any]:
    """Return the caller and what it may do."""
    allowed = [one.value for one in Permission if app.access.admits(caller, one).allowed]
    return {**caller.as_dict(), "permissions": allowed}


@router.post("/tokens", status_code=201, openapi_extra=permission(Permission.ACCESS_ADMIN))
def create_token(app: Application, caller: Caller, body: NewToken) -> dict[str, Any]:
    """Create a token; its secret is in this answer and nowhere else."""
    expires = None if body.expires_at is None else parse_iso(body.expires_at)
    secret = app.access.create_token(caller.name, body.principal, expires)
    return {**app.access.find_token(secret).as_dict(), "token": secret}


@router.get("/tokens", openapi_extra=permission(Permission.ACCESS_ADMIN))
def list_tokens(app: Application, principal: str = "") -> list[dict[str, Any]]:
    """Return the tokens of one principal, or of all, without their secrets."""
    return [token.as_dict() for token in app.access.tokens(principal)]


@router.post("/tokens/{token_id}/revoke", openapi_extra=permission(Permission.ACCESS_ADMIN))
def revoke_token(app: Application, caller: Caller, token_id: str) -> dict[str, Any]:
    """Make a token worthless, for good."""
    return app.access.revoke_token(caller.name, token_id).as_dict()
