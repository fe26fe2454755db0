"""One server per home folder: a lock that dies with its process, and a note that says where the server listens.

The lock is `flock` on `server.lock`, so a killed server leaves no lock behind; the pid in the file only names the holder.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from gateline.kernel.errors import Conflict
from gateline.kernel.files import storage_errors, write_atomic

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

LOCK_FILE = "server.lock"
NOTE_FILE = "server.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The server that holds a home folder.

    Attributes:
        pid: Its process id; 0 when it did not say.
        url: Where it listens; empty while it is still starting.
    """

    pid: int
    url: str


class ServerLock:
    """The right to serve a home folder, held until `release` or the end of the process.

    Args:
        home: The folder; it is made when missing.

    Raises:
        Conflict: another process serves it; the message names its pid and address.
        StorageFull: the lock file cannot be written.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        with storage_errors(home):
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise _held(home) from error
        (home / NOTE_FILE).unlink(missing_ok=True)  # left by a server that was killed
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def announce(self, url: str) -> None:
        """Write where the server listens, for clients of this folder."""
        write_atomic(self._home / NOTE_FILE, json.dumps({"url": url, "pid": os.getpid()}).encode() + b"\n", mode=0o600)

    def release(self) -> None:
        """Let another server have the folder; a second call does nothing."""
        if self._descriptor < 0:
            return
        (self._home / NOTE_FILE).unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Return the lock, which is held."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Release the lock."""
        self.release()


def find_holder(home: Path) -> Holder | None:
    """Return the server that holds the folder now, or None."""
    try:
        descriptor = os.open(home / LOCK_FILE, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(descriptor, 32, 0).strip()
        return Holder(pid=int(pid) if pid.isdigit() else 0, url=_noted_url(home))
    finally:
        os.close(descriptor)
    return None


def _noted_url(home: Path) -> str:
    try:
        return str(json.loads((home / NOTE_FILE).read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _held(home: Path) -> Conflict:
    holder = find_holder(home) or Holder(pid=0, url="")
    where = f" at {holder.url}" if holder.url else ""
    return Conflict(
        f"Process {holder.pid} already serves {home.absolute()}{where}.",
        next_step=f"Use that server, stop it with: kill {holder.pid}, or choose another folder with --home or GATELINE_HOME.",
        facts={"pid": holder.pid, "url": holder.url, "home": str(home.absolute())},
    )
