"""Looking at processes and ending them, by what Linux says under /proc."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

MESSAGE_BYTES_MAX = 60_000
"""The most that the zygote and its runner say at once."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


def family(pid: int) -> set[int]:
    """Return a process and all that descend from it; those that are gone are left out."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        if one in found or not (_PROC / str(one)).exists():
            continue
        found.add(one)
        waiting += children(one)
    return found


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    found: list[int] = []
    try:
        for task in os.listdir(_PROC / str(pid) / "task"):  # noqa: PTH208 - names alone, ten times a second
            found += map(int, (_PROC / str(pid) / "task" / task / "children").read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return found
    return found


def memory_bytes(pids: set[int]) -> int:
    """Return the resident memory of processes together; pages that several share are divided among them."""
    return sum(_memory(pid) for pid in pids)


def _memory(pid: int) -> int:
    folder = _PROC / str(pid)
    try:
        for line in (folder / "smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError):
        pass
    try:
        return int((folder / "statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


def kernel_kills() -> int:
    """Return how often the kernel has killed a process since it began, for want of memory."""
    try:
        lines = (_PROC / "vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to the process group of a step and to what descends from it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
    for one in family(pid) - {pid}:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(one, number)
