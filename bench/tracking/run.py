"""Measure metric logging and search beside the stock MLflow server on SQLite, in one run; `make bench-tracking`.

The stock server and MLflow's own client come from an environment of their own. Both servers run at the same time and are asked in
turns, so that the load of the machine falls on both; the median of the turns counts. Results and claims go to
bench/results/tracking.json; the exit status is 1 when a claim does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from seed import seed

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "bench" / "tracking"
RESULT = ROOT / "bench" / "results" / "tracking.json"
RUNS = 10_000
VALUES = 100_000
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def stock_environment() -> Path:
    """Return the folder with the programs of the stock MLflow, made from its lock file when it is not there."""
    folder, locked = BUILD / "mlflow-environment", ROOT / "requirements" / "mlflow.txt"
    stamp = folder / "locked"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != locked.read_text(encoding="utf-8"):
        subprocess.run([ROOT / "scripts" / "bootstrap"], check=True)
        uv = str(ROOT / ".tools" / "uv")
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], check=True)
        subprocess.run([uv, "pip", "sync", "-q", "--require-hashes", "--python", str(folder / "bin" / "python"), str(locked)], check=True)
        shutil.copy(locked, stamp)
    return folder / "bin"


@contextlib.contextmanager
def serving(command: list[str], ready: str, wanted: bytes, environment: dict[str, str]) -> Iterator[None]:
    """Run a server while the block runs, from when its page holds what is wanted."""
    log = BUILD / f"{Path(command[0]).name}-{time.time_ns()}.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | QUIET | environment) as process:
        try:
            for _ in range(600):
                with contextlib.suppress(httpx.HTTPError):
                    if wanted in httpx.get(ready, timeout=5, trust_env=False).content:
                        break
                if process.poll() is not None:
                    raise SystemExit(f"{' '.join(command)} ended; see {log}.")
                time.sleep(0.5)
            yield
        finally:
            process.terminate()
            process.wait(60)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Servers:
    """The two servers over fresh folders, and how MLflow's client reaches each."""

    def __init__(self, programs: Path) -> None:
        self.folders = {"stock": BUILD / "stock", "gateline": BUILD / "gateline"}
        for folder in self.folders.values():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self._programs = programs
        self.databases = {"stock": self.folders["stock"] / "mlflow.db", "gateline": self.folders["gateline"] / "mlflow" / "mlflow.db"}
        self.client: dict[str, dict[str, str]] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run both within the block."""
        with self._stock(), self._gateline():
            yield

    def _stock(self) -> contextlib.AbstractContextManager[None]:
        port, folder = free_port(), self.folders["stock"]
        self.client["stock"] = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
        command = [str(self._programs / "mlflow"), "server", "--backend-store-uri", f"sqlite:///{self.databases['stock']}",
                   "--artifacts-destination", str(folder / "artifacts"), "--port", str(port)]  # fmt: skip
        return serving(command, f"http://127.0.0.1:{port}/health", b"OK", {"PATH": f"{self._programs}:{os.environ['PATH']}"})

    @contextlib.contextmanager
    def _gateline(self) -> Iterator[None]:
        port, home = free_port(), self.folders["gateline"]
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "gateline", "up", "--port", str(port), "--serving-port", "0"]
        with serving(command, f"{url}/health", b'"mlflow":"ready"', {"GATELINE_HOME": str(home)}):
            token = json.loads((home / "credentials.json").read_text(encoding="utf-8"))["token"]
            self.client["gateline"] = {"MLFLOW_TRACKING_URI": f"{url}/mlflow", "MLFLOW_TRACKING_TOKEN": token,
                                       "GATELINE_URL": url, "GATELINE_TOKEN": token}  # fmt: skip
            yield

    def measure(self, who: str, what: str, count: int) -> dict[str, float]:
        """Return what MLflow's own client measures against a server."""
        return measure([str(self._programs / "python"), str(HERE / "stock_client.py"), what, str(count)], f"{who} {what}", self.client[who])

    def turns(self, what: str, counts: dict[str, int], repeats: int) -> dict[str, list[dict[str, float]]]:
        """Return the measurements of both servers, which take turns."""
        found: dict[str, list[dict[str, float]]] = {who: [] for who in counts}
        for _ in range(repeats):
            for who, count in counts.items():
                found[who].append(self.measure(who, what, count))
        return found


def measure(command: list[str], label: str, environment: dict[str, str]) -> dict[str, float]:
    """Run a client in a process of its own and return what it reports."""
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False, env=os.environ | QUIET | environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    found: dict[str, float] = next(json.loads(line) for line in reversed(done.stdout.splitlines()) if line.startswith("{"))
    print(f"  {label}: {found}", flush=True)
    return found


def median(measured: list[dict[str, float]], what: str) -> float:
    """Return the median of one number."""
    return statistics.median(one[what] for one in measured)


def claim(name: str, what: str, value: float, unit: str, sense: str, goal: float) -> dict[str, object]:
    """Return a claim with whether it holds."""
    holds = {">=": value >= goal, "<=": value <= goal}[sense]
    return {"id": name, "what": what, "value": round(value, 3), "unit": unit, "sense": sense, "goal": goal, "holds": holds}


def logging(servers: Servers, *, quick: bool) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Measure logging one value at a time and a thousand at a time, and 100,000 through the SDK, 10,000 when it is to be quick."""
    repeats, values = (3, VALUES // 10) if quick else (7, VALUES)
    log = servers.turns("log", {"stock": 200, "gateline": 600}, repeats)
    batch = servers.turns("batch", {"stock": 5, "gateline": 15}, repeats)
    command = [sys.executable, str(HERE / "sdk_client.py"), str(values)]
    sdk = [measure(command, "gateline sdk", servers.client["gateline"]) for _ in range(1 if quick else 3)]
    pairs = [ours["per_second"] / theirs["per_second"] for ours, theirs in zip(log["gateline"], log["stock"], strict=True)]
    rates = {who: median(found, "per_second") for who, found in log.items()}
    loop = f"{values:,} values by Gateline's SDK, one call each ten: times faster than mlflow.log_metric in a loop"
    return {"log": log, "batch": batch, "sdk": sdk}, [
        claim("log_metric_vs_stock", "mlflow.log_metric in a loop: calls per second, in multiples of the stock server (median of turns).",
              statistics.median(pairs), "x", ">=", 4),
        claim("log_batch_vs_stock", "log_batch of 1,000 values: times faster than the stock server.",
              median(batch["stock"], "milliseconds") / median(batch["gateline"], "milliseconds"), "x", ">=", 2),
        claim("sdk_vs_stock_loop", f"{loop} on the stock server.", median(sdk, "per_second") / rates["stock"], "x", ">=", 10),
        claim("sdk_vs_own_loop", f"{loop} on Gateline.", median(sdk, "per_second") / rates["gateline"], "x", ">=", 10),
    ]  # fmt: skip


def searching(servers: Servers, *, quick: bool) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Measure a search ordered by a metric over 10,000 runs, filled in while the servers were down."""
    search = servers.turns("search", {"stock": 1, "gateline": 5}, 1 if quick else 3)
    ours, theirs = (median(search[who], "seconds") for who in ("gateline", "stock"))
    what = f"First page of a search ordered by a metric over {RUNS:,} runs, through MLflow's own client"
    return {"search": search}, [
        claim("search_seconds", f"{what}.", ours, "s", "<=", 0.5),
        claim("search_vs_stock", f"{what}: times faster than the stock server.", theirs / ours, "x", ">=", 10),
    ]


def main() -> int:
    """Run the benchmark, write the results and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns and 10,000 values through the SDK; at most 4 minutes")
    quick = parser.parse_args().quick
    BUILD.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # the servers end with the benchmark
    surroundings = {"python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()[0], "mlflow": version("mlflow")}
    servers = Servers(stock_environment())
    with servers.running():
        raw, claims = logging(servers, quick=quick)
    for database in servers.databases.values():
        seed(database, RUNS)
    with servers.running():
        more, found = searching(servers, quick=quick)
    raw, claims = raw | more, claims + found
    content = {"environment": {**surroundings, "load_after": os.getloadavg()[0], "quick": quick}, "raw": raw, "claims": claims}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for one in claims:
        print(
            f"{'holds' if one['holds'] else 'FAILS'}  {one['id']:22} {one['value']:>12,} {one['unit']:3} goal {one['sense']} {one['goal']}"
        )
    return 0 if all(one["holds"] for one in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
