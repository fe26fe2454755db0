"""The chain as Dagster jobs: one for each way of running."""

from __future__ import annotations

import os

from dagster import in_process_executor, job, multiprocess_executor, op

STEPS = int(os.environ["CHAIN_STEPS"])


@op
def begin() -> int:
    """Give the first value."""
    return 1


@op
def link(value: int) -> int:
    """Count."""
    return value + 1


def _draw() -> None:
    value = begin()
    for number in range(1, STEPS):
        value = link.alias(f"link_{number}")(value)


@job(executor_def=in_process_executor)
def inline() -> None:
    """Run each op in the process of the run."""
    _draw()


@job(executor_def=multiprocess_executor)
def process() -> None:
    """Run each op in a process of its own: Dagster's default."""
    _draw()
