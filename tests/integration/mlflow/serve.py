"""A server process: FastAPI with the embedded MLflow on the port given, in the home folder given. It prints what loading cost."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from gateline.access import Access
from gateline.adapters.mlflow import EmbeddedMlflow
from gateline.kernel.clock import SystemClock
from gateline.kernel.errors import Unavailable
from gateline.kernel.records import Records, Row
from gateline.kernel.settings import Settings
from gateline.ledger import Ledger, SigningKey
from gateline.tracking import Tracking  # noqa: F401 - brings its table


def resident_mb() -> int:
    """Memory of this process now, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


def main(home: Path, port: int) -> None:
    settings = Settings(home=home)
    records = Records(settings.records_location)
    Row.metadata.create_all(records.engine)
    ledger = Ledger(records, SystemClock(), SigningKey.load_or_create(settings.keys_path))
    access = Access(ledger, home)
    access.ensure_owner()
    mlflow = EmbeddedMlflow(settings, ledger, access.authenticate, lambda who, what: access.admits(who, what).allowed)
    app = FastAPI()
    app.get("/health")(mlflow.health)
    app.mount("/mlflow", mlflow.asgi)
    before = resident_mb()

    def report() -> None:
        with contextlib.suppress(Unavailable):  # what failed is printed, so that a test fails and does not wait for ever
            mlflow.wait()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({**mlflow.health(), "before_mb": before, "after_mb": resident_mb(), "peak_mb": peak}), flush=True)

    mlflow.start()
    threading.Thread(target=report, daemon=True).start()
    uvicorn.run(app, port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
