"""Gateline's server and the stock MLflow server, at the same time over folders of their own."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.harness.processes import OURS, emptied, free_port, measure, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STOCK = {"stock": [], "stock_one_worker": ["--workers", "1"]}  # MLflow's default is four workers
GATELINE = "gateline"
CLIENT = "bench.tracking.stock_client"


class Servers:
    """The servers over fresh folders, and how MLflow's client reaches each.

    Args:
        build: Where the folders are made.
        programs: Of the stock MLflow.
    """

    def __init__(self, build: Path, programs: Path) -> None:
        self._build = build
        self._programs = programs
        self._folders = {who: emptied(build / who) for who in (*STOCK, GATELINE)}
        self.databases = {who: self._folders[who] / "mlflow.db" for who in STOCK}
        self.databases[GATELINE] = self._folders[GATELINE] / "mlflow" / "mlflow.db"
        self.client: dict[str, dict[str, str]] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run all of them within the block."""
        with contextlib.ExitStack() as stack:
            for who in STOCK:
                stack.enter_context(self._stock(who))
            stack.enter_context(self._gateline())
            yield

    def _stock(self, who: str) -> contextlib.AbstractContextManager[None]:
        port = free_port()
        self.client[who] = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
        command = [str(self._programs / "mlflow"), "server", "--backend-store-uri", f"sqlite:///{self.databases[who]}",
                   "--artifacts-destination", str(self._folders[who] / "artifacts"), "--port", str(port), *STOCK[who]]  # fmt: skip
        return serving(command, f"http://127.0.0.1:{port}/health", b"OK", self._build / f"{who}.log")

    @contextlib.contextmanager
    def _gateline(self) -> Iterator[None]:
        port, home = free_port(), self._folders[GATELINE]
        url = f"http://127.0.0.1:{port}"
        command = [str(OURS), "-m", "gateline", "up", "--port", str(port), "--serving-port", "0"]
        with serving(command, f"{url}/health", b'"mlflow":"ready"', self._build / "gateline.log", {"GATELINE_HOME": str(home)}):
            token = json.loads((home / "credentials.json").read_text(encoding="utf-8"))["token"]
            self.client[GATELINE] = {"MLFLOW_TRACKING_URI": f"{url}/mlflow", "MLFLOW_TRACKING_TOKEN": token,
                                     "GATELINE_URL": url, "GATELINE_TOKEN": token}  # fmt: skip
            yield

    def turns(self, what: str, counts: Mapping[str, int], repeats: int) -> dict[str, list[dict[str, Any]]]:
        """Return what MLflow's own client measures against each server; they take turns."""
        found: dict[str, list[dict[str, Any]]] = {who: [] for who in counts}
        for _ in range(repeats):
            for who, count in counts.items():
                found[who].append(
                    measure(self._programs / "python", CLIENT, what, count, label=f"{who} {what}", environment=self.client[who])
                )
        return found

    def sdk(self, count: int) -> dict[str, Any]:
        """Return what Gateline's SDK measures against Gateline."""
        return measure(OURS, "bench.tracking.sdk_client", count, label="gateline sdk", environment=self.client[GATELINE])
