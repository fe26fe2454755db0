"""The process that step processes are forked from: the project's modules are imported once, and each step starts in milliseconds.

    python -m gateline.sdk.running.zygote CONTROL FOLDER URL        (by the runner)

It has one thread. Its runner sends a request for each job with three files: the job to read, where output goes, where the result goes. It
answers with the process id, and again when the process has ended. When its runner is gone, it kills what it started and ends.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import io
import json
import os
import re
import selectors
import signal
import socket
import sys
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateline.sdk.client import Client
from gateline.sdk.execution import carry_out, draw
from gateline.sdk.fingerprint import environment_digest
from gateline.sdk.loading import file_state
from gateline.sdk.machine import describe_distributions
from gateline.sdk.project import Project
from gateline.sdk.running.processes import MESSAGE_BYTES_MAX, children, send
from gateline.sdk.sampling import warm_up

STEP_PATIENCE_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_IDLE_SECONDS = 1.0
_OOM_SCORE = "1000"
_POOL = re.compile(r"polars-\d")
"""Names of the threads that compute; others of Polars, such as the one that clears its files, are not waited for."""


def main(arguments: list[str]) -> int:
    """Serve one runner until it is gone; or, with `job` first, do one job."""
    if arguments[0] == "job":
        job, result = int(arguments[1]), int(arguments[2])
        project = Project.load(Path(arguments[3]))
        perform(job, result, Client(url=arguments[4], patience_seconds=STEP_PATIENCE_SECONDS), project)
        return 0
    control = socket.socket(fileno=int(arguments[0]))
    project = Project.load(Path(arguments[1]))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    failure = _load(project)
    gc.collect()
    gc.freeze()
    zygote = Zygote(control, project, Client(url=arguments[2], patience_seconds=STEP_PATIENCE_SECONDS))
    zygote.tell({"ready": True, "failure": failure, "files": _loaded_files(project), "forks": _is_forkable()})
    zygote.serve()
    return 0


@dataclass(slots=True, kw_only=True)
class _Job:
    id: int


class Zygote:
    """Forks a process for each job.

    Args:
        control: The socket to the runner.
        project: Whose modules are loaded.
        client: What steps talk to the server with; it has no connection yet.
    """

    def __init__(self, control: socket.socket, project: Project, client: Client) -> None:
        self._control = control
        self._project = project
        self._client = client
        self._jobs: dict[int, _Job] = {}
        self._forks = _is_forkable()

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message to the runner."""
        with contextlib.suppress(OSError):
            self._control.send(json.dumps(message).encode())

    def serve(self) -> None:
        """Start and bury processes until the runner is gone."""
        awake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        idle: float | None = _IDLE_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(awake, selectors.EVENT_READ)
            while True:
                found = selector.select(idle)
                if not found:
                    with contextlib.suppress(OSError, ValueError):
                        describe_distributions()  # what a tracked run would find out in each process anew
                    idle = None
                for key, _ in found:
                    if key.fileobj == awake:
                        with contextlib.suppress(BlockingIOError):
                            os.read(awake, 4096)
                    elif not self._accept():
                        return self._end()
                self._bury()

    def _accept(self) -> bool:
        """Start one job; returns whether the runner is still there."""
        message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES_MAX, 3)
        if not message:
            return False
        job_id = int(json.loads(message)["id"])
        pid = os.fork()
        if pid == 0:
            self._become(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self._jobs[pid] = _Job(id=job_id)
        self.tell({"id": job_id, "pid": pid})
        return True

    def _become(self, job: int, output: int, result: int) -> None:
        """Be the process of a job; does not return."""
        status = 1
        try:
            os.setsid()
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            self._control.close()
            with contextlib.suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if not self._forks:
                for descriptor in (job, result):
                    os.set_inheritable(descriptor, True)
                words = ["job", str(job), str(result), str(self._project.folder), self._client.url]
                os.execv(sys.executable, [sys.executable, "-m", "gateline.sdk.running.zygote", *words])  # noqa: S606 - no shell
            signal.signal(signal.SIGTERM, _leave)
            perform(job, result, self._client, self._project)
            status = 0
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _bury(self) -> None:
        """Tell of every process that has ended, and leave nothing of its group alive."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if ended.si_pid in self._jobs:
                send(ended.si_pid, signal.SIGKILL)  # while it is not reaped, no other process can have its number
            _, status, used = os.wait4(ended.si_pid, 0)
            job = self._jobs.pop(ended.si_pid, None)
            if job is not None:
                facts = {"status": os.waitstatus_to_exitcode(status), "cpu_seconds": used.ru_utime + used.ru_stime}
                self.tell({"id": job.id, "ended": True, **facts, "peak_memory_bytes": used.ru_maxrss << 10})
            if not self._jobs:
                for orphan in children(os.getpid()):
                    send(orphan, signal.SIGKILL)

    def _end(self) -> None:
        for pid in [*self._jobs, *children(os.getpid())]:
            send(pid, signal.SIGKILL)


def perform(job: int, result: int, client: Client, project: Project) -> None:
    """Do the job that can be read from one file, and write to another how it went."""
    with os.fdopen(job, "rb") as file:
        wanted = json.load(file)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    found = draw(project, wanted["draw"]) if "draw" in wanted else carry_out(client, project, wanted["step"])
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    with os.fdopen(result, "wb") as file:
        file.write(json.dumps(found, default=str).encode())
    atexit._run_exitfuncs()  # noqa: SLF001 - the process ends without the interpreter's own shutdown, which belongs to the parent


def _leave(*_: Any) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _load(project: Project) -> str:
    """Import what the project's pipelines need; returns why that failed."""
    try:
        for name in project.settings.get("pipelines", {}):
            project.pipeline(name)
        environment_digest()
        if "gateline.sdk.search" in sys.modules:
            warm_up()
    except Exception as error:  # the boundary to the user's code
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return ""


def _loaded_files(project: Project) -> dict[str, list[int]]:
    """Return the files of the project that were loaded, with time of change and size."""
    found: dict[str, list[int]] = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and Path(path).is_relative_to(project.folder) and "site-packages" not in path:
            found[path] = file_state(path)
    found[str(project.folder / "gateline.toml")] = file_state(str(project.folder / "gateline.toml"))
    return found


def _is_forkable() -> bool:
    """Return whether a fork of this process can work: threads do not come along, and Polars waits for its own for ever."""
    if threading.active_count() > 1:
        return False
    names = [(task / "comm").read_text(encoding="utf-8", errors="replace") for task in Path("/proc/self/task").iterdir()]
    return not any(_POOL.match(name) for name in names)


def _prctl(option: int, value: int) -> None:
    """Set something of this process; see prctl(2)."""
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
