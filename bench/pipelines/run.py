"""Measure what a step costs that does nothing, beside Airflow, Prefect and Dagster; `make bench-pipelines`.

Everybody runs the same chain of 20 tasks, each of which needs the one before and adds one. The contenders take turns; each has a process
(or command) of its own in each round, whose first run does not count; the median of all others counts. Results and claims go to
bench/results/pipelines.json; the exit status is 1 when a claim does not hold. A peer that cannot be installed or run is in the results
with the reason, and nothing is claimed about it.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from bench.harness.claims import Claim, at_least, at_most
from bench.harness.results import Benchmark, arguments
from bench.pipelines.contenders import CONTENDERS

STEPS = 20
REPEATS = {"gateline": 5}  # in each round; one for the peers

# ours, theirs, goal, what is compared: from the drawn plan to the end of the run, or from the call to its return
COMPARED = (
    ("inline", "airflow_dags_test", 20, "run_seconds", "`airflow dags test` (both in process; first task to end of run)"),
    ("inline", "prefect_inline", 5, "seconds", "Prefect (both in process; call to return)"),
    ("inline", "dagster_inline", 5, "seconds", "Dagster's in_process_executor (both in process; call to return)"),
    ("process", "prefect_process", 5, "seconds", "Prefect's ProcessPoolTaskRunner (both with child processes; call to return)"),
    ("process", "dagster_process", 5, "seconds", "Dagster's multiprocess_executor (both a child process for each step; call to return)"),
)


def rounds(bench: Benchmark, count: int, *, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Return the measurements of each contender, which take turns; one that is missing is not asked again."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(count):
        for one in CONTENDERS:
            before = found.setdefault(one.name, [])
            if (one.slow and quick) or any("missing" in measured for measured in before):
                continue
            before.append(one.measure(bench.build, STEPS, REPEATS.get(one.name.split("_")[0], 1)))
    return {name: measured for name, measured in found.items() if measured}


def median(measured: list[dict[str, Any]], what: str) -> float | None:
    """Return the median seconds of all runs of a contender, or None when it was not measured whole."""
    if any("missing" in one for one in measured) or not measured:
        return None
    return statistics.median(seconds for one in measured for seconds in one.get(what, one["seconds"]))


def alone(found: dict[str, list[dict[str, Any]]]) -> list[Claim]:
    """Return what is claimed about Gateline by itself."""
    inline, process, cached = (
        statistics.median(seconds for one in found[f"gateline_{mode}"] for seconds in one["run_seconds"])
        for mode in ("inline", "process", "cached")
    )
    return [
        at_most("step_inline", "Overhead of a step in the runner's own process.", inline / STEPS * 1e3, "ms", 5),
        at_most("step_process", "Overhead of a step with its child process.", process / STEPS * 1e3, "ms", 150),
        at_most("cached_run", f"A run of {STEPS} steps that were all computed before, from request to end.", cached, "s", 1),
    ]


def beside(found: dict[str, list[dict[str, Any]]]) -> list[Claim]:
    """Return what is claimed beside each peer that was measured."""
    claims = []
    for ours, theirs, goal, what, words in COMPARED:
        one, other = median(found[f"gateline_{ours}"], what), median(found.get(theirs, []), what)
        if one and other:
            text = f"Overhead per task of a chain of {STEPS}: times less than {words}."
            claims.append(at_least(f"{ours}_vs_{theirs}", text, other / one, "x", goal))
    return claims


def ratios(found: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Return every peer in multiples of every way of ours, like with like or not, for whoever wants another comparison."""
    medians = {name: median(measured, "seconds") for name, measured in found.items()}
    ours = {name: value for name, value in medians.items() if value and name.startswith("gateline") and name != "gateline_cached"}
    theirs = {name: value for name, value in medians.items() if value and not name.startswith("gateline")}
    return {name: {other: round(seconds / value, 2) for other, seconds in theirs.items()} for name, value in ours.items()}


def main() -> int:
    """Run the benchmark, write the results and return the exit status."""
    quick = arguments(__doc__, "one round, without the peers' child processes").parse_args().quick
    bench = Benchmark("pipelines", **{one.package: one.version for one in CONTENDERS if one.environment})
    found = rounds(bench, 1 if quick else 3, quick=quick)
    per_task = {name: round(value / STEPS * 1e3, 2) for name, measured in found.items() if (value := median(measured, "seconds"))}
    bench.raw = {**found, "per_task_ms_call_to_return": per_task, "peers_in_multiples_of_gateline": ratios(found)}
    bench.claims = alone(found) + beside(found)
    return bench.finish(quick=quick)


if __name__ == "__main__":
    sys.exit(main())
