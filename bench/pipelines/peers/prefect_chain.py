"""The chain as Prefect flows."""

from __future__ import annotations

from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner


@task
def link(value: int) -> int:
    """Count."""
    return value + 1


@flow
def inline(steps: int, start: int) -> int:
    """Call the tasks one after the other."""
    value = start
    for _ in range(steps):
        value = link(value)
    return value


@flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def process(steps: int, start: int) -> int:
    """Submit the tasks, each with the future of the one before."""
    value = start
    for _ in range(steps):
        value = link.submit(value)
    return value.result()
