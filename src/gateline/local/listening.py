"""A listener on the loopback interface for libraries of this process that speak HTTP themselves, such as MLflow's client."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gateline.local.ports import bind
from gateline.local.serving import make_server

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    import uvicorn
    from fastapi import FastAPI

_START_SECONDS_MAX = 10.0
_STOP_SECONDS_MAX = 5.0


class Listener:
    """Serves an application on a free loopback port, from the first time its address is asked for.

    Args:
        application: What is served.
        before: Called once before the first request can come in.
    """

    def __init__(self, application: FastAPI, before: Callable[[], None]) -> None:
        self._application = application
        self._before = before
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def address(self) -> str:
        """Return the URL, starting to listen when needed."""
        with self._lock:
            if self._socket is None:
                self._before()
                self._socket = bind("127.0.0.1", 0)
                started = threading.Event()
                self._server = make_server(self._application, started.set)
                self._thread = threading.Thread(
                    target=self._server.run, kwargs={"sockets": [self._socket]}, name="gateline-listener", daemon=True
                )
                self._thread.start()
                started.wait(_START_SECONDS_MAX)
            return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        """Stop listening."""
        with self._lock:
            if self._server is not None and self._thread is not None and self._socket is not None:
                self._server.should_exit = True
                self._thread.join(_STOP_SECONDS_MAX)
                self._socket.close()
                self._server, self._thread, self._socket = None, None, None
