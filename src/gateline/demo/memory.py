"""How much memory the demo's processes take together: the sum of their proportional set sizes, sampled.

Shared pages count once (PSS, proc(5) smaps_rollup); where a kernel does not give it, resident pages are taken, which counts them twice.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Self

_PROC = Path("/proc")
_INTERVAL_SECONDS = 1.0


class MemoryWatch:
    """Samples the memory of this process and all its descendants, and remembers the largest sum.

    Attributes:
        peak_bytes: Largest sum seen; 0 where the system has no /proc.
        processes: Number of processes at that moment.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self.processes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def __enter__(self) -> Self:
        """Begin sampling."""
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Take a last sample and end."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(_INTERVAL_SECONDS):
            self.sample()

    def sample(self) -> int:
        """Take a sample now and return the sum in bytes."""
        pids = process_tree(os.getpid())
        total = sum(memory_bytes(pid) for pid in pids)
        if total > self.peak_bytes:
            self.peak_bytes, self.processes = total, len(pids)
        return total


def process_tree(root: int) -> list[int]:
    """Return the ids of a process and all its descendants; empty where the system has no /proc."""
    if not (_PROC / str(root)).exists():
        return []
    found, pending = [], [root]
    while pending:
        pid = pending.pop()
        found.append(pid)
        try:
            for task in (_PROC / str(pid) / "task").iterdir():
                pending += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
        except (OSError, ValueError):
            continue
    return found


def memory_bytes(pid: int) -> int:
    """Return the proportional set size of a process in bytes; 0 when it is gone."""
    folder = _PROC / str(pid)
    for name, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            text = (folder / name).read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0
