"""What every route declares, and what is enforced because of it: the permission of its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from gateline.access import Permission, Principal, PrincipalKind
from gateline.app import App
from gateline.kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastapi import APIRouter

PERMISSION = "x-gateline-permission"
PUBLIC = "x-gateline-public"
ANONYMOUS = Principal(name="anonymous", kind=PrincipalKind.SERVICE, roles=frozenset())


def permission(needed: Permission) -> dict[str, Any]:
    """Return the `openapi_extra` of a route whose caller needs this permission; it is enforced and shown in OpenAPI."""
    return {PERMISSION: needed.value, "security": [{"bearer": []}]}


def public(reason: str) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that anybody may call, with the reason why that is right."""
    return {PUBLIC: reason, "security": []}


async def application(request: Request) -> App:
    """Return the application that the server was made for."""
    app: App = request.app.state.application
    return app


Application = Annotated[App, Depends(application)]


def bearer(authorization: str) -> str:
    """Return the token of an Authorization header, or nothing when it is no bearer token (RFC 6750).

    >>> bearer("Bearer gl_secret")
    'gl_secret'
    """
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def authorized(request: Request, app: Application) -> Principal:
    """Return the caller, who holds the permission that the route declares.

    Raises:
        Unauthenticated: no valid token was sent.
        Denied: no role of the caller carries the permission.
    """
    declared = _declaration(request.scope["route"])
    if PUBLIC in declared:
        return ANONYMOUS
    token = bearer(request.headers.get("authorization", ""))
    principal = app.access.recognise(token)
    if principal is None:
        principal = await run_in_threadpool(app.access.authenticate, token)
    app.access.require_at_door(principal, Permission(declared[PERMISSION]))
    return principal


Caller = Annotated[Principal, Depends(authorized)]


def check_routes(routers: Iterable[APIRouter]) -> None:
    """Refuse routes that declare no permission, and paths that two routes claim.

    Raises:
        ConfigurationError: naming every such route.
    """
    mistakes: list[str] = []
    claimed: dict[tuple[str, str], str] = {}
    for router in routers:
        for route in router.routes:
            if not isinstance(route, APIRoute):
                mistakes.append(f"{route!r} is no plain HTTP route")
                continue
            declared = _declaration(route)
            if (PERMISSION in declared) == (PUBLIC in declared):
                mistakes.append(f"{route.path} ({route.name}) declares no permission")
            for method in sorted(route.methods or ()):
                other = claimed.setdefault((method, route.path), route.name)
                if other != route.name:
                    mistakes.append(f"{method} {route.path} is claimed by {other} and {route.name}")
    if mistakes:
        raise ConfigurationError(
            f"Routes are not fit to be served: {'; '.join(mistakes)}.", next_step="Declare openapi_extra=permission(Permission.…) on each."
        )


def _declaration(route: APIRoute) -> dict[str, Any]:
    return route.openapi_extra or {}
