"""One step in its process: its output is read, its limits are watched, and its end, whatever it is, becomes a report."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import GatelineError, TooLarge, Unavailable
from gateline.pipelines import Outcome
from gateline.sdk.running.output import Output
from gateline.sdk.running.processes import family, kernel_kills, memory_bytes, send

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateline.sdk.running.nursery import Child, Nursery

GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_MEASURE_SECONDS = 0.5
_RESULT_BYTES_MAX = 64 << 20
_PIECE_BYTES = 1 << 16
_LEFT_OVER_SECONDS = 1.0


class Supervision:
    """The supervision of one job.

    Args:
        nursery: Starts its process.
        job: What is done.
        timeout_seconds: After how long it is stopped; None for never.
        memory_bytes_max: Above which resident memory it is stopped; None for no limit.
        on_output: Called with what it writes, as it comes.

    Attributes:
        output: What it has written.
    """

    def __init__(
        self,
        nursery: Nursery,
        job: Mapping[str, Any],
        *,
        timeout_seconds: float | None = None,
        memory_bytes_max: int | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> None:
        self._nursery = nursery
        self._job = job
        self._timeout_seconds = timeout_seconds
        self._memory_bytes_max = memory_bytes_max
        self._on_output = on_output
        self.output = Output()
        self._asked = threading.Event()
        self._why: tuple[Outcome, str] | None = None
        self._kill_at = float("inf")
        self._peak_bytes = 0
        self._result = b""

    def stop(self, outcome: Outcome, why: str) -> None:
        """Ask for the process to end, in `GRACE_SECONDS` at most; the first reason given is the one that is reported."""
        if self._why is None:
            self._why = outcome, why
        self._asked.set()

    def run(self) -> dict[str, Any]:
        """Do the job and return the report: what the process said, or why it could not, with what it used."""
        kills = kernel_kills()
        try:
            child = self._nursery.start(self._job)
        except Unavailable as error:
            return {"outcome": Outcome.LOST, "detail": str(error)}
        except GatelineError as error:
            return {"outcome": Outcome.FAILED, "detail": str(error), "retry": False, "failure": str(error)}
        try:
            self._watch(child)
        finally:
            child.close()
        used = {
            "cpu_seconds": child.facts.get("cpu_seconds"),
            "peak_memory_bytes": max(self._peak_bytes, child.facts.get("peak_memory_bytes", 0)) or None,
        }
        return {**self._ending(child, out_of_memory=kernel_kills() > kills), **used}

    def _watch(self, child: Child) -> None:
        """Read what the process writes until it has ended, and end it when it must."""
        begun = measured = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for descriptor, take in ((child.output, self._written), (child.result, self._returned)):
                os.set_blocking(descriptor, False)
                selector.register(descriptor, selectors.EVENT_READ, take)
            while not child.ended.is_set():
                self._read(selector, _LOOK_SECONDS)
                if not selector.get_map():
                    child.ended.wait(_LOOK_SECONDS)
                now = time.monotonic()
                if now - measured >= (_LOOK_SECONDS if self._memory_bytes_max else _MEASURE_SECONDS) and child.started.is_set():
                    measured = now
                    self._measure(child)
                if self._timeout_seconds is not None and now - begun > self._timeout_seconds:
                    self.stop(Outcome.TIMED_OUT, f"It ran for more than {self._timeout_seconds:g} s.")
                self._end(child, now)
            deadline = time.monotonic() + _LEFT_OVER_SECONDS
            while selector.get_map() and time.monotonic() < deadline and self._read(selector, 0):
                pass

    def _read(self, selector: selectors.BaseSelector, seconds: float) -> int:
        """Take what there is; returns from how many there was something."""
        ready = selector.select(seconds)
        for key, _ in ready:
            content = b""
            with contextlib.suppress(BlockingIOError):
                content = os.read(key.fd, _PIECE_BYTES)
                if not content:
                    selector.unregister(key.fd)
            key.data(content)
        return len(ready)

    def _written(self, content: bytes) -> None:
        self.output.write(content)
        if self._on_output is not None and content:
            self._on_output(content)

    def _returned(self, content: bytes) -> None:
        self._result += content
        if len(self._result) > _RESULT_BYTES_MAX:
            self.stop(Outcome.FAILED, str(TooLarge(f"Its report has more than {_RESULT_BYTES_MAX:,} bytes.")))

    def _measure(self, child: Child) -> None:
        used = memory_bytes(family(child.pid))
        self._peak_bytes = max(self._peak_bytes, used)
        if self._memory_bytes_max is not None and used > self._memory_bytes_max:
            self.stop(Outcome.OUT_OF_MEMORY, f"It used {used:,} bytes of memory; {self._memory_bytes_max:,} are allowed.")
            self._kill_at = 0

    def _end(self, child: Child, now: float) -> None:
        """Ask the process to end when that is wanted, and make it when it does not."""
        if not self._asked.is_set() or not child.started.is_set() or not child.pid:
            return
        if self._kill_at == float("inf"):
            self._kill_at = now + GRACE_SECONDS
            send(child.pid, signal.SIGTERM)
        elif now >= self._kill_at:
            send(child.pid, signal.SIGKILL)
            child.ended.wait(_LOOK_SECONDS)

    def _ending(self, child: Child, *, out_of_memory: bool) -> dict[str, Any]:
        """Return how the job ended."""
        if self._why is not None:
            return {"outcome": self._why[0], "detail": self._why[1]}
        with contextlib.suppress(ValueError):
            found: dict[str, Any] = json.loads(self._result)
            return found
        status = child.facts.get("status")
        if status is None:
            return {"outcome": Outcome.LOST, "detail": "The process that starts the steps was killed."}
        if status == -signal.SIGKILL and out_of_memory:
            return {"outcome": Outcome.OUT_OF_MEMORY, "detail": "The kernel killed its process: the machine had no memory left."}
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return {"outcome": Outcome.EXITED, "detail": f"Its process {how} without a result."}
