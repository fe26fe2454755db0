"""Compute the lookup, or lookup and windows, with Gateline."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bench.features import data, definitions
from bench.harness.measured import report
from gateline.features import compute


def main() -> None:
    """Run: gateline_query.py lookup|windows <copies> <folder> <result>."""
    name, copies, folder, result = sys.argv[1:]
    tables = data.prepared(Path(folder), int(copies))
    begin = time.perf_counter()
    found = compute(getattr(definitions, name), tables)
    report(seconds=time.perf_counter() - begin)
    found.sort("flight_id").write_parquet(result)


if __name__ == "__main__":
    main()
