"""The runner's side of the zygote: it is started, replaced when files of the project change, and asked for processes."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import StepFailed, Unavailable
from gateline.sdk.loading import file_state
from gateline.sdk.running.processes import MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateline.sdk.client import Client
    from gateline.sdk.project import Project

_START_SECONDS_MAX = 300.0


@dataclass(slots=True, kw_only=True)
class Child:
    """A process that does one job.

    Attributes:
        pid: Its process id, once it has one; also that of its process group.
        output: Where what it writes can be read.
        result: Where its result can be read.
        started: Set when `pid` is known.
        ended: Set when it is over; `facts` then has status, cpu_seconds and peak_memory_bytes, or nothing when its zygote died.
    """

    output: int
    result: int
    pid: int = 0
    started: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    facts: dict[str, Any] = field(default_factory=dict)

    def close(self) -> None:
        """Close what can be read."""
        os.close(self.output)
        os.close(self.result)


class Nursery:
    """Starts processes for jobs; safe to use from several threads.

    Args:
        client: Where steps find the server.
        project: The project whose code they run.
        keep: Descriptors that the processes inherit.
    """

    def __init__(self, client: Client, project: Project, keep: Sequence[int] = ()) -> None:
        self._client = client
        self._project = project
        self._keep = tuple(keep)
        self._lock = threading.Lock()
        self._zygote: _Running | None = None

    def start(self, job: Mapping[str, Any]) -> Child:
        """Start a process for a job: `{"draw": run}` or `{"step": claim}`.

        Raises:
            StepFailed: the project's modules cannot be imported.
            Unavailable: no process can be started.
        """
        with self._lock:
            return self._ready().start(job)

    def warm(self) -> None:
        """Import the project now, so that the first step starts at once; raises as `start` does."""
        with self._lock:
            self._ready()

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            if self._zygote is not None:
                self._zygote.close()
                self._zygote = None

    def _ready(self) -> _Running:
        """Return the zygote of the files as they are now."""
        if self._zygote is not None and not self._zygote.fits():
            self._zygote.retire()
            self._zygote = None
        if self._zygote is None:
            try:
                self._zygote = _Running(self._client, self._project, self._keep)
            except OSError as error:
                raise Unavailable(f"No process can be started for steps: {error}.", next_step="Has the machine any left?") from error
        failure, self._zygote.tried = self._zygote.failure, True
        if failure:
            raise StepFailed(f"The modules of project '{self._project.name}' cannot be imported: {failure}", next_step="Correct them.")
        return self._zygote


class _Running:
    """A zygote that runs."""

    def __init__(self, client: Client, project: Project, keep: tuple[int, ...]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        url = client.address()
        variables = {**os.environ, "GATELINE_URL": url, "GATELINE_TOKEN": client.token}  # noqa: TID251 - a child inherits what its user has set
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateline.sdk.running.zygote", str(theirs.fileno()), str(project.folder), url],
                pass_fds=[theirs.fileno(), *keep], env=variables, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), cwd=project.folder,
                process_group=0,  # Ctrl-C reaches the runner alone, which decides
            )  # fmt: skip
        self._socket = ours
        self._children: dict[int, Child] = {}
        self._next = 0
        self._retired = False
        self._hello: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="gateline-zygote", daemon=True)
        self._reader.start()
        self.tried = False
        hello: dict[str, Any]
        try:
            hello = self._hello.get(timeout=_START_SECONDS_MAX)
        except queue.Empty:
            hello = {"failure": f"importing them took more than {_START_SECONDS_MAX:.0f} s"}
        self.failure: str = hello.get("failure", "")
        self._files: dict[str, list[int]] = hello.get("files", {})

    def fits(self) -> bool:
        """Return whether it lives, and has the modules of the files as they are now."""
        if self._process.poll() is not None or (self.failure and self.tried):
            return False
        return all(file_state(path) == state for path, state in self._files.items())

    def start(self, job: Mapping[str, Any]) -> Child:
        output, output_end = os.pipe2(os.O_CLOEXEC)
        result, result_end = os.pipe2(os.O_CLOEXEC)
        child, self._next = Child(output=output, result=result), self._next + 1
        self._children[self._next] = child
        try:
            with os.fdopen(os.memfd_create("gateline-job"), "w+b") as file:  # in memory: a full disk must not stop it
                file.write(json.dumps(job).encode())
                file.seek(0)
                message = json.dumps({"id": self._next}).encode()
                socket.send_fds(self._socket, [message], [file.fileno(), output_end, result_end])
        except OSError as error:
            child.ended.set()
            raise Unavailable(f"No process can be started for a step: {error}.", next_step="Start the runner again.") from error
        finally:
            os.close(output_end)
            os.close(result_end)
        return child

    def retire(self) -> None:
        """End it when its last process has ended."""
        self._retired = True
        if not self._children:
            self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._process.wait()
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        """Take what it says until it is gone."""
        while message := self._receive():
            known = json.loads(message)
            if "ready" in known:
                self._hello.put(known)
                continue
            child = self._children[known["id"]]
            if "pid" in known:
                child.pid = known["pid"]
                child.started.set()
            else:
                child.facts = known
                del self._children[known["id"]]
                child.ended.set()
                if self._retired and not self._children:
                    break
        self._hello.put({"failure": "the process that loads them ended"})
        for child in list(self._children.values()):
            child.started.set()
            child.ended.set()
        if self._retired:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._process.wait()

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(MESSAGE_BYTES_MAX)
        except OSError:
            return b""
