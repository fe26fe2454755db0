"""What the chapters share: the running processes, a client for each role, and what was made so far."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.demo.memory import MemoryWatch
from gateline.demo.processes import Child, Processes, free_port, wait_for
from gateline.demo.replay import Replay
from gateline.demo.telling import Teller
from gateline.kernel.errors import Conflict, GatelineError, NotFound, Unavailable
from gateline.kernel.settings import Settings
from gateline.sdk.client import Client
from gateline.sdk.project import Project

if TYPE_CHECKING:
    from gateline.demo.options import Options

HOST = "127.0.0.1"
ENVIRONMENT = "prod"
TOKENS_FILE = "demo-tokens.json"
RECONCILE_SECONDS = "0.1"
THREADS = {"OMP_WAIT_POLICY": "passive"}
"""Threads of OpenMP sleep while they wait. On two cores shared with server and workers, spinning made a fit of 3 s take 120 s."""

ROLES: dict[str, tuple[str, list[str]]] = {
    # The developer is a validator too, so that only the separation of duties stands between an author and an approval.
    "developer": ("person", ["developer", "validator"]),
    "validator": ("person", ["validator"]),
    "operator": ("person", ["operator"]),
    "auditor": ("person", ["auditor"]),
    "replayer": ("service", ["replayer"]),
    "runner": ("service", ["runner"]),
}
"""Principal name to kind and roles. The names are role words."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """The state of one telling.

    Attributes:
        options: What the user asked for.
        teller: Writes the account.
        memory: Watches the memory of all processes.
        processes: The child processes.
        tokens: Role to API token.
        clients: Role to client.
        url: Address of the control plane.
        serving_port: Port of the inference workers.
        model: Name of the model and of the endpoint of this telling.
        facts: What chapters leave for later ones.
        replay: The replay, from chapter 6 on.
    """

    options: Options
    teller: Teller
    memory: MemoryWatch
    processes: Processes
    tokens: dict[str, str] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    url: str = ""
    serving_port: int = 0
    model: str = "flight-delay"
    facts: dict[str, Any] = field(default_factory=dict)
    replay: Replay | None = None
    server: Child | None = None
    stock: Child | None = None
    runner: Child | None = None
    project: Project | None = None

    def client(self, role: str) -> Client:
        """Return the client that acts as a role."""
        return self.clients[role]

    @property
    def playing(self) -> Replay:
        """The replay; raises Unavailable before chapter 6."""
        if self.replay is None:
            raise Unavailable("The replay has not begun.")
        return self.replay

    @property
    def settings(self) -> dict[str, Any]:
        """The content of the project's gateline.toml."""
        if self.project is None:
            raise Unavailable("The project is not there yet.")
        return self.project.settings

    @property
    def children(self) -> list[Child]:
        """The processes that must stay alive."""
        return [child for child in (self.server, self.runner) if child is not None]

    def close(self) -> None:
        """Close clients and stop processes."""
        for client in self.clients.values():
            client.close()
        self.clients.clear()
        self.processes.stop()


def start_server(stage: Stage) -> None:
    """Start `gateline up` on free ports and wait until it answers; nobody else may serve the folder."""
    options = stage.options
    home = options.home.absolute()
    _refuse_served_folder(home)
    port = free_port(HOST, options.port)
    stage.serving_port = free_port(HOST, options.serving_port, taken=[port])
    arguments = [
        "gateline", "--home", str(home), "up", "--host", HOST, "--port", str(port), "--serving-port", str(stage.serving_port),
        "--workers", "1",
    ]  # fmt: skip
    server = stage.processes.start("server", arguments, variables={"GATELINE_RECONCILE_INTERVAL_SECONDS": RECONCILE_SECONDS} | THREADS)
    stage.server = server
    stage.url = f"http://{HOST}:{port}"
    credentials = home / "credentials.json"

    def answers() -> str | None:
        if not credentials.exists():
            return None
        token = str(json.loads(credentials.read_text(encoding="utf-8"))["token"])
        with Client(url=stage.url, token=token) as client:
            client.get("/status")
        return token

    token = wait_for("the server's first answer", answers, seconds=60, children=[server])
    stage.tokens["owner"] = token
    stage.clients["owner"] = Client(url=stage.url, token=token)


def _refuse_served_folder(home: Path) -> None:
    """Raise Conflict when a server already runs on the folder."""
    try:
        url = json.loads((home / "server.json").read_text(encoding="utf-8"))["url"]
        with Client(url=url, token="none") as client:
            client.get("/health")
    except (OSError, ValueError, KeyError, TypeError, GatelineError):
        return
    raise Conflict(
        f"A Gateline server already serves {home} at {url}.", next_step="Stop it, or give the demo another folder: gateline demo --home DIR"
    )


def create_roles(stage: Stage) -> None:
    """Create a principal and a token for each role, through the API, as the owner."""
    owner = stage.client("owner")
    for name, (kind, roles) in ROLES.items():
        owner.post("/principals", json={"name": name, "kind": kind, "roles": roles})
        stage.tokens[name] = owner.post("/tokens", json={"principal": name})["token"]
        stage.clients[name] = Client(url=stage.url, token=stage.tokens[name])
    path = stage.options.home / TOKENS_FILE
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(json.dumps(stage.tokens, indent=2) + "\n", encoding="utf-8")


def copy_project(stage: Stage) -> Path:
    """Copy the project into the home folder, where a user can look at it, and load it."""
    target = stage.options.home.absolute() / "project"
    source = Path(__file__).parent / "project"
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.suffix in {".py", ".toml"} and path.name != "__init__.py":
            shutil.copyfile(path, target / path.name)
    stage.project = Project.load(target)
    return target


def start_runner(stage: Stage, project: Path) -> None:
    """Start `gateline runner` on the project; it loads the pipeline, and with it MLflow, before it asks for work."""
    stage.runner = stage.processes.start(
        "runner",
        ["gateline", "runner", "--project", str(project)],
        variables={
            "GATELINE_URL": stage.url,
            "GATELINE_TOKEN": stage.tokens["runner"],
            "GATELINE_HOME": str(stage.options.home.absolute() / "runner"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        }
        | THREADS,
    )


def start_stock_client(stage: Stage) -> None:
    """Start the program that knows only MLflow."""
    stage.stock = stage.processes.start("stock MLflow client", ["gateline.demo.stock_client"], pipes=True)


def unused_name(stage: Stage, wanted: str) -> str:
    """Return a name that neither a model nor an endpoint has yet: an earlier telling keeps its records, this one begins anew."""
    owner = stage.client("owner")
    taken = {one["name"] for one in owner.get("/models")} | {one["name"] for one in owner.get("/endpoints")}
    number = 1
    while (name := wanted if number == 1 else f"{wanted}-{number}") in taken:
        number += 1
    return name


def version_path(version: str) -> str:
    """Return the API path of a model version.

    >>> version_path("flight-delay@3")
    '/models/flight-delay/versions/3'
    """
    name, _, number = version.rpartition("@")
    if not name:
        raise NotFound(f"'{version}' is no model version.")
    return f"/models/{name}/versions/{number}"


def default_places() -> tuple[Path, int, int]:
    """Return what the settings say: home folder, port of the control plane, port of the inference workers."""
    settings = Settings()
    return settings.home, settings.port, settings.serving_port
