"""Calling an ASGI application in this process through httpx, so that local use and remote use are one path."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateline.sdk.local import Application


class InProcessTransport(httpx.BaseTransport):
    """A blocking httpx transport whose server is an ASGI application on an event loop in a background thread.

    Any number of threads may send at once. Bodies of answers are held in memory.

    Args:
        application: The ASGI application; its lifespan is not run.
    """

    def __init__(self, application: Application) -> None:
        self._asgi = httpx.ASGITransport(app=application, raise_app_exceptions=False, client=("in-process", 0))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateline-in-process", daemon=True)
        self._thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and wait for the whole answer."""
        future = asyncio.run_coroutine_threadsafe(self._exchange(request), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        inside = httpx.Request(request.method, request.url, headers=request.headers, content=_pieces(request))
        answer = await self._asgi.handle_async_request(inside)
        content = await answer.aread()
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)

    def close(self) -> None:
        """Stop the event loop; requests under way are abandoned."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _wind_up(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_default_executor()


async def _pieces(request: httpx.Request) -> AsyncIterator[bytes]:
    """Yield the body of a blocking request; reading a piece of a file is short enough to hold the loop."""
    if not isinstance(request.stream, httpx.SyncByteStream):
        raise TypeError("A blocking client sends blocking streams.")
    for piece in request.stream:
        yield piece
