"""The front page and the health check, which need no caller."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from gateline.server.security import Application, public
from gateline.server.status import health

router = APIRouter(include_in_schema=False)

_STYLE = "body{font:16px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:40rem;padding:0 1rem}dt{font-weight:600}dd{margin:0 0 .5rem}"
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'"


@router.get("/health", openapi_extra=public("a load balancer has no token; it learns only that the server answers"))
def read_health(app: Application) -> dict[str, Any]:
    """Say that the server answers."""
    return health(app)


@router.get("/", openapi_extra=public("the page says only that the server answers, and where things are"))
def read_front_page(app: Application) -> Response:
    """Return the front page: whether the parts work, and where to go."""
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in health(app).items())
    links = '<li><a href="/api/v1/openapi.json">the REST API, described</a></li>'
    if app.settings.mlflow:
        links += '<li><a href="/mlflow/">MLflow</a></li>'
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Gateline</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>Gateline</h1><dl>{facts}</dl><ul>{links}</ul>"
        "<p>On the command line: <code>gateline status</code>, <code>gateline --help</code>.</p></body></html>"
    )
    return Response(page, media_type="text/html", headers={"content-security-policy": _POLICY})


@router.get("/mlflow", openapi_extra=public("it only adds the slash that MLflow's relative links need"))
def redirect_to_mlflow() -> Response:
    """Lead to MLflow's own pages."""
    return RedirectResponse("/mlflow/", status_code=308)
