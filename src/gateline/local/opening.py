"""Opening a home folder for a client: through the server that runs on it, or in this process when none does."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from gateline.app import build
from gateline.kernel.errors import ConfigurationError, Unavailable
from gateline.kernel.settings import Settings
from gateline.local.holding import find_holder
from gateline.local.listening import Listener
from gateline.sdk.local import Local
from gateline.server.asgi import create_app

if TYPE_CHECKING:
    from pathlib import Path

IN_PROCESS_URL = "http://gateline.local"
_STARTING_SECONDS_MAX = 20.0
_LOOK_SECONDS = 0.05


def open_local(home: Path) -> Local:
    """Open the installation in a folder, creating it when there is none.

    Raises:
        Unavailable: a server holds the folder but does not say where it listens.
        ConfigurationError: the folder's keys, database or credentials cannot be used.
    """
    url = _running_server(home)
    if url:
        return Local(url=url, token=_owner_token(home), application=None, listen=lambda: url, close=lambda: None)
    app = build(_quiet(Settings(home=home)))
    application = create_app(app)
    listener = Listener(application, app.mlflow.start)

    def close() -> None:
        listener.close()
        app.stop()

    return Local(url=IN_PROCESS_URL, token=app.access.ensure_owner(), application=application, listen=listener.address, close=close)


def _quiet(settings: Settings) -> Settings:
    """Return settings that log warnings only, unless a level was asked for: here the log shares the user's terminal."""
    return settings if "log_level" in settings.model_fields_set else settings.model_copy(update={"log_level": "warning"})


def _running_server(home: Path) -> str:
    """Return where the folder's server listens, waiting for one that is starting; nothing when none runs."""
    deadline = time.monotonic() + _STARTING_SECONDS_MAX
    while True:
        holder = find_holder(home)
        if holder is None or holder.url:
            return "" if holder is None else holder.url
        if time.monotonic() > deadline:
            raise Unavailable(
                f"Process {holder.pid} holds {home.absolute()} but does not say where it listens.",
                next_step=f"Look at its log, or stop it with: kill {holder.pid}",
            )
        time.sleep(_LOOK_SECONDS)


def _owner_token(home: Path) -> str:
    path = home / "credentials.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["token"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"The owner's token cannot be read from {path}: {error}.",
            next_step="Set GATELINE_TOKEN, or use the account that owns the folder.",
        ) from error
