"""Run the chain as a Prefect flow and report the seconds of each run.

prefect_runs.py FOLDER inline|process STEPS REPEATS; runs in Prefect's environment, against the temporary server that Prefect starts for a
script. `inline` calls the tasks one after the other in the process of the flow; `process` submits them to Prefect's pool of processes.
The first run is for warming and does not count.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path


def main(folder: Path, mode: str, steps: int, repeats: int) -> None:
    """Measure one way of running."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ.update({
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
        "PREFECT_LOGGING_LEVEL": "WARNING",
    })  # fmt: skip
    from bench.harness.measured import report
    from bench.pipelines.peers import prefect_chain

    flow = {"inline": prefect_chain.inline, "process": prefect_chain.process}[mode]
    seconds = []
    for repeat in range(repeats + 1):
        begun = time.perf_counter()
        value = flow(steps, repeat)
        seconds.append(time.perf_counter() - begun)
        if value != repeat + steps:
            raise SystemExit(f"The flow gave {value}.")
    report(seconds=seconds[1:], steps=steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
