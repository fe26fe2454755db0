"""Metric values on their way to the server: gathered, sent a thousand at a time by one thread, kept until they are accepted."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from gateline.kernel.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BATCH_VALUES = 1_000  # the most that MLflow takes in one request
BUFFER_VALUES_MAX = 50_000
_SEND_SECONDS = 1.0


class Value(NamedTuple):
    """One value of a metric; `timestamp` in milliseconds since 1970 UTC."""

    key: str
    value: float
    timestamp: int
    step: int


class MetricBuffer:
    """Values of one run, in order. Safe to use from several threads.

    A batch leaves when 1,000 values wait, or after a second. When 50,000 wait, `add` blocks until some have left, so that a server slower
    than the training slows it down and memory stays bounded. A batch that fails stays in the buffer: the next `add` or `flush` says so,
    and each `flush` tries again.

    Args:
        send: Logs at most 1,000 values; raises when it could not.
    """

    def __init__(self, send: Callable[[Sequence[Value]], None]) -> None:
        self._send = send
        self._waiting: list[Value] = []
        self._failure: Exception | None = None
        self._oldest = 0.0
        self._flushing = 0
        self._ended = False
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, values: Sequence[Value]) -> None:
        """Take values, and return once they are in the buffer.

        Raises:
            Conflict: the run has ended; the message says how many values were not taken.
            Unavailable: the server did not accept earlier values. Those given now are kept with them, except for what the full buffer has
                no room for; the message says how many.
        """
        for start in range(0, len(values), BATCH_VALUES):
            part = values[start : start + BATCH_VALUES]
            with self._changed:
                self._start()
                self._changed.wait_for(lambda: self._failure is not None or self._ended or self._has_room())
                if self._ended:
                    raise _ended(f"{len(values) - start:,} metric values were not taken")
                if not self._has_room():
                    self._raise_failure(dropped=len(values) - start)
                self._oldest = self._oldest if self._waiting else time.monotonic()
                self._waiting.extend(part)
                self._changed.notify_all()
        with self._changed:
            self._raise_failure()

    def flush(self, *, last: bool = False) -> None:
        """Return once every value added so far is logged; what failed before is tried again first.

        Args:
            last: Take no more values.

        Raises:
            Conflict: the buffer was closed before all values were logged.
            Unavailable: the server did not accept them; they are kept.
        """
        with self._changed:
            self._ended = self._ended or last
            if not self._waiting:
                return
            self._failure = None
            self._flushing += 1
            self._start()
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._failure or self._closed or not self._waiting)
            finally:
                self._flushing -= 1
            if self._closed and self._waiting:
                raise _ended(f"{len(self._waiting):,} metric values are not logged")
            self._raise_failure()

    def close(self) -> None:
        """Take no more values and end the thread; what is left stays in `unsent`."""
        with self._changed:
            self._ended = self._closed = True
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    @property
    def unsent(self) -> list[Value]:
        """The values that the server has not accepted yet."""
        with self._changed:
            return list(self._waiting)

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="metric-buffer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or (self._failure is None and self._ready()), self._pause())
                if self._closed:
                    return
                batch = self._waiting[:BATCH_VALUES] if self._failure is None and self._ready() else []
            if batch:
                self._log(batch)

    def _log(self, batch: list[Value]) -> None:
        failure: Exception | None = None
        try:
            self._send(batch)
        except Exception as error:  # the boundary of this thread: whoever adds or flushes next is told
            failure = error
        with self._changed:
            if failure is None:
                del self._waiting[: len(batch)]
                self._oldest = time.monotonic()
            self._failure = failure
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._waiting) + BATCH_VALUES <= BUFFER_VALUES_MAX

    def _ready(self) -> bool:
        full = len(self._waiting) >= BATCH_VALUES
        return bool(self._waiting) and (full or bool(self._flushing) or time.monotonic() - self._oldest >= _SEND_SECONDS)

    def _pause(self) -> float | None:
        """Return how long to wait before looking again when nobody says anything."""
        return max(0.01, self._oldest + _SEND_SECONDS - time.monotonic()) if self._waiting and self._failure is None else None

    def _raise_failure(self, *, dropped: int = 0) -> None:
        if self._failure is None:
            return
        cause, kept = self._failure, len(self._waiting)
        full = f" The buffer is full: {dropped:,} values given now were not taken." if dropped else ""
        raise Unavailable(
            f"{kept:,} metric values are not logged yet: {cause}.{full}",
            next_step="They are kept: call flush() once the server answers. At the end of the run they go to a file.",
            facts={"kept": kept, "dropped": dropped, "cause": type(cause).__name__},
        ) from cause


def _ended(what: str) -> Conflict:
    return Conflict(f"{what}: the run has ended.", next_step="Log values within the block of tracked_run.")
