"""Errors as problem documents (RFC 9457): one shape for every refusal, whatever raised it."""

from __future__ import annotations

import errno
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from gateline.kernel.errors import GatelineError, InvalidInput, NotFound, RateLimited, StorageFull, TooLarge, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1
_MISTAKES_MAX = 100

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "next_step", "facts", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "urn:gateline:error: and the code"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what went wrong, with which thing, and why"},
        "code": {"type": "string", "description": "stable code of the error"},
        "next_step": {"type": "string", "description": "what to do about it; may be empty"},
        "facts": {"type": "object", "description": "values for programs"},
        "request_id": {"type": "string", "description": "id under which the server logged the request"},
    },
}

_log = structlog.get_logger(__name__)


def problem(error: GatelineError, request_id: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return the problem document of an error."""
    return _document(
        error.code, error.status, error.message, error.next_step, error.facts, request_id, {**_headers(error), **(headers or {})}
    )


def unexpected(error: Exception, request_id: str) -> Response:
    """Return the document of an error nobody foresaw; what it was is in the log, not in the answer."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return problem(
            StorageFull("No space is left on the server's disk.", next_step="Free space and send the request again."), request_id
        )
    _log.error("http.failed", request_id=request_id, exc_info=error)
    return _document(
        GatelineError.code,
        GatelineError.status,
        "The server failed in a way nobody foresaw.",
        f"Look for request id {request_id} in the server's log, and report what it says.",
        {},
        request_id,
        {},
    )


def install(api: FastAPI) -> None:
    """Answer every error of the application with a problem document."""

    async def known(request: Request, error: Exception) -> Response:
        return problem(cast("GatelineError", error), request.state.request_id)

    async def invalid(request: Request, error: Exception) -> Response:
        return problem(invalid_input(cast("RequestValidationError", error)), request.state.request_id)

    async def http(request: Request, error: Exception) -> Response:
        return _http_problem(cast("HTTPException", error), request)

    api.add_exception_handler(GatelineError, known)
    api.add_exception_handler(RequestValidationError, invalid)
    api.add_exception_handler(HTTPException, http)


def invalid_input(error: RequestValidationError) -> InvalidInput:
    """Return one error that names every mistake in a request. Values are not repeated: they may be secrets."""
    mistakes = [
        {"where": _place(one["loc"]), "kind": str(one["type"]), "problem": str(one["msg"])} for one in error.errors()[:_MISTAKES_MAX]
    ]
    listed = "; ".join(f"{one['where']}: {one['problem']}" for one in mistakes)
    return InvalidInput(
        f"The request has {len(mistakes)} {'mistake' if len(mistakes) == 1 else 'mistakes'}: {listed}.",
        next_step="The API is described at /api/v1/openapi.json.",
        facts={"mistakes": mistakes},
    )


def _place(location: tuple[int | str, ...]) -> str:
    """Return where a mistake is.

    >>> _place(("body", "roles", 0))
    'body.roles[0]'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _http_problem(error: HTTPException, request: Request) -> Response:
    """Return the document of an error that the framework raised."""
    request_id, what = request.state.request_id, f"{request.method} {request.url.path}"
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.NOT_FOUND:
        return problem(NotFound(f"There is nothing at {what}.", next_step="The API is described at /api/v1/openapi.json."), request_id)
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return problem(TooLarge(f"The body of {what} is too large: {error.detail}"), request_id, headers=headers)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return problem(InvalidInput(f"{what} could not be read: {error.detail}."), request_id, headers=headers)
    status = HTTPStatus(error.status_code)
    allowed = f"It allows {headers['Allow']}." if "Allow" in headers else ""
    return _document(status.name.lower(), status, f"{what}: {error.detail}.", allowed, {}, request_id, headers)


def _headers(error: GatelineError) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"www-authenticate": 'Bearer realm="gateline"'}
    if isinstance(error, (RateLimited, Unavailable)):
        return {"retry-after": str(RETRY_AFTER_SECONDS)}
    return {}


def _document(
    code: str, status: int, detail: str, next_step: str, facts: Mapping[str, Any], request_id: str, headers: Mapping[str, str]
) -> Response:
    content = {
        "type": f"urn:gateline:error:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": int(status),
        "detail": detail,
        "code": code,
        "next_step": next_step,
        "facts": dict(facts),
        "request_id": request_id,
    }
    return JSONResponse(content, status_code=status, headers=dict(headers), media_type=MEDIA_TYPE)
