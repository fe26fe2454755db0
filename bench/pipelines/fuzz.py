"""Kill server, runner, zygote and steps 200 times while runs of eight steps go on; exit status 1 when anything is wrong afterwards."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.crash.pipelines.fuzz import fuzz  # noqa: E402 - found by the line above


def main() -> int:
    """Run it and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=3600, help="seconds after which unfinished runs count as lost")
    options = parser.parse_args()
    folder = ROOT / "build" / "bench" / "pipelines" / "fuzz"
    shutil.rmtree(folder, ignore_errors=True)
    found = fuzz(folder, kills=options.kills, seed=options.seed, pause_seconds_max=3.0, deadline_seconds=options.deadline)
    print(found)
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
