"""One real server with the embedded MLflow, on a real port, for all tests of this folder; the clients are MLflow's own."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import requests
import uvicorn

from gateline.app import App, build
from gateline.kernel.settings import Settings
from gateline.server.asgi import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI

    from gateline.adapters.mlflow import EmbeddedMlflow
    from gateline.ledger import Entry, Ledger
    from gateline.tracking import Tracking


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The server, what it is made of, and tokens of two principals."""

    url: str
    app: App
    developer: str
    viewer: str

    @property
    def ledger(self) -> Ledger:
        return self.app.ledger

    @property
    def mlflow(self) -> EmbeddedMlflow:
        return self.app.mlflow

    @property
    def tracking(self) -> Tracking:
        return self.app.tracking

    @property
    def home(self) -> Path:
        return self.app.settings.home

    def entries(self, kind: str) -> list[Entry]:
        """Every ledger entry of a kind."""
        return self.ledger.entries(kind=kind, limit=100_000)

    def request(self, method: str, path: str, *, token: str | None = None, **more: object) -> requests.Response:
        """Send a request as the developer, or with another token."""
        token = self.developer if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.request(method, f"{self.url}{path}", headers=headers | more.pop("headers", {}), timeout=60, **more)

    @contextlib.contextmanager
    def refusal(self, fragment: str) -> Iterator[None]:
        """Assert that the block leaves exactly one refusal in the ledger, and that it says so."""
        before = len(self.entries("mlflow.request.refused"))
        yield
        fresh = self.entries("mlflow.request.refused")[before:]
        assert len(fresh) == 1
        assert fragment in str(fresh[0].payload)
        assert fresh[0].actor == "developer"


@contextlib.contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve an app on a free port and yield its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(30)
    listener.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("a home")
    app = build(Settings(home=home, workers=0, log_level="warning"))
    app.access.ensure_owner()
    tokens = {}
    for name in ("developer", "viewer"):
        app.access.create_principal("owner", name, [name])
        tokens[name] = app.access.create_token("owner", name)
    app.mlflow.start()
    with running(create_app(app)) as url:
        app.mlflow.wait()
        yield Served(url=f"{url}/mlflow", app=app, **tokens)
    app.mlflow.stop()
    app.records.close()


@pytest.fixture
def stock(served: Served, monkeypatch: pytest.MonkeyPatch):
    """The stock `mlflow` module, pointed at the server the way users do, with the developer's token."""
    import mlflow

    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)  # else pyspark, which mlflow asks, leaves the process
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", served.developer)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(served.url)
    yield mlflow
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.tracking.fluent._active_experiment_id = None  # the next module has another server
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    mlflow.set_tracking_uri(before)
