"""The server process: lock, socket, services, uvicorn, and an orderly end."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateline.app import build
from gateline.local.holding import ServerLock
from gateline.local.ports import bind
from gateline.local.serving import make_server
from gateline.server.asgi import create_app

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from types import FrameType

    import uvicorn

    from gateline.kernel.settings import Settings


def run_server(settings: Settings, started: Callable[[str], None]) -> None:
    """Serve an installation until SIGINT or SIGTERM, then stop its services.

    Args:
        settings: The installation.
        started: Called with the URL when the server accepts connections.

    Raises:
        Conflict: another process serves the folder.
        PortInUse: another process listens on the port.
        ConfigurationError: the folder's keys or database cannot be used.
    """
    with ServerLock(settings.home) as lock, bind(settings.host, settings.port) as listener:
        app = build(settings)
        app.access.ensure_owner()

        def announce() -> None:
            url = address(listener)
            lock.announce(url)
            started(url)

        server = make_server(create_app(app), announce)
        with _stopping_on_signals(server):
            app.start()
            try:
                server.run(sockets=[listener])
            finally:
                app.stop()


def address(listener: socket.socket) -> str:
    """Return the URL of a listening socket; one that listens everywhere is named by the loopback address."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _stopping_on_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the server at any moment, also before and after uvicorn listens to them itself.

    uvicorn raises the signal again after its own shutdown; with the default handler the process would die before services stop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    earlier = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
