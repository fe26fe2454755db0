"""The processes of the demo: the same commands a user would type, each with a log of its own, none of which outlives the demo."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gateline.kernel.errors import GatelineError, Unavailable

Found = TypeVar("Found")

_STOP_SECONDS = 15.0
_LOG_LINES_SHOWN = 12


@dataclass(slots=True, kw_only=True)
class Child:
    """A process the demo started.

    Attributes:
        name: What it is called in messages.
        process: The process.
        log: File with its standard error (and output, unless that is a pipe).
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def require_alive(self) -> None:
        """Raise Unavailable, with the end of the log, when the process has ended."""
        code = self.process.poll()
        if code is not None:
            raise Unavailable(f"The {self.name} ended with exit code {code}.\n{self.tail()}", next_step=f"Its whole log is {self.log}.")

    def tail(self) -> str:
        """Return the last lines of the log."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"    {line[:300]}" for line in lines[-_LOG_LINES_SHOWN:])


class Processes:
    """Starts children and stops them again, the youngest first.

    Args:
        logs: Folder of their logs.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, arguments: Sequence[str], *, variables: Mapping[str, str] | None = None, pipes: bool = False) -> Child:
        """Start `python -m <arguments>` so that it ends when the demo ends.

        It is in a process group of its own: Ctrl-C reaches the demo alone, which then stops its children in order.

        Args:
            name: What it is called; its log is named so.
            arguments: Module and its arguments.
            variables: Added to the environment that it inherits; secrets go here, where no process list shows them.
            pipes: Whether standard input and output are pipes to the demo.
        """
        log = self._logs / f"{name.replace(' ', '-')}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateline.demo.attached", *arguments],
                env={**os.environ, **(variables or {})},  # noqa: TID251 - a child inherits what its user has set
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else file,
                stderr=file,
                process_group=0,
            )
        child = Child(name=name, process=process, log=log)
        self._children.append(child)
        return child

    @property
    def pids(self) -> list[int]:
        """Ids of the children that run."""
        return [child.process.pid for child in self._children if child.process.poll() is None]

    def stop(self) -> None:
        """Ask every child to end and wait; one that stays is killed."""
        while self._children:
            child = self._children.pop()
            if child.process.stdin is not None:
                with contextlib.suppress(OSError):
                    child.process.stdin.close()
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
                try:
                    child.process.wait(_STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    child.process.kill()
                    child.process.wait()
            if child.process.stdout is not None:
                child.process.stdout.close()


def wait_for(what: str, probe: Callable[[], Found | None], *, seconds: float, children: Sequence[Child] = (), pause: float = 0.05) -> Found:
    """Return the first value of `probe` that is not None, asking again and again.

    Args:
        what: What is waited for, in words.
        probe: Returns None as long as it is not there; errors of kind Unavailable count as not there.
        seconds: How long to wait.
        children: Processes that must stay alive meanwhile.
        pause: Seconds between two attempts.

    Raises:
        Unavailable: it did not come in time, or a child ended.
    """
    deadline = time.monotonic() + seconds
    last = ""
    while True:
        try:
            found = probe()
        except Unavailable as error:
            found, last = None, f" {error}"
        if found is not None:
            return found
        for child in children:
            child.require_alive()
        if time.monotonic() > deadline:
            logs = "".join(f"\n{child.name}:\n{child.tail()}" for child in children)
            raise Unavailable(f"Waited {seconds:.0f} s for {what}.{last}{logs}")
        time.sleep(pause)


def free_port(host: str, wanted: int, *, taken: Sequence[int] = ()) -> int:
    """Return the wanted port when nobody listens there, else a free one.

    Raises:
        GatelineError: the host has no free port.
    """
    for port in (wanted, 0):
        if port in taken and port:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise GatelineError(f"No port is free on {host}.")
