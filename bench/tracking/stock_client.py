"""What MLflow's own client measures against the server that MLFLOW_TRACKING_URI names; runs in the peer's environment.

Usage: python -m bench.tracking.stock_client log COUNT | batch COUNT | search COUNT
"""

from __future__ import annotations

import statistics
import sys
import time

import mlflow
from mlflow.entities import Metric

from bench.harness.measured import report


def log(count: int) -> dict[str, float]:
    """Call `mlflow.log_metric` in a loop and return calls per second."""
    mlflow.set_experiment("bench")
    with mlflow.start_run():
        mlflow.log_metric("warm", 0.0)
        begun = time.perf_counter()
        for step in range(count):
            mlflow.log_metric("loss", step / 7, step=step)
        seconds = time.perf_counter() - begun
    return {"count": count, "seconds": seconds, "per_second": count / seconds}


def batch(count: int) -> dict[str, float]:
    """Call `log_batch` with 1,000 values each and return the median time of a call."""
    mlflow.set_experiment("bench")
    client, seconds = mlflow.MlflowClient(), []
    with mlflow.start_run() as run:
        for turn in range(count + 1):
            now = int(time.time() * 1000)
            points = [Metric(f"m{index % 10}", index / 7, now, turn * 1_000 + index) for index in range(1_000)]
            begun = time.perf_counter()
            client.log_batch(run.info.run_id, metrics=points)
            seconds.append(time.perf_counter() - begun)
    return {"count": count, "milliseconds": statistics.median(seconds[1:]) * 1000}


def search(count: int) -> dict[str, float]:
    """Search the experiment `seeded` ordered by a metric and return the median time of a first page of 100 runs."""
    client, seconds = mlflow.MlflowClient(), []
    experiment = client.get_experiment_by_name("seeded").experiment_id
    for _ in range(count + 1):
        begun = time.perf_counter()
        found = client.search_runs([experiment], order_by=["metrics.m0 DESC"], max_results=100)
        seconds.append(time.perf_counter() - begun)
        values = [run.data.metrics["m0"] for run in found]
        if len(found) != 100 or values != sorted(values, reverse=True):
            raise SystemExit(f"The search gave {len(found)} runs, or not in order.")
    return {"count": count, "first_seconds": seconds[0], "seconds": statistics.median(seconds[1:])}


if __name__ == "__main__":
    report(**{"log": log, "batch": batch, "search": search}[sys.argv[1]](int(sys.argv[2])))
