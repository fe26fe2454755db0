"""Every route declares what its caller needs, or the server does not start."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, WebSocket

from gateline.access import Permission
from gateline.kernel.errors import ConfigurationError
from gateline.server import pages
from gateline.server.routes import ROUTERS
from gateline.server.security import PERMISSION, PUBLIC, bearer, check_routes, permission, public


def router_with(*paths: str, **options: object) -> APIRouter:
    router = APIRouter()
    for number, path in enumerate(paths):
        router.add_api_route(path, lambda: None, name=f"route{number}", **options)  # type: ignore[arg-type]
    return router


def test_the_routes_of_the_server_are_fit_to_be_served() -> None:
    check_routes([*ROUTERS, pages.router])


def test_the_public_routes_are_these_and_no_others() -> None:
    routes = [route for router in [*ROUTERS, pages.router] for route in router.routes]
    public = {route.path for route in routes if PUBLIC in (route.openapi_extra or {})}  # type: ignore[attr-defined]
    assert public == {"/", "/health", "/mlflow", "/openapi.json", "/pipeline-work/take"}, "a job brings a ticket, not a token"


def test_a_route_without_permission_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"/forgotten \(route0\) declares no permission"):
        check_routes([router_with("/forgotten")])


def test_a_route_cannot_be_both_public_and_guarded() -> None:
    both = {**permission(Permission.DATASET_READ), **public("because")}
    assert {PERMISSION, PUBLIC} <= set(both)
    with pytest.raises(ConfigurationError):
        check_routes([router_with("/both", openapi_extra=both)])


def test_two_routes_that_claim_one_path_are_refused() -> None:
    guarded = permission(Permission.DATASET_READ)
    with pytest.raises(ConfigurationError, match="GET /same is claimed by route0 and route1"):
        check_routes([router_with("/same", "/same", openapi_extra=guarded)])


def test_anything_but_a_plain_route_is_refused() -> None:
    router = APIRouter()

    @router.websocket("/live")
    async def live(socket: WebSocket) -> None: ...

    with pytest.raises(ConfigurationError, match="no plain HTTP route"):
        check_routes([router])


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer gl_a", "gl_a"), ("bearer  gl_a ", "gl_a"), ("Basic gl_a", ""), ("gl_a", ""), ("", ""), ("Bearer", ""), ("Bearergl_a", "")],
)
def test_only_bearer_tokens_are_read(header: str, token: str) -> None:
    assert bearer(header) == token
