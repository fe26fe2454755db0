"""An installation in a folder of this machine: who holds it, how to open it in this process, how to serve it."""

from __future__ import annotations

from gateline.local.holding import Holder, ServerLock, find_holder
from gateline.local.opening import open_local
from gateline.local.ports import bind, is_free
from gateline.local.running import run_server

__all__ = ["Holder", "ServerLock", "bind", "find_holder", "is_free", "open_local", "run_server"]
