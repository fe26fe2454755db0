"""The chain as an Airflow DAG; `airflow dags test chain` runs its tasks in the process of the command."""

from __future__ import annotations

import os

from airflow.sdk import dag, task


@dag(schedule=None, catchup=False)
def chain() -> None:
    """Draw a chain of tasks, each of which needs the one before."""

    @task
    def link(value: int) -> int:
        return value + 1

    value = 0
    for _ in range(int(os.environ["CHAIN_STEPS"])):
        value = link(value)


chain()
