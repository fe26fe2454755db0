"""Kill server, runner, zygote and steps 200 times while runs of eight steps go on; `make bench-fuzz`.

The kills come at random moments, of a random victim; what was found goes to bench/results/pipelines_fuzz.json, and the exit status is 1
when anything is wrong afterwards. Another `--kills` or `--seed` is another experiment: it says so in the results.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import Any

from bench.harness.claims import Claim, at_least, exactly
from bench.harness.results import Benchmark
from tests.crash.pipelines.fuzz import STEPS, fuzz

KILLS = 200


def claims(found: dict[str, Any]) -> list[Claim]:
    """Return what the run shows: by its own count of kills."""
    kills = sum(found["kills"].values())
    what = f"SIGKILLs of server, runner, zygote and steps, at random, over {found['runs']} runs of {STEPS} steps"
    return [
        at_least("kills", f"{what}.", kills, "kills", 1),
        exactly("wrong", f"Runs with a wrong result, a lost step or not exactly one registration, after {kills} {what}.",
                len(found["wrong"]), "runs", 0),
    ]  # fmt: skip


def main() -> int:
    """Run it and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=3600, help="seconds after which unfinished runs count as lost")
    options = parser.parse_args()
    bench = Benchmark("pipelines_fuzz")
    folder = bench.build / "arena"
    shutil.rmtree(folder, ignore_errors=True)
    found = fuzz(folder, kills=options.kills, seed=options.seed, pause_seconds_max=3.0, deadline_seconds=options.deadline)
    for line in found["wrong"]:
        print(line)
    bench.raw = {"seed": options.seed, **found}
    bench.claims = claims(found)
    return bench.finish(quick=options.kills < KILLS)


if __name__ == "__main__":
    sys.exit(main())
