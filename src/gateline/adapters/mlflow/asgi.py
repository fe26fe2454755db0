"""The gate in front of MLflow: pure ASGI, deny by default.

In order: loaded, authenticated, listed, same origin, permitted, small enough. Only then is MLflow called, with the principal in context.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote, urlsplit

from anyio import to_thread

from gateline.access import Permission, Principal
from gateline.adapters.mlflow.guard import Acting, Guard, acting_as
from gateline.adapters.mlflow.messages import again, answer, may_log_metrics, whole_body
from gateline.adapters.mlflow.routes import permission_for
from gateline.kernel.errors import Denied, GatelineError, NotFound, Unauthenticated
from gateline.kernel.limits import REQUEST_BYTES_MAX, UPLOAD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateline.adapters.mlflow.loading import Loaded
    from gateline.adapters.mlflow.messages import Message, Receive, Send
    from gateline.adapters.mlflow.metrics import MetricRoute

_RETRY_AFTER_SECONDS = 2
_EARLY_BYTES_MAX = 64 << 10  # read before the principal is known: no more than the server buffers anyway
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class Gate:
    """MLflow's ASGI app behind Gateline's authentication, permissions and route list.

    Args:
        loaded: Returns MLflow, or None while it is not ready.
        status: Says why it is not ready.
        guard: Records refusals.
        authenticate: Returns the principal of a token; raises Unauthenticated.
        decide: Tells whether the principal holds the permission.
    """

    def __init__(
        self,
        loaded: Callable[[], Loaded | None],
        status: Callable[[], str],
        guard: Guard,
        authenticate: Callable[[str], Principal],
        decide: Callable[[Principal, Permission], bool],
    ) -> None:
        self._loaded = loaded
        self._status = status
        self._guard = guard
        self._authenticate = authenticate
        self._decide = decide

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        if scope["type"] != "http":
            return
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        loaded = self._loaded()
        if loaded is None:
            retry = [(b"retry-after", str(_RETRY_AFTER_SECONDS).encode())]
            await _answer(send, 503, "TEMPORARILY_UNAVAILABLE", f"{self._status()} Try again in a moment.", retry)
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        inner = {**scope, "path": path, "raw_path": quote(path).encode(), "root_path": ""}
        short = loaded.metrics if 0 < _length(headers) <= _EARLY_BYTES_MAX and may_log_metrics(inner) else None
        early = await whole_body(_limited(receive, _EARLY_BYTES_MAX)) if short else None
        try:
            who, done = await to_thread.run_sync(self._serve_early, short, scope["method"], path, headers, early)
        except GatelineError as error:
            extra = [(b"www-authenticate", b'Basic realm="Gateline: any user name, an API token as password"')]
            await _answer(send, error.status, _CODES.get(error.status, "BAD_REQUEST"), str(error), extra if error.status == 401 else [])
            return
        if done:
            await answer(send)
            return
        limit = UPLOAD_BYTES_MAX if "/mlflow-artifacts/" in path else REQUEST_BYTES_MAX
        if _length(headers) > limit:
            await _answer(send, 413, "BAD_REQUEST", f"The request is larger than {limit} bytes.", [])
            return
        with acting_as(who):
            if short is None or early is None:
                await loaded.app(inner, _limited(receive, limit), send)
            else:
                await short.behind(inner, again(early, receive), send)

    def _serve_early(
        self, short: MetricRoute | None, method: str, path: str, headers: dict[str, str], early: Message | None
    ) -> tuple[Acting, bool]:
        """Return who acts, and whether a small request that logs metrics has been served: both in one visit to a thread."""
        who = self._admit(method, path, headers)
        if short is None or early is None or early["type"] != "http.request":
            return who, False
        return who, short.log(path, early["body"])

    def _admit(self, method: str, path: str, headers: dict[str, str]) -> Acting:
        """Return who acts, or raise; runs in a thread because tokens and ledger are in the database."""
        if path == "/health" and method in _SAFE_METHODS:
            return Acting(name="anonymous", internal=False, request=f"{method} {path}")
        principal = self._authenticate(token_of(headers.get("authorization", "")))
        who = Acting(name=principal.name, internal=False, request=f"{method} {path}")
        permission = permission_for(method, path)
        if permission is None:
            next_step = "Use Gateline's own API or UI for it."
            if method in _SAFE_METHODS:
                raise NotFound(f"{who.request} is not among the MLflow routes that Gateline serves.", next_step=next_step)
            self._refuse(who, "it is not among the MLflow routes that Gateline serves.", next_step)
        elif method not in _SAFE_METHODS and not _same_origin(headers):
            self._refuse(who, f"it comes from another site ({headers.get('origin')}).", "Send it from a page of this server.")
        elif not self._decide(principal, permission):
            self._refuse(who, f"it needs the permission {permission.value}.", "Ask an administrator for a role that holds it.")
        return who

    def _refuse(self, who: Acting, reason: str, next_step: str) -> NoReturn:
        """Write the refusal to the ledger, then raise."""
        self._guard.note_refusal(who, who.request, subject="mlflow", reason=reason)
        raise Denied(f"{who.request} is refused: {reason}", next_step=next_step)


_CODES = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "ENDPOINT_NOT_FOUND", 503: "TEMPORARILY_UNAVAILABLE"}


def token_of(authorization: str) -> str:
    """Return the API token of a Bearer header, or the password of a Basic one.

    >>> token_of("Bearer abc"), token_of("Basic " + base64.b64encode(b"anyone:abc").decode())
    ('abc', 'abc')

    Raises:
        Unauthenticated: the header is absent or of another form.
    """
    scheme, _, value = authorization.partition(" ")
    if scheme.casefold() == "bearer" and value.strip():
        return value.strip()
    if scheme.casefold() == "basic":
        try:
            _, separator, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            separator = password = ""
        if separator and password:
            return password
    raise Unauthenticated(
        "MLflow is behind Gateline's authentication, and the request carries no token.",
        next_step="Set MLFLOW_TRACKING_TOKEN to an API token, or give one as the password.",
    )


def _length(headers: dict[str, str]) -> int:
    """Return the length that the request says it has; 0 when it does not."""
    return int(headers.get("content-length") or 0)


def _same_origin(headers: dict[str, str]) -> bool:
    """Return whether a browser sent the request from our own pages; other clients send no Origin."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host", "")


def _limited(receive: Receive, limit: int) -> Receive:
    """Return `receive` that hangs up once the body is longer than the limit, for bodies that do not say how long they are."""
    seen = 0

    async def receive_some() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > limit else message

    return receive_some


async def _answer(send: Send, status: int, code: str, message: str, headers: list[tuple[bytes, bytes]]) -> None:
    """Send an error in the form MLflow's client reads."""
    body = json.dumps({"error_code": code, "message": message}).encode()
    fixed = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})
