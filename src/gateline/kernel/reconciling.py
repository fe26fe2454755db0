"""Background passes: the thread that runs reconcilers while this process leads, and what is due only from time to time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import structlog

from gateline.kernel.errors import GatelineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateline.kernel.changes import Changes
    from gateline.kernel.clock import Clock, Instant
    from gateline.kernel.lease import Lease

_log = structlog.get_logger(__name__)


_REST_SECONDS = 1.0


class Step:
    """One reconciler, and what it depends on.

    Args:
        name: What it is called in the log.
        act: An idempotent function.
        always: Whether it looks at more than records, files for example, and so takes part in every pass.
    """

    def __init__(self, name: str, act: Callable[[], Any], *, always: bool = False) -> None:
        self.name = name
        self._act = act
        self._always = always
        self._tables = set[str]()
        self._seen = 0
        self._rested = -_REST_SECONDS

    def is_due(self, changes: Changes) -> bool:
        """Return whether a table that it has ever read was changed since it began last, or that is a second ago."""
        rested = time.monotonic() - self._rested >= _REST_SECONDS
        return self._always or rested or changes.touched(self._tables, self._seen)

    def run(self, changes: Changes) -> None:
        """Act, and note what is read."""
        self._seen, self._rested = changes.number, time.monotonic()
        with changes.reading(self._tables):
            self._act()


class Reconcilers:
    """The thread that moves the world towards the records, one idempotent step at a time.

    A step is left out of a pass as long as no table that it reads was changed by this process; once a second each has its turn, for what
    time, files or other processes bring.

    Args:
        lease: Held by the one process that reconciles.
        interval_seconds: Pause between two passes.
        steps: The reconcilers in the order in which they run.
        changes: What this process has changed.
    """

    def __init__(self, lease: Lease, interval_seconds: float, steps: tuple[Step, ...], changes: Changes) -> None:
        self._lease = lease
        self._interval_seconds = interval_seconds
        self._steps = steps
        self._changes = changes
        self._stopping = threading.Event()
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to reconcile in a background thread."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=self._lease.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the step under way, and let another process lead."""
        if self._thread is None:
            return
        self._stopping.set()
        self._awake.set()
        self._thread.join()
        self._thread = None
        self._lease.release()

    def wake(self) -> None:
        """Begin the next pass now: something has come that they wait for. Safe to call often and from any thread."""
        self._awake.set()

    def pass_once(self) -> None:
        """Run each reconciler once when this process leads; a failing one is logged and tried again within a second."""
        self._pass(lambda _step: True)

    def _pass(self, wanted: Callable[[Step], bool]) -> None:
        if not self._lease.hold():
            return
        for step in self._steps:
            if self._stopping.is_set():
                return
            try:
                if wanted(step):
                    step.run(self._changes)
            except GatelineError as error:
                _log.warning("reconciler.failed", reconciler=step.name, code=error.code, failure=str(error))
            except Exception:  # the boundary of the reconciler loop: one broken record must not stop the others
                _log.exception("reconciler.broken", reconciler=step.name)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._awake.wait(self._interval_seconds)
            self._awake.clear()
            self._pass(lambda step: step.is_due(self._changes))


class WhenDue:
    """Does something from time to time: when the interval has passed, and early rather than late when the clock was set back."""

    def __init__(self, clock: Clock, interval: Instant, action: Callable[[], Any]) -> None:
        self._clock = clock
        self._interval = interval
        self._action = action
        self._due = 0

    def __call__(self) -> None:
        """Do it if it is due; what fails is due again after the interval."""
        now = self._clock.now()
        if now >= self._due or self._due - now > self._interval:
            try:
                self._action()
            finally:
                self._due = now + self._interval
