"""The ASGI application: routes, their permissions, MLflow, and the layer around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi

from gateline.server import pages, problems
from gateline.server.boundary import Boundary
from gateline.server.routes import ROUTERS
from gateline.server.security import authorized, check_routes
from gateline.server.status import installed_version

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

    from gateline.app import App

PREFIX = "/api/v1"

_PROBLEM = {"description": "A problem document (RFC 9457).", "content": {problems.MEDIA_TYPE: {"schema": problems.SCHEMA}}}


def create_app(app: App) -> FastAPI:
    """Return the ASGI application over wired services; starting and stopping them is the caller's part.

    Raises:
        ConfigurationError: a route declares no permission, or two routes claim one path.
    """
    api = FastAPI(
        title="Gateline",
        version=installed_version(),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    api.state.application = app
    api.mount("/mlflow", app.mlflow.asgi)  # first, so that its many small requests do not pass by every other route
    check_routes([*ROUTERS, pages.router])
    for router in ROUTERS:
        api.include_router(router, prefix=PREFIX, dependencies=[Depends(authorized)], responses={"4XX": _PROBLEM, "5XX": _PROBLEM})
    api.include_router(pages.router)
    problems.install(api)
    api.add_middleware(Boundary)
    api.openapi = lambda: _openapi(api)  # type: ignore[method-assign]
    return api


def _operation_id(route: APIRoute) -> str:
    return f"{route.tags[0] if route.tags else 'system'}-{route.name}"


def _openapi(api: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, made once."""
    if api.openapi_schema is None:
        document = get_openapi(title=api.title, version=api.version, routes=api.routes)
        document.setdefault("components", {})["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        api.openapi_schema = document
    return api.openapi_schema
