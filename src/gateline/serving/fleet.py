"""The supervisor of inference workers: it owns the listening socket, starts workers, replaces dead ones and stops them in order.

The socket stays open here, so connections queue in it while a dead worker is replaced. A worker learns of the supervisor's end by the end
of its control pipe, whatever ended it.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import structlog

from gateline.access import load_token_key
from gateline.kernel.errors import ConfigurationError, Conflict, PortInUse, Unavailable
from gateline.kernel.files import storage_errors
from gateline.serving.worker import WorkerConfig, WorkerStatus

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.kernel.settings import Settings

_BACKLOG = 2048
_CHECK_SECONDS = 0.02
_BACKOFF_SECONDS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
_HEALTHY_SECONDS = 10.0
_STOP_SECONDS = 8.0
_LOG_BYTES_MAX = 4 << 20

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """What the supervisor knows of one worker.

    Attributes:
        name: w0, w1, …
        pid: Its process; 0 while it is being replaced.
        restarts: How often it was replaced.
        status: What it says of itself; None before it is ready.
    """

    name: str
    pid: int
    restarts: int
    status: WorkerStatus | None


class _Seat:
    """One worker's place: the process that holds it, and how often it had to be replaced."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self.control = -1
        self.restarts = 0
        self.failures = 0
        self.started_at = 0.0
        self.start_again_at = 0.0


class Fleet:
    """The inference workers of one installation.

    Args:
        settings: `host`, `serving_port` (0 takes a free one), `workers` and the home folder.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder: Path = settings.serving_path.absolute()
        self._seats = [_Seat(f"w{index}") for index in range(settings.workers)]
        self._listener: socket.socket | None = None
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        self._supervisor: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port the workers listen on.

        Raises:
            Conflict: the fleet is not started.
        """
        if self._listener is None:
            raise Conflict("The inference workers are not started.")
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        """The address of the workers; raises as `port` does."""
        return f"http://{self._settings.host}:{self.port}"

    def start(self, *, ready_seconds: float | None = 20.0) -> None:
        """Bind the socket, start every worker and wait until all answer; with no workers set, nothing is bound.

        Args:
            ready_seconds: Longest wait; None does not wait, since requests queue on the socket until a worker takes them.

        Raises:
            PortInUse: another process listens there; nothing was started.
            Unavailable: a worker did not become ready in time; all are stopped again.
        """
        if self._listener is not None:
            raise Conflict("The inference workers are started already.")
        if not self._seats:
            return
        load_token_key(self._settings.keys_path)
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._listener = self._bind()
        self._stopping.clear()
        for seat in self._seats:
            self._spawn(seat)
        self._supervisor = threading.Thread(target=self._supervise, name="fleet", daemon=True)
        self._supervisor.start()
        if ready_seconds is None:
            return
        deadline = time.monotonic() + ready_seconds
        while any(view.status is None or not view.status.ready for view in self.workers()):
            if time.monotonic() > deadline:
                slow = [view.name for view in self.workers() if view.status is None]
                self.stop()
                raise Unavailable(
                    f"The inference workers {', '.join(slow)} were not ready within {ready_seconds:.0f} seconds.",
                    next_step=f"Read {self._folder}/worker-*.log.",
                )
            time.sleep(0.005)

    def workers(self) -> list[WorkerView]:
        """Return what is known of each worker."""
        with self._guard:
            held = [(seat.name, seat.process.pid if seat.process is not None else 0, seat.restarts) for seat in self._seats]
        views = []
        for name, pid, restarts in held:
            status = read_status(self._folder, name)
            current = status if status is not None and status.pid == pid else None
            views.append(WorkerView(name=name, pid=pid, restarts=restarts, status=current))
        return views

    def wait_loaded(self, endpoint: str, generation: int, *, seconds: float = 10.0) -> None:
        """Wait until every worker answers from this generation of the endpoint's route, or a newer one.

        Raises:
            Unavailable: one does not, in time; the message quotes why it refused the snapshot.
        """
        deadline = time.monotonic() + seconds
        while True:
            states = [(view.name, view.status.routes.get(endpoint) if view.status is not None else None) for view in self.workers()]
            late = [(name, state) for name, state in states if state is None or state.generation < generation]
            if not late:
                return
            if time.monotonic() > deadline:
                reasons = "; ".join(f"{name}: {state.error or 'still loading'}" if state else f"{name}: no route" for name, state in late)
                raise Unavailable(f"Generation {generation} of '{endpoint}' is not served by every worker: {reasons}.")
            time.sleep(0.005)

    def stop(self) -> None:
        """Let every worker answer what it accepted and finish its logs; end those that do not. A second call changes nothing."""
        self._stopping.set()
        if self._supervisor is not None:
            self._supervisor.join()
            self._supervisor = None
        with self._guard:
            for seat in self._seats:
                self._release(seat)
            deadline = time.monotonic() + _STOP_SECONDS
            for seat in self._seats:
                if seat.process is None:
                    continue
                try:
                    seat.process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    _log.warning("worker killed", worker=seat.name, pid=seat.process.pid)
                    seat.process.kill()
                    seat.process.wait()
                seat.process = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _bind(self) -> socket.socket:
        host, port = self._settings.host, self._settings.serving_port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"Port {port} of {host} is in use by another process.",
                    next_step="Stop it, or set GATELINE_SERVING_PORT to another port.",
                ) from error
            raise ConfigurationError(f"The workers cannot listen on {host}:{port}: {error.strerror}.") from error
        return listener

    def _spawn(self, seat: _Seat) -> None:
        """Start the process of a seat."""
        if self._listener is None:
            raise Conflict("The inference workers are not started.")
        reading, writing = os.pipe()
        config = WorkerConfig(
            name=seat.name, serving=str(self._folder), token_key=str((self._settings.keys_path / "token.key").absolute()),
            listener=self._listener.fileno(), control=reading,
        )  # fmt: skip
        command = [sys.executable, "-P", "-m", "gateline.serving.worker", "--config", msgspec.json.encode(config).decode()]
        output = self._folder / f"worker-{seat.name}.log"
        try:
            if output.exists() and output.stat().st_size > _LOG_BYTES_MAX:
                output.unlink()
            with output.open("ab") as log:
                seat.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(config.listener, reading), start_new_session=True
                )
        except OSError:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        seat.control = writing
        seat.started_at = time.monotonic()

    def _release(self, seat: _Seat) -> None:
        """Tell a worker to finish: close its control pipe and send SIGTERM."""
        if seat.control >= 0:
            os.close(seat.control)
            seat.control = -1
        if seat.process is not None and seat.process.poll() is None:
            with suppress(ProcessLookupError):
                seat.process.send_signal(signal.SIGTERM)

    def _supervise(self) -> None:
        """Replace workers that ended, sooner after the first time than after the fifth."""
        while not self._stopping.wait(_CHECK_SECONDS):
            with self._guard:
                for seat in self._seats:
                    try:
                        self._check(seat)
                    except OSError as error:
                        _log.error("worker not started", worker=seat.name, error=str(error))
                        seat.failures += 1
                        seat.start_again_at = time.monotonic() + _BACKOFF_SECONDS[-1]

    def _check(self, seat: _Seat) -> None:
        now = time.monotonic()
        if seat.process is not None:
            code = seat.process.poll()
            if code is None:
                return
            self._release(seat)
            seat.process = None
            seat.failures = 0 if now - seat.started_at > _HEALTHY_SECONDS else seat.failures + 1
            seat.start_again_at = now + _BACKOFF_SECONDS[min(seat.failures, len(_BACKOFF_SECONDS)) - 1 if seat.failures else 0]
            _log.warning("worker ended", worker=seat.name, code=code, restart_in_seconds=round(seat.start_again_at - now, 2))
        if now >= seat.start_again_at:
            seat.restarts += 1
            self._spawn(seat)


def read_status(folder: Path, name: str) -> WorkerStatus | None:
    """Return what a worker last said of itself; None when it said nothing readable."""
    try:
        return msgspec.json.decode((folder / f"worker-{name}.json").read_bytes(), type=WorkerStatus)
    except (OSError, msgspec.MsgspecError):
        return None


def read_statuses(folder: Path) -> list[WorkerStatus]:
    """Return what every running worker of a serving folder last said of itself."""
    names = sorted(path.stem.removeprefix("worker-") for path in folder.glob("worker-*.json"))
    found = [status for name in names if (status := read_status(folder, name)) is not None]
    return [status for status in found if _runs(status.pid)]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
