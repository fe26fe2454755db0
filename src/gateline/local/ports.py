"""Ports of this machine."""

from __future__ import annotations

import errno
import socket

from gateline.kernel.errors import ConfigurationError, PortInUse

_BACKLOG = 2048


def bind(host: str, port: int, *, option: str = "--port") -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Args:
        host: Address of this machine, or a name of it.
        port: The port.
        option: The command-line option that would choose another port, for the message.

    Raises:
        PortInUse: another process listens there.
        ConfigurationError: the address is not one of this machine, or the port needs other rights.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {port} on {host} is in use by another process.",
                next_step=f"Stop that process, or choose another port: {option} N (0 takes a free one).",
                facts={"host": host, "port": port},
            ) from error
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}.",
            next_step=f"Choose an address of this machine (--host) and a port above 1023 ({option}).",
        ) from error
    return listener


def is_free(host: str, port: int) -> bool:
    """Return whether this process could listen there now."""
    try:
        bind(host, port).close()
    except (PortInUse, ConfigurationError):
        return False
    return True
