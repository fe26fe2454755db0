"""What lets a server tell a run that is under way from one whose process died."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from gateline.kernel.errors import GatelineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateline.sdk.client import Client

HEARTBEAT_SECONDS = 60.0
_log = structlog.get_logger(__name__)


@contextmanager
def beating(client: Client, run_id: str, every_seconds: float = HEARTBEAT_SECONDS) -> Iterator[None]:
    """Tell the server at once and then each minute within the block that the run is alive; a beat that fails is logged and not repeated."""
    stopped = threading.Event()

    def beat() -> None:
        while True:
            try:
                client.post(f"/runs/{run_id}/heartbeat")
            except GatelineError as error:
                _log.warning("run.heartbeat_failed", run_id=run_id, failure=str(error))
            if stopped.wait(every_seconds):
                return

    thread = threading.Thread(target=beat, name="run-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM leave the block as SystemExit(143), so that what is open can be closed.

    Does nothing outside the main thread, or when the program has a handler of its own.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
