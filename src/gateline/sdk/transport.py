"""Calling an ASGI application in this process through httpx, so that local use and remote use are one path."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from gateline.sdk.local import Application


class InProcessTransport(httpx.BaseTransport):
    """A blocking httpx transport whose server is an ASGI application on an event loop in a background thread.

    Any number of threads may send at once. Bodies of answers are held in memory.

    Args:
        application: The ASGI application; its lifespan is not run.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._main = self._loop.create_task(self._until_over())
        self._thread = threading.Thread(target=self._serve, name="gateline-in-process", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Run the loop below one task, to which the threads that serve requests belong; else each request would start its own."""
        self._loop.run_until_complete(self._main)

    async def _until_over(self) -> None:
        await self._over.wait()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and wait for the whole answer."""
        future = asyncio.run_coroutine_threadsafe(self._exchange(request), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        """Call the application as ASGI 3.0 says; what it raises before it answers is status 500, later a broken connection."""
        exchange = _Exchange(request)
        with contextlib.suppress(Exception):  # the boundary to the application, which logs it: a server would not show more of it
            await self._application(exchange.scope(), exchange.receive, exchange.send)
        if exchange.begun and not exchange.answered.is_set():
            raise httpx.RemoteProtocolError("The application broke off its answer.", request=request)
        return httpx.Response(exchange.status, headers=exchange.headers, content=b"".join(exchange.pieces))

    def close(self) -> None:
        """Stop the event loop; requests under way are abandoned."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop).result()
        self._thread.join()
        self._loop.close()

    async def _wind_up(self) -> None:
        others = [task for task in asyncio.all_tasks() if task not in {asyncio.current_task(), self._main}]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_default_executor()
        self._over.set()


class _Exchange:
    """One request and its answer."""

    def __init__(self, request: httpx.Request) -> None:
        if not isinstance(request.stream, httpx.SyncByteStream):
            raise TypeError("A blocking client sends blocking streams.")
        self._request = request
        self._body: Iterator[bytes] | None = iter(request.stream)
        self.answered = asyncio.Event()
        self.begun = False
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []

    def scope(self) -> dict[str, Any]:
        """Return what the application is told of the request."""
        url = self._request.url
        return {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": self._request.method, "scheme": url.scheme,
            "path": url.path, "raw_path": url.raw_path.partition(b"?")[0], "query_string": url.query, "root_path": "",
            "headers": [(name.lower(), value) for name, value in self._request.headers.raw],
            "server": (url.host, url.port), "client": ("in-process", 0),
        }  # fmt: skip

    async def receive(self) -> dict[str, Any]:
        """Return the next piece of the body; reading a piece of a file is short enough to hold the loop."""
        if self._body is None:
            await self.answered.wait()
            return {"type": "http.disconnect"}
        piece = next(self._body, None)
        if piece is None:
            self._body = None
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a part of the answer."""
        if message["type"] == "http.response.start":
            self.begun, self.status, self.headers = True, message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            self.pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                self.answered.set()
