"""Run `airflow dags test chain` and report, for each run, the seconds from the start of its first task to its end, and of the command.

airflow_runs.py FOLDER STEPS REPEATS; runs in Airflow's environment. The first run is for warming and does not count.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from bench.harness.measured import report

HERE = Path(__file__).resolve().parent


def main(folder: Path, steps: int, repeats: int) -> None:
    """Make a home with a database of its own, and measure."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "dags").mkdir(parents=True)
    shutil.copy(HERE / "airflow_chain.py", folder / "dags")
    programs = Path(sys.executable).parent
    environment = os.environ | {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "CHAIN_STEPS": str(steps),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }

    def airflow(*words: str) -> float:
        begun = time.perf_counter()
        with (folder / "airflow.log").open("ab") as log:
            subprocess.run([str(programs / "airflow"), *words], env=environment, stdout=log, stderr=log, check=True)
        return time.perf_counter() - begun

    airflow("db", "migrate")
    commands = [airflow("dags", "test", "chain") for _ in range(repeats + 1)]
    report(seconds=commands[1:], run_seconds=_seconds(folder, steps)[1:], steps=steps)


def _seconds(folder: Path, steps: int) -> list[float]:
    """Return the seconds of each run, in order, as Airflow's database has them."""
    with sqlite3.connect(folder / "airflow.db") as connection:
        runs = connection.execute(
            "select min(task_instance.start_date), dag_run.end_date, count(*) from task_instance join dag_run using (dag_id, run_id)"
            " where task_instance.state = 'success' and dag_run.state = 'success' group by dag_run.id order by dag_run.id"
        ).fetchall()
    if any(count != steps for _, _, count in runs):
        raise SystemExit(f"Not every task succeeded: {runs}; see {folder}/airflow.log")
    return [(datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds() for begun, ended, _ in runs]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
