"""What runs on a node of Ray: one step, in a child process under the same watch as on the runner's machine.

    python -m gateline.sdk.running.ray.worker RUN STEP INDEX JOB ARCHIVE        (by Ray's job server)

It takes the step by its ticket, fetches the project, and keeps the lease, hands in output and result itself. When it loses the step, the
job is stopped in Ray, or Ray on the node has ended, it ends the step's processes. Where the whole node dies, the lease runs out and the
step is begun elsewhere.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateline.kernel.errors import Conflict, GatelineError, Unauthenticated
from gateline.pipelines import Outcome
from gateline.sdk.client import Client
from gateline.sdk.environment import installed_packages
from gateline.sdk.fingerprint import environment_digest
from gateline.sdk.project import Project
from gateline.sdk.running.desk import Desk, place_of
from gateline.sdk.running.nursery import Nursery
from gateline.sdk.running.ray.archive import unpack
from gateline.sdk.running.ray.sending import NOT_WANTED
from gateline.sdk.running.supervision import Supervision

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEARTBEAT_SECONDS = 1.0
_PATIENCE_SECONDS = 60.0
_SHOWN = 10
_log = structlog.get_logger(__name__)


class _Ticket(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GATELINE_", extra="ignore", frozen=True)

    url: str
    ticket: str


def main(arguments: list[str]) -> int:
    """Execute the step; returns 0 when it succeeded, 1 when not, `NOT_WANTED` when it is not this job's to execute."""
    run_id, node, index, job, archive = arguments
    ticket = _Ticket()
    wanted = {"run_id": run_id, "node": node, "index": int(index), "ticket": ticket.ticket, "worker": job}
    try:
        with Client(ticket.url, patience_seconds=_PATIENCE_SECONDS) as client:
            taken = client.post("/pipeline-work/take", json=wanted)
    except (Conflict, Unauthenticated) as error:
        _log.warning("ray.not_wanted", failure=str(error))
        return NOT_WANTED
    with Client(ticket.url, taken["token"], patience_seconds=_PATIENCE_SECONDS) as client:
        outcome = _Step(client, taken, job, archive).run()
    _log.info("ray.step_ended", run=run_id, step=node, index=int(index), outcome=str(outcome))
    return 0 if outcome == Outcome.SUCCEEDED else 1


class _Step:
    """The step that this job holds.

    Args:
        client: With the token of this attempt.
        taken: What the ticket brought.
        name: Of this job, as a runner.
        archive: SHA-256 of the archive of the project.
    """

    def __init__(self, client: Client, taken: Mapping[str, Any], name: str, archive: str) -> None:
        self._client = client
        self._claim: dict[str, Any] = taken["step"]
        self._environment: str = taken["environment"]
        self._archive = archive
        self._desk = Desk(client, Project(folder=Path.cwd(), name="", settings={}), name)
        self._supervision: Supervision | None = None
        self._why: tuple[Outcome, str] | None = None
        self._parent = os.getppid()

    def run(self) -> Outcome:
        """Execute it, hand in how it ended, and return that."""
        over = threading.Event()
        beat = threading.Thread(target=self._beat, args=(over,), name="gateline-heartbeat", daemon=True)
        self._desk.hold(self._claim)
        beat.start()
        signal.signal(signal.SIGTERM, lambda *_: self._stop(Outcome.EXITED, "Its job was stopped in Ray."))
        try:
            with tempfile.TemporaryDirectory(prefix="gateline-") as folder:
                report = self._execute(Path(folder))
        finally:
            over.set()
            beat.join()
        self._desk.release(self._claim)
        try:
            self._desk.ended(self._claim, report, then=False)
        except Unauthenticated:  # the token went with the lease
            _log.warning("ray.lost", run=self._claim["run_id"], step=self._claim["node"]["name"])
        return Outcome(report["outcome"])

    def _execute(self, folder: Path) -> dict[str, Any]:
        try:
            packages = unpack(self._client.download(self._archive, folder / "archive.zip"), folder / "project")
            if environment_digest() != self._environment:
                return {"outcome": Outcome.FAILED, "retry": False, "detail": _differences(packages)}
            project = Project.load(folder / "project")
        except GatelineError as error:
            return {"outcome": Outcome.FAILED, "detail": str(error)}
        nursery = Nursery(self._client, project)
        try:
            report = self._supervise(nursery)
        finally:
            nursery.close()
        return report

    def _supervise(self, nursery: Nursery) -> dict[str, Any]:
        options = self._claim["node"]["options"]
        supervision = self._supervision = Supervision(
            nursery, {"step": self._claim}, timeout_seconds=options["timeout_seconds"], memory_bytes_max=options["memory_bytes"]
        )
        if self._why is not None:
            supervision.stop(*self._why)
        report = supervision.run()
        report.pop("failure", None)
        return {**report, "log": supervision.output.text()}

    def _stop(self, outcome: Outcome, why: str) -> None:
        if self._why is None:
            self._why = outcome, why
        if self._supervision is not None:
            self._supervision.stop(*self._why)

    def _beat(self, over: threading.Event) -> None:
        """Keep the lease, hand in output, and stop when that is wanted."""
        place = place_of(self._claim)
        while not over.wait(_HEARTBEAT_SECONDS):
            if os.getppid() != self._parent:
                self._stop(Outcome.LOST, "Ray on its node has ended.")
            written = {} if self._supervision is None else {place: self._supervision.output.take()}
            try:
                answer = self._desk.beat(written).get(place)
            except Unauthenticated:
                answer = "gone"
            except GatelineError as error:
                _log.warning("ray.unheard", failure=str(error))
                continue
            if answer == "cancel":
                self._stop(Outcome.CANCELLED, "The run was cancelled.")
            elif answer == "gone":
                self._stop(Outcome.LOST, "Another runner has taken it over.")


def _differences(packages: Mapping[str, str]) -> str:
    """Return in words how the packages of this node differ from those of the runner."""
    here = installed_packages()
    found = [
        f"{name} is {here.get(name, 'missing')} here and {packages.get(name, 'missing')} there"
        for name in sorted({*here, *packages})
        if here.get(name) != packages.get(name)
    ]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    python = f"Python is {sys.version.split()[0]} here"
    return (
        f"This node of Ray has another environment than the run was drawn in, so that the key of the step would be wrong: "
        f"{'; '.join([*found[:_SHOWN], python])}{more}. Install the packages of one lock file on runner and nodes."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
