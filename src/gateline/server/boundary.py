"""The outermost layer around the application: request ids, limits, security headers, the log, and the last catch."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from gateline.kernel.errors import InvalidInput, TooLarge
from gateline.kernel.ids import new_id
from gateline.kernel.limits import REQUEST_BYTES_MAX, UPLOAD_BYTES_MAX
from gateline.server.problems import problem, unexpected

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

UPLOAD = "/api/v1/files"
FOREIGN = "/mlflow"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = structlog.get_logger(__name__)


class Boundary:
    """ASGI middleware that lets nothing in without a limit and nothing out without its headers.

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        with structlog.contextvars.bound_contextvars(request_id=exchange.request_id):
            await exchange.run(self._app)


class Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else new_id("req")
        self._scope, self._receive, self._send = scope, receive, send
        self._path: str = scope["path"]
        self._foreign = f"{self._path}/".startswith(f"{FOREIGN}/")
        self._limit = UPLOAD_BYTES_MAX if self._foreign or self._path == UPLOAD else REQUEST_BYTES_MAX
        self._length = headers.get("content-length", "0")
        self._received = 0
        self._status = 0
        scope.setdefault("state", {})["request_id"] = self.request_id

    async def run(self, app: ASGIApp) -> None:
        """Let the application answer; what it raises becomes a problem document."""
        started = time.perf_counter()
        try:
            if not self._length.isdecimal():
                await self._refuse(InvalidInput("The Content-Length header is no number."))
            elif int(self._length) > self._limit:
                await self._refuse(TooLarge(f"The body has {int(self._length):,} bytes; the limit is {self._limit:,}."))
            else:
                await app(self._scope, self._limited_receive, self._dressed_send)
        except Exception as error:
            if self._status:  # too late for another answer: cutting the connection tells the client that it is incomplete
                _log.error("http.broken_off", exc_info=error)
                raise
            await unexpected(error, self.request_id)(self._scope, self._receive, self._dressed_send)
        finally:
            duration_ms = round((time.perf_counter() - started) * 1000, 1)
            _log.info("http.request", method=self._scope["method"], path=self._path, status=self._status, duration_ms=duration_ms)

    async def _refuse(self, error: InvalidInput | TooLarge) -> None:
        response = problem(error, self.request_id, headers={"connection": "close"})
        await response(self._scope, self._receive, self._dressed_send)

    async def _limited_receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                raise HTTPException(413, detail=f"more than {self._limit:,} bytes.")
        return message

    async def _dressed_send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.request_id
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "same-origin"
            if not self._foreign:
                headers.setdefault("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
                headers.setdefault("cache-control", "no-store")
        await self._send(message)
