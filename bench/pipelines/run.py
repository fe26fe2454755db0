"""Measure what a step costs that does nothing; `make bench-pipelines`.

Results and claims go to bench/results/pipelines.json; the exit status is 1 when a claim does not hold.

A contender is a function that takes the number of steps and of repeats and returns the seconds of each run; peers are added to CONTENDERS.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "bench" / "pipelines"
RESULT = ROOT / "bench" / "results" / "pipelines.json"
STEPS = 20


def gateline(mode: str) -> Callable[[int, int], list[float]]:
    """Return a contender: Gateline with steps inline, in child processes, or all from the cache."""

    def measured(steps: int, repeats: int) -> list[float]:
        command = [sys.executable, str(HERE / "gateline_chain.py"), str(BUILD / mode), mode, str(steps), str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
        found: list[float] = json.loads(done.stdout.strip().splitlines()[-1])["seconds"]
        return found

    return measured


CONTENDERS = {f"gateline_{mode}": gateline(mode) for mode in ("inline", "process", "cached")}


def claim(name: str, what: str, value: float, unit: str, goal: float) -> dict[str, object]:
    """Return a claim that a value is at most its goal."""
    return {"id": name, "what": what, "value": round(value, 3), "unit": unit, "sense": "<=", "goal": goal, "holds": value <= goal}


def main() -> int:
    """Run the benchmark, write the results and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats; at most 4 minutes")
    repeats = 4 if parser.parse_args().quick else 10
    BUILD.mkdir(parents=True, exist_ok=True)
    raw: dict[str, object] = {}
    medians: dict[str, float] = {}
    for name, contender in CONTENDERS.items():
        before = os.getloadavg()[0]
        seconds = contender(STEPS, repeats)
        medians[name] = statistics.median(seconds)
        raw[name] = {"seconds": seconds, "steps": STEPS, "load": before}
        print(f"  {name}: {medians[name] / STEPS * 1e3:.1f} ms for each step, load {before:.1f}", flush=True)
    per_step = {name: seconds / STEPS * 1e3 for name, seconds in medians.items()}
    claims = [
        claim("step_inline", "Overhead of a step in the runner's own process.", per_step["gateline_inline"], "ms", 5),
        claim("step_process", "Overhead of a step with its child process.", per_step["gateline_process"], "ms", 150),
        claim(
            "cached_run", f"A run of {STEPS} steps that were all computed before, from request to end.", medians["gateline_cached"], "s", 1
        ),
    ]
    surroundings = {"python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"environment": surroundings, "raw": raw, "claims": claims}, indent=2) + "\n", encoding="utf-8")
    for one in claims:
        print(f"{'holds' if one['holds'] else 'FAILS'}  {one['id']:16} {one['value']:>10} {one['unit']:3} goal <= {one['goal']}")
    return 0 if all(one["holds"] for one in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
