"""uvicorn as Gateline runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvicorn
from typing_extensions import override

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from fastapi import FastAPI

GRACE_SECONDS = 2


class Server(uvicorn.Server):
    """A uvicorn server that says when it accepts connections."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = started

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections, then say so."""
        await super().startup(sockets=sockets)
        if self.started:
            self._on_started()


def make_server(application: FastAPI, started: Callable[[], None]) -> Server:
    """Return a server whose `run(sockets=[…])` serves the application until `should_exit`.

    Args:
        application: What is served; starting and stopping its services is the caller's part.
        started: Called when connections are accepted.
    """
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=30,
    )
    return Server(config, started)
