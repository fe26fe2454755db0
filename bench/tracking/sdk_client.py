"""What Gateline's SDK measures against the server at GATELINE_URL: seconds from the first value to the end of the run, all of them logged.

Usage: python -m bench.tracking.sdk_client COUNT
"""

from __future__ import annotations

import sys
import time

from bench.harness.measured import report
from gateline.sdk.client import Client
from gateline.sdk.tracking import tracked_run


def main(count: int) -> None:
    """Log values one at a time, as a training loop does, and check that the server has each."""
    with Client() as client:
        with tracked_run(client, experiment="bench", name="sdk") as run:
            begun = time.perf_counter()
            for step in range(count // 10):
                run.log_metrics({f"m{index}": step / 7 + index for index in range(10)}, step=step)
            run.flush()
            seconds = time.perf_counter() - begun
        points = client.post(f"/runs/{run.run_id}/freeze")["metric_points"]
    if points != count:
        raise SystemExit(f"The server has {points} of {count} values.")
    report(count=count, seconds=seconds, per_second=count / seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]))
