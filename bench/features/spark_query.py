"""Compute lookup and windows with Gateline's Spark engine, embedded, with a heap of 4 GiB."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import data
import definitions

from gateline.adapters.spark import spark_session, write_on_spark


def main() -> None:
    """Run: spark_query.py lookup|windows <copies> <folder> <folder of the result>; the peak is that of the Java process."""
    name, copies, folder, result = sys.argv[1:]
    tables = {dataset: [path] for dataset, path in data.prepared(Path(folder), int(copies)).items()}
    session = spark_session(memory="4g", cores=2)
    begin = time.perf_counter()
    write_on_spark(getattr(definitions, name), tables, Path(result), session=session)
    seconds = time.perf_counter() - begin
    java = Path(f"/proc/{session.sparkContext._gateway.proc.pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", java)
    print(json.dumps({"seconds": seconds, "peak_mib": round(int(found[1]) / 1024, 1) if found else 0.0}))
    session.stop()


if __name__ == "__main__":
    main()
