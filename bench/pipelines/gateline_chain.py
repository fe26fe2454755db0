"""Run chains of steps that do nothing and report the seconds of each run.

gateline_chain.py FOLDER inline|process|cached STEPS REPEATS; without a server, as `gateline run` does it in a folder of one's own. The
first run is for warming (it imports, and fills the cache) and does not count.

`seconds` are those from the request to the answer that the run is over; `run_seconds` those from the drawn plan to the end of the run, as
recorded, and for cached steps from the request.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

os.environ["GATELINE_MLFLOW"] = "false"
os.environ["GATELINE_LOG_LEVEL"] = "warning"

from bench.harness.measured import report
from gateline.sdk.client import Client
from gateline.sdk.project import Project
from gateline.sdk.running import Runner, run_inline
from gateline.sdk.running.desk import unique_name

HERE = Path(__file__).resolve().parent


def main(folder: Path, mode: str, steps: int, repeats: int) -> None:
    """Measure one way of running."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "project", folder / "project")
    project = Project.load(folder / "project")
    since = "requested_at" if mode == "cached" else "started_at"
    with Client(home=folder / "home") as client:
        seconds, recorded = [], []
        for repeat in range(repeats + 1):
            start = 0 if mode == "cached" else repeat * 1_000_000
            begun = time.perf_counter()
            run = _run(client, project, mode, {"steps": steps, "start": start})
            seconds.append(time.perf_counter() - begun)
            recorded.append((run["ended_at"] - run[since]) / 1e6)
            _check(run, start + steps, reused=mode == "cached" and repeat > 0)
    report(seconds=seconds[1:], run_seconds=recorded[1:], steps=steps)


def _run(client: Client, project: Project, mode: str, parameters: dict[str, int]) -> dict[str, Any]:
    run_id = client.post("/pipelines/chain/runs", json={"parameters": parameters, "project": project.name})["id"]
    if mode == "inline":
        run_inline(client, project, run_id, name=unique_name(), tell=lambda *_: None)
    else:
        runner = Runner(client, project, run_id=run_id)
        runner.warm()
        runner.run(lambda: client.get(f"/pipeline-runs/{run_id}")["over"])
    found: dict[str, Any] = client.get(f"/pipeline-runs/{run_id}")
    return found


def _check(run: dict[str, Any], result: int, *, reused: bool) -> None:
    """Check that each step did what it must, and that the last one gave the right number."""
    wanted, last = "reused_from" if reused else "attempts", run["steps"][-1]["artifact"]
    if run["state"] != "succeeded" or not all(step[wanted] for step in run["steps"]):
        raise SystemExit(f"Run {run['id']} {run['state']}: {run['failure']}; {wanted}: {[step[wanted] for step in run['steps']]}")
    if last["sha256"] != hashlib.sha256(str(result).encode()).hexdigest():
        raise SystemExit(f"The last step gave {last} and not {result}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
