"""One real server with the embedded MLflow, on a real port, for all tests of this folder; the clients are MLflow's own."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import requests
import uvicorn
from fastapi import FastAPI

from gateline.access import Access, Principal
from gateline.adapters.mlflow import EmbeddedMlflow
from gateline.kernel.clock import SystemClock
from gateline.kernel.records import Records, Row
from gateline.kernel.settings import Settings
from gateline.ledger import Entry, Ledger, SigningKey
from gateline.lineage import Lineage
from gateline.tracking import Tracking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The server, what it is made of, and tokens of three principals."""

    url: str
    ledger: Ledger
    access: Access
    mlflow: EmbeddedMlflow
    tracking: Tracking
    home: Path
    developer: str
    viewer: str

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


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("a home")
    settings = Settings(home=home)
    records = Records(settings.records_location)
    import_stores()
    Row.metadata.create_all(records.engine)
    ledger = Ledger(records, SystemClock(), SigningKey.load_or_create(settings.keys_path))
    access = Access(ledger, home)
    access.ensure_owner()
    tokens = {}
    for name, role in (("developer", "developer"), ("viewer", "viewer")):
        access.create_principal("owner", name, [role])
        tokens[name] = access.create_token("owner", name)
    mlflow = EmbeddedMlflow(settings, ledger, access.authenticate, lambda who, what: allowed(access, who, what))
    tracking = Tracking(ledger, mlflow.run_source, Lineage(records))
    app = FastAPI()
    app.get("/api/v1/health")(lambda: {"mlflow": mlflow.state})
    app.mount("/mlflow", mlflow.asgi)
    mlflow.start()
    with running(app) as url:
        mlflow.wait()
        yield Served(url=f"{url}/mlflow", ledger=ledger, access=access, mlflow=mlflow, tracking=tracking, home=home, **tokens)
    mlflow.stop()
    records.close()


def allowed(access: Access, who: Principal, what: object) -> bool:
    return access.admits(who, what).allowed


def import_stores() -> None:
    import gateline.access.store
    import gateline.ledger.store
    import gateline.lineage.store
    import gateline.tracking.store  # noqa: F401


@pytest.fixture
def stock(served: Served, monkeypatch: pytest.MonkeyPatch):
    """The stock `mlflow` module, pointed at the server the way users do, with the developer's token."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", served.developer)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(served.url)
    yield mlflow
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.set_tracking_uri(before)
