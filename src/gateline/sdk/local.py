"""How the client reaches an installation in a folder. What opens the folder is handed in from above, so the SDK stays light."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """An opened installation.

    Attributes:
        url: Where its server listens; a name that stands for this process when none does.
        token: The owner's token.
        application: The ASGI application to call in this process; None when a server listens at `url`.
        listen: Makes the application reachable for other libraries of this process, and returns its URL.
        close: Releases what was opened.
    """

    url: str
    token: str
    application: Application | None
    listen: Callable[[], str]
    close: Callable[[], None]


Opener = Callable[["Path"], Local]

_openers: list[Opener] = []


def register_local(opener: Opener) -> None:
    """Say how a folder is opened; the latest registration counts. `gateline/__init__.py` does this."""
    _openers[:] = [opener]


def open_local(home: Path) -> Local:
    """Open the installation in a folder.

    Raises:
        ConfigurationError: nothing is registered that could, or the installation is unusable.
    """
    if not _openers:
        raise ConfigurationError("No server is named and this process cannot open a local folder.", next_step="Set GATELINE_URL.")
    return _openers[-1](home)
