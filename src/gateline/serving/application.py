"""The ASGI application of an inference worker: routes, headers, limits and errors, on raw ASGI.

The order of one request: limits, token, body, decode, score, log, answer; then, in a later turn of the event loop, the companions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import parse_qs

import msgspec

from gateline.kernel.clock import parse_iso
from gateline.kernel.errors import Denied, GatelineError, InvalidInput, NotFound, TooLarge, Unauthenticated, Unavailable
from gateline.serving import protocol
from gateline.serving.predictor import Request
from gateline.serving.routing import REPLAY_PERMISSION

if TYPE_CHECKING:
    from gateline.kernel.clock import Clock
    from gateline.serving.predictor import ServedEndpoint
    from gateline.serving.routing import Arm, GrantDocument, LoadedRoute

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_INFER_PREFIX, _INFER_SUFFIX = "/v2/models/", "/infer"
_READ_SECONDS_MAX = 10.0
_HEADER_BYTES_MAX = 16 << 10
_JSON = (b"content-type", b"application/json")
_WANTED = {
    b"authorization", b"content-length", b"x-request-id", b"x-gateline-entity", b"x-gateline-event-time",
    b"inference-header-content-length", b"content-encoding",
}  # fmt: skip


class Process(Protocol):
    """What the application needs of the process it lives in."""

    @property
    def clock(self) -> Clock:
        """The clock of arrival times."""
        ...

    @property
    def endpoints(self) -> dict[str, ServedEndpoint]:
        """What this worker serves, by name."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether routes are loaded and the worker is not stopping."""
        ...

    def logged(self, endpoint: ServedEndpoint) -> None:
        """Note that the endpoint's log has unsynced frames."""
        ...

    def later(self, task: Callable[[], None]) -> None:
        """Do something in a later turn of the event loop."""
        ...

    def complain(self, event: str, **facts: object) -> None:
        """Write one line for operators."""
        ...

    async def started(self) -> None:
        """Load routes; the server accepts requests afterwards."""
        ...

    async def stopped(self) -> None:
        """Finish logs; no request runs any more."""
        ...


class _Shape(NamedTuple):
    """The two protocols: how a request is read and how answers and errors are written."""

    is_infer: bool
    answer: Callable[[protocol.Answer], bytes]
    error: Callable[[int, str], bytes]


_INFER = _Shape(True, protocol.infer_answer, protocol.infer_error)
_INVOCATION = _Shape(False, protocol.invocation_answer, protocol.invocation_error)


class Application:
    """The ASGI callable of one worker.

    Args:
        process: The worker.
        bytes_max: Longest body.
    """

    def __init__(self, process: Process, bytes_max: int) -> None:
        self._process = process
        self._bytes_max = bytes_max
        self._reading: dict[asyncio.Task[Any] | None, float] = {}

    def end_slow_bodies(self) -> None:
        """Refuse requests whose body has been on its way for too long; called from time to time."""
        limit = monotonic() - _READ_SECONDS_MAX
        for task, since in list(self._reading.items()):
            if since > limit:
                return  # they are in the order of arrival
            del self._reading[task]
            if task is not None:
                task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the life of the server."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        path, method = scope["path"], scope["method"]
        if path.startswith(_INFER_PREFIX) and path.endswith(_INFER_SUFFIX) and method == "POST":
            await self._score(_INFER, path[len(_INFER_PREFIX) : -len(_INFER_SUFFIX)], scope, receive, send)
        elif path == "/invocations" and method == "POST":
            name = parse_qs(scope["query_string"].decode("latin-1")).get("endpoint", [""])[0]
            await self._score(_INVOCATION, name, scope, receive, send)
        else:
            status, content = self._information(method, path)
            await _reply(send, status, content)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._process.started()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._process.stopped()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _information(self, method: str, path: str) -> tuple[int, bytes]:
        """Answer everything that is not a prediction."""
        if path in {"/v2/health/live", "/ping"} and method in {"GET", "HEAD"}:
            return 200, b"{}"
        if path == "/v2/health/ready" and method in {"GET", "HEAD"}:
            return (200, b'{"ready":true}') if self._process.is_ready else (503, b'{"ready":false}')
        if path == "/v2" and method == "GET":
            return 200, msgspec.json.encode({"name": "gateline", "version": "1", "extensions": []})
        if path.startswith(_INFER_PREFIX) and method == "GET":
            return self._model(path[len(_INFER_PREFIX) :])
        known = path == "/invocations" or path.startswith(_INFER_PREFIX)
        return (405, protocol.infer_error(405, f"{method} is not allowed here.")) if known else (
            404, protocol.infer_error(404, f"There is nothing at {path[:200]}.")
        )  # fmt: skip

    def _model(self, name: str) -> tuple[int, bytes]:
        """Answer OIP model metadata and readiness; endpoint names are no secret, models are."""
        ready = name.endswith("/ready")
        found = self._process.endpoints.get(name.removesuffix("/ready"))
        if found is None:
            return 404, protocol.infer_error(404, f"There is no endpoint '{name[:200]}' here.")
        if ready:
            return 200, msgspec.json.encode({"name": found.route.endpoint, "ready": True})
        inputs = [
            {"name": one.name, "datatype": "FP64" if one.kind.value == "numeric" else "BYTES", "shape": [-1, 1]}
            for one in found.route.features
        ]
        outputs = [{"name": "prediction", "datatype": "FP64", "shape": [-1]}, {"name": "prediction_id", "datatype": "BYTES", "shape": [-1]}]
        content = {"name": found.route.endpoint, "platform": "gateline", "versions": [], "inputs": inputs, "outputs": outputs}
        return 200, msgspec.json.encode(content)

    async def _score(self, shape: _Shape, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one prediction request; whatever is wrong with it becomes an error of its protocol."""
        try:
            headers = _headers(scope["headers"])
            now = self._process.clock.now()
            endpoint, grant = self._endpoint(name, headers, now)
            event_time = _event_time(grant, headers)
            body = await self._body(headers, receive)
            request = _request(shape, endpoint, body, headers, now, event_time)
            answer, route, arm = endpoint.predict(request)
        except GatelineError as error:
            if name in self._process.endpoints:
                self._process.logged(self._process.endpoints[name])
            await _reply(send, error.status, shape.error(error.status, str(error)), close="close" in error.facts)
            return
        except Exception as error:  # the boundary of the process: one broken request must not look like a broken connection
            self._process.complain("request failed", endpoint=name, error=f"{type(error).__name__}: {error}")
            await _reply(send, 500, shape.error(500, "The worker failed on this request; its log says why."))
            return
        self._process.logged(endpoint)
        await _reply(send, 200, shape.answer(answer))
        if route.companions(arm):
            self._process.later(partial(self._score_companions, endpoint, request, route, arm))

    def _score_companions(self, endpoint: ServedEndpoint, request: Request, route: LoadedRoute, arm: Arm) -> None:
        try:
            endpoint.score_companions(request, route, arm)
        except GatelineError as error:
            self._process.complain("shadow not logged", endpoint=route.endpoint, request_id=request.request_id, error=error.message)
        self._process.logged(endpoint)

    def _endpoint(self, name: str, headers: dict[bytes, bytes], now: int) -> tuple[ServedEndpoint, GrantDocument]:
        """Return the endpoint for a caller who may use it, and what the caller may do; strangers do not learn which endpoints exist."""
        token = _bearer(headers)
        endpoint = self._process.endpoints.get(name)
        if endpoint is not None:
            return endpoint, endpoint.route.authorise(token, now)
        for other in self._process.endpoints.values():
            other.route.authorise(token, now)
            raise NotFound(f"There is no endpoint '{name[:200]}' here.", next_step="GET /api/v1/endpoints of the control plane lists them.")
        if not token:
            raise Unauthenticated("The token is missing.", next_step="Send 'Authorization: Bearer gl_…'.")
        raise Unavailable("This worker has no route yet.", next_step="Release a model version, or try again in a moment.")

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """Read the body, no longer and no slower than allowed.

        What follows a refused body is thrown away as it arrives, so that the caller can read the refusal.
        """
        declared = headers.get(b"content-length", b"")
        if declared and (not declared.isdigit() or len(declared) > 18 or int(declared) > self._bytes_max):
            raise TooLarge(f"The body is longer than {self._bytes_max} bytes.", next_step="Send fewer rows per request.")
        if b"inference-header-content-length" in headers or b"content-encoding" in headers:
            raise InvalidInput("Binary tensors and compressed bodies are not taken.", next_step="Send plain JSON.")
        task = asyncio.current_task()
        self._reading[task] = monotonic()
        try:
            message = await receive()
            body = message.get("body", b"")
            while message.get("more_body"):
                message = await receive()
                body = body + message.get("body", b"")
                if len(body) > self._bytes_max:
                    break
        except asyncio.CancelledError as error:
            if task in self._reading or task is None:
                raise
            task.uncancel()
            raise InvalidInput(f"The body did not arrive within {_READ_SECONDS_MAX:.0f} seconds.", facts={"close": True}) from error
        finally:
            self._reading.pop(task, None)
        if message["type"] == "http.disconnect":
            raise InvalidInput("The caller is gone.")
        if len(body) > self._bytes_max:
            raise TooLarge(f"The body is longer than {self._bytes_max} bytes.", next_step="Send fewer rows per request.")
        return bytes(body)


def _headers(given: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers that matter; a repeated or overlong one is refused."""
    found: dict[bytes, bytes] = {}
    size = 0
    for name, value in given:
        size += len(name) + len(value)
        if name in _WANTED:
            if name in found:
                raise InvalidInput(f"The header {name.decode()} is given twice.")
            found[name] = value
    if size > _HEADER_BYTES_MAX:
        raise TooLarge(f"The headers are longer than {_HEADER_BYTES_MAX} bytes.")
    return found


def _bearer(headers: dict[bytes, bytes]) -> bytes:
    given = headers.get(b"authorization", b"")
    return given[7:].strip() if given[:7].lower() == b"bearer " else b""


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    """Return a header as text."""
    value = headers.get(name)
    if not value:
        return ""
    try:
        return protocol.checked_identifier(f"header {name.decode()}", value.decode())
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The header {name.decode()} is not UTF-8.") from error


def _event_time(grant: GrantDocument, headers: dict[bytes, bytes]) -> int | None:
    """Return the event time that a replay sets; None when the server's clock counts.

    Raises:
        Denied: the caller may not set it.
        InvalidInput: it is no timestamp with an offset.
    """
    if b"x-gateline-event-time" not in headers:
        return None
    if REPLAY_PERMISSION not in grant.permissions:
        raise Denied(f"'{grant.principal}' lacks the permission {REPLAY_PERMISSION}, so the server's clock sets the event time.")
    return parse_iso(_text(headers, b"x-gateline-event-time"))


def _request(
    shape: _Shape, endpoint: ServedEndpoint, body: bytes, headers: dict[bytes, bytes], now: int, event_time: int | None
) -> Request:
    """Decode a body; ids in headers win over those in the body."""
    rows = endpoint.decoder.infer(body) if shape.is_infer else endpoint.decoder.invocation(body)
    request_id = _text(headers, b"x-request-id") or protocol.checked_identifier("request id", rows.request_id)
    entity = _text(headers, b"x-gateline-entity") or protocol.checked_identifier("entity id", rows.entity)
    return Request(rows.rows, request_id=request_id, entity=entity, received_at=now, event_time=event_time)


async def _reply(send: Send, status: int, content: bytes, *, close: bool = False) -> None:
    headers = [_JSON, (b"content-length", b"%d" % len(content))]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status in {503, 507}:
        headers.append((b"retry-after", b"1"))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
