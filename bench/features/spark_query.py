"""Compute lookup and windows with Gateline's Spark engine, embedded, with a heap of 4 GiB."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

from bench.features import data, definitions
from bench.harness.measured import report
from gateline.adapters.spark import spark_session, write_on_spark


def main() -> None:
    """Run: spark_query.py lookup|windows <copies> <folder> <folder of the result>; the peak is that of the Java process."""
    name, copies, folder, result = sys.argv[1:]
    tables = {dataset: [path] for dataset, path in data.prepared(Path(folder), int(copies)).items()}
    session = spark_session(memory="4g", cores=2)
    begin = time.perf_counter()
    write_on_spark(getattr(definitions, name), tables, Path(result), session=session)
    seconds = time.perf_counter() - begin
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8").split()
    peaks = [re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{child}/status").read_text(encoding="utf-8")) for child in children]
    report(seconds=seconds, peak_mib=max(round(int(found[1]) / 1024, 1) for found in peaks if found))
    session.stop()


if __name__ == "__main__":
    main()
