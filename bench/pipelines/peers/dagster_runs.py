"""Run the chain as a Dagster job and report the seconds of each run.

dagster_runs.py FOLDER inline|process STEPS REPEATS; runs in Dagster's environment, with its records on SQLite in the folder.
`execute_job` is what `dagster job execute` and the launcher of `dagster dev` call; here one process calls it again and again, so that
imports do not count. The first run is for warming and does not count.
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
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    os.environ.update({"DAGSTER_HOME": str(folder), "DAGSTER_DISABLE_TELEMETRY": "1", "CHAIN_STEPS": str(steps)})
    from dagster import DagsterInstance, execute_job, reconstructable

    from bench.harness.measured import report
    from bench.pipelines.peers import dagster_chain

    job = reconstructable({"inline": dagster_chain.inline, "process": dagster_chain.process}[mode])
    seconds = []
    with DagsterInstance.get() as instance:
        for _ in range(repeats + 1):
            begun = time.perf_counter()
            with execute_job(job, instance) as result:
                seconds.append(time.perf_counter() - begun)
                if not result.success or result.output_for_node(f"link_{steps - 1}") != steps:
                    raise SystemExit(f"The job did not succeed: {[str(one) for one in result.all_events if one.is_failure]}")
    report(seconds=seconds[1:], steps=steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
