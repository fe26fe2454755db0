"""Small things done with ASGI requests: which may log metrics, their body as one message, and the message given back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

_METRIC_ROUTE = re.compile(r"/(?:ajax-)?api/2\.0/mlflow/runs/log-(?:metric|batch)")
_JSON = frozenset({b"application/json", b"application/json;charset=utf-8"})


def may_log_metrics(scope: Message) -> bool:
    """Return whether the request may log metrics, by method, path and headers: JSON, not compressed."""
    if scope["method"] != "POST" or scope["query_string"] or not _METRIC_ROUTE.fullmatch(scope["path"]):
        return False
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").lower().replace(b" ", b"")
    return kind in _JSON and b"content-encoding" not in headers


async def whole_body(receive: Receive) -> Message:
    """Return one message with the whole body in it, or the one that says that the client has left."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return {**message, "body": b"".join(parts)}


async def answer(send: Send) -> None:
    """Send what MLflow sends once metrics are logged."""
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"{}"})


def again(first: Message, receive: Receive) -> Receive:
    """Return a `receive` that gives the message read already, and then what else comes."""
    waiting = [first]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again
