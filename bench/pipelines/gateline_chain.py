"""Run chains of steps that do nothing and report the seconds of each run.

gateline_chain.py FOLDER inline|process|cached STEPS REPEATS
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

os.environ["GATELINE_MLFLOW"] = "false"
os.environ["GATELINE_LOG_LEVEL"] = "warning"

from gateline.sdk.client import Client
from gateline.sdk.project import Project
from gateline.sdk.running import Runner, run_inline
from gateline.sdk.running.desk import unique_name

HERE = Path(__file__).resolve().parent


def main(folder: Path, mode: str, steps: int, repeats: int) -> None:
    """Measure one way of running: from the drawn plan to the end of the run, for cached steps from the request."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "project", folder / "project")
    project = Project.load(folder / "project")
    with Client(home=folder / "home") as client:
        seconds = []
        for repeat in range(repeats + 1):
            begin = 0 if mode == "cached" else repeat * 1_000_000
            body = {"parameters": {"steps": steps, "start": begin}, "project": project.name}
            run_id = client.post("/pipelines/chain/runs", json=body)["id"]
            run = _run(client, project, run_id, mode)
            if repeat:  # the first one imports and fills the cache
                since = "requested_at" if mode == "cached" else "started_at"
                seconds.append((run["ended_at"] - run[since]) / 1e6)
        wanted = "reused_from" if mode == "cached" else "attempts"
        if run["state"] != "succeeded" or not all(step[wanted] for step in run["steps"]):
            raise SystemExit(f"The run did not go as it must: {run}")
    print(json.dumps({"seconds": seconds, "steps": steps}))


def _run(client: Client, project: Project, run_id: str, mode: str) -> dict:
    if mode == "inline":
        run_inline(client, project, run_id, name=unique_name(), tell=lambda *_: None)
    else:
        runner = Runner(client, project, run_id=run_id)
        runner.warm()
        runner.run(lambda: client.get(f"/pipeline-runs/{run_id}")["over"])
    return client.get(f"/pipeline-runs/{run_id}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
