"""Steps that do nothing: what a run of them takes is overhead."""

from __future__ import annotations

from typing import Any

from gateline import pipeline, step


@step
def link(value: int) -> int:
    """Count."""
    return value + 1


@pipeline
def chain(steps: int = 20, start: int = 0) -> Any:
    """A chain of steps, each of which needs the one before."""
    value: Any = start
    for _ in range(steps):
        value = link(value)
    return value
