"""The results of a benchmark: what surrounded it, what was measured, what is claimed; in bench/results and on the terminal."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bench.harness.environments import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.claims import Claim


class Benchmark:
    """One run of a benchmark.

    Args:
        name: Of the results file.
        versions: Versions of what was measured, beside Gateline.

    Attributes:
        build: A folder for what the run makes.
        raw: Each measurement, by name; JSON.
        claims: Those that this run has measured.
    """

    def __init__(self, name: str, **versions: str) -> None:
        self.build: Path = ROOT / "build" / "bench" / name
        self.build.mkdir(parents=True, exist_ok=True)
        self.raw: dict[str, Any] = {}
        self.claims: list[Claim] = []
        self._result = ROOT / "bench" / "results" / f"{name}.json"
        self._environment = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 2),
            "versions": {"gateline": version("gateline"), **versions},
        }
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # what it has started ends with the benchmark

    def finish(self, *, quick: bool, keep: bool = True) -> int:
        """Write the results unless they are a part only, print the claims and return the exit status: 1 when a claim does not hold."""
        if not keep:
            return shown(self.claims)
        environment = {**self._environment, "load_after": round(os.getloadavg()[0], 2), "quick": quick}
        content = {"environment": environment, "raw": self.raw, "claims": [one.as_json() for one in self.claims]}
        self._result.parent.mkdir(parents=True, exist_ok=True)
        self._result.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return shown(self.claims)


def shown(claims: list[Claim]) -> int:
    """Print claims and return the exit status: 1 when one does not hold."""
    for one in claims:
        print(one.line())
    return 0 if all(one.holds for one in claims) else 1


def arguments(description: str | None, quick: str) -> argparse.ArgumentParser:
    """Return the parser of a benchmark's command line; `quick` says what a quick run leaves out."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help=f"{quick}; at most 4 minutes")
    return parser
