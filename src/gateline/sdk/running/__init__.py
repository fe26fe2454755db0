"""Running pipelines: a runner asks for work, and executes each step in a child process of its own."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateline.sdk.running.inline import run_inline
    from gateline.sdk.running.runner import Runner

__all__ = ["Runner", "run_inline"]

_HOMES = {"Runner": "runner", "run_inline": "inline"}


def __getattr__(name: str) -> Any:
    """Load a runner when it is first used: the processes of steps import this package too, and need none."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gateline.sdk.running' has no attribute '{name}'")
    return getattr(importlib.import_module(f"gateline.sdk.running.{_HOMES[name]}"), name)
