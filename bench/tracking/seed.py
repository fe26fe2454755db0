"""Fill MLflow's tables with runs, by SQL: 5 metrics, 5 parameters and 3 tags each. The server must not run."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path


def seed(database: Path, runs: int) -> None:
    """Add the experiment `seeded` with `runs` finished runs; the same ones every time."""
    rng, now = random.Random(4), int(time.time() * 1000)  # noqa: S311 - values to sort by
    connection = sqlite3.connect(database)
    with connection:
        (number,) = connection.execute("select coalesce(max(experiment_id), 0) + 1 from experiments").fetchone()
        columns = "experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace"
        row = (number, "seeded", f"mlflow-artifacts:/{number}", "active", now, now, "default")
        connection.execute(f"insert into experiments ({columns}) values (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
        for index in range(runs):
            run_id = f"{rng.getrandbits(128):032x}"
            connection.execute(
                "insert into runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time,"
                " source_version, lifecycle_stage, artifact_uri, experiment_id)"
                " values (?, ?, 'LOCAL', '', '', 'bench', 'FINISHED', ?, ?, '', 'active', ?, ?)",
                (run_id, f"run-{index}", now + index, now + index, f"mlflow-artifacts:/{number}/{run_id}/artifacts", number),
            )
            metrics = [(f"m{one}", rng.random(), now + index, run_id) for one in range(5)]
            for table in ("metrics", "latest_metrics"):
                connection.executemany(
                    f"insert into {table} (key, value, timestamp, run_uuid, step, is_nan) values (?, ?, ?, ?, 0, 0)",  # noqa: S608
                    metrics,
                )
            connection.executemany("insert into params (key, value, run_uuid) values (?, ?, ?)", _texts("p", 5, run_id, rng))
            connection.executemany("insert into tags (key, value, run_uuid) values (?, ?, ?)", _texts("t", 3, run_id, rng))
    connection.close()


def _texts(prefix: str, count: int, run_id: str, rng: random.Random) -> list[tuple[str, str, str]]:
    return [(f"{prefix}{one}", str(rng.randrange(100)), run_id) for one in range(count)]
