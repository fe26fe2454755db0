"""Runs `python -m <arguments>` as a process that ends when the one that started it ends, however that happens.

On Linux the kernel sends it SIGTERM when its parent is gone, even after SIGKILL; elsewhere the parent's orderly end has to do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def attach_to_parent(parent: int) -> bool:
    """Ask for SIGTERM at the parent's end; return False when the parent is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    return os.getppid() == parent


def main() -> None:
    """Become the wanted module."""
    parent = os.getppid()
    if parent != 1 and not attach_to_parent(parent):
        sys.exit(1)
    os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
