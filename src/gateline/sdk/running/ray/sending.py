"""The runner's side of a step on Ray: it is sent off as a job, or its job is found again, and watched until it takes the step over."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import structlog

from gateline.kernel.errors import Conflict, GatelineError, InvalidInput, Unavailable
from gateline.pipelines import Outcome
from gateline.sdk.running.output import Output
from gateline.sdk.running.ray.address import ray_table, target_of
from gateline.sdk.running.ray.jobs import JobServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateline.sdk.client import Client
    from gateline.sdk.project import Project
    from gateline.sdk.running.desk import Desk
    from gateline.sdk.running.ray.address import RayTable, Target
    from gateline.sdk.running.ray.archive import Archives
    from gateline.sdk.running.ray.jobs import Job

NOT_WANTED = 75
"""Status with which a job ends that was not given its step."""

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)
_POLL_SECONDS = 1.0
_AWAY_SECONDS_MAX = 60.0
_NOT_WANTED_MAX = 3
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_WORKER = "gateline.sdk.running.ray.worker"


class Sending:
    """One attempt at a step, until its job on Ray holds it.

    Args:
        desk: Where the attempt is held.
        client: Whose server the job will talk to.
        project: Whose code is run.
        archives: Keep the files of the project.
        claim: The step; `job` is the URL of the job that an earlier attempt was sent as, or empty.
        stopping: Whether the runner is to end.

    Attributes:
        output: What the runner itself writes for the step: nothing; the job hands in its own.
    """

    def __init__(
        self, desk: Desk, client: Client, project: Project, archives: Archives, claim: Mapping[str, Any], stopping: Callable[[], bool]
    ) -> None:
        self.output = Output()
        self._desk = desk
        self._client = client
        self._project = project
        self._archives = archives
        self._claim = claim
        self._stopping = stopping
        self._asked = threading.Event()
        self._why = Outcome.LOST, ""
        self._own: set[str] = set()
        self._wanted: dict[str, float] = {}

    def stop(self, outcome: Outcome, why: str) -> None:
        """Watch no longer. The job is ended too when the step is cancelled; else it goes on, and whoever comes next finds it."""
        if not self._asked.is_set():
            self._why = outcome, why
        self._asked.set()

    def run(self) -> dict[str, Any] | None:
        """Return a report when the attempt is over; None when its job, or another runner, holds it now."""
        try:
            table = ray_table(self._project.settings)
            target = target_of(self._claim["node"]["options"]["executor"], table)
            server, job = JobServer.of(self._claim["job"]) if self._claim["job"] else (JobServer(target.url), self._name(0))
            with server:
                self._check(server)
                report = self._watch(server, job, table, target)
        except Conflict:
            return None
        except GatelineError as error:
            report = {"outcome": Outcome.FAILED, "detail": str(error)}
            if self._asked.is_set():
                report = {"outcome": self._why[0], "detail": self._why[1]}
        return None if report["outcome"] is Outcome.LOST and self._asked.is_set() and not self._stopping() else report

    def _check(self, server: JobServer) -> None:
        """Refuse what cannot work: no Ray here, whose environment is that of the nodes; none there; another version of it."""
        try:
            own = version("ray")
        except PackageNotFoundError as error:
            raise InvalidInput(
                f"Step '{self._claim['node']['name']}' runs on Ray, and Ray is not installed where its runner works: runner and nodes must "
                "have the same packages, because the key of a step says in which environment it ran.",
                next_step="Install gateline[ray] here, as on the nodes, or set executor='process'.",
            ) from error
        found = self._patiently(server.ray_version, seconds=5)
        if found != own:
            raise InvalidInput(
                f"The Ray cluster at {server.url} has Ray {found}; the runner has {own}.", next_step="Install one lock file on both."
            )

    def _watch(self, server: JobServer, job: str, table: RayTable, target: Target) -> dict[str, Any]:
        """Send the job when it is not there, and look after it."""
        while True:
            if self._asked.is_set():
                return self._leave(server, job)
            found = self._patiently(lambda: server.find(job), seconds=_AWAY_SECONDS_MAX)  # noqa: B023 - called at once
            if found is None:
                self._submit(server, job, table, target)
            elif found.over:
                report = self._ended(server, job, found) if job in self._own else None
                if report is not None:
                    return report
                job = self._name(len(self._own))
                continue
            self._asked.wait(_POLL_SECONDS)

    def _submit(self, server: JobServer, job: str, table: RayTable, target: Target) -> None:
        """Record the job, then send it."""
        options, claim = self._claim["node"]["options"], self._claim
        gateline = self._server_url(table, target)
        words = [_WORKER, claim["run_id"], claim["node"]["name"], str(claim["index"]), job, self._archives.digest(table.exclude)]
        python = table.python or (sys.executable if target.here else "python")
        wanted = {
            "entrypoint_num_cpus": options["cpus"], "entrypoint_memory": options["memory_bytes"], "entrypoint_num_gpus": target.gpus,
            "entrypoint_resources": target.resources,
        }  # fmt: skip
        named = {"CPU": options["cpus"], "memory": options["memory_bytes"], "GPU": target.gpus, **target.resources}
        self._wanted = {name: float(amount) for name, amount in named.items() if amount}
        ticket = self._desk.send(claim, server.url_of(job))
        self._own.add(job)
        _log.info("ray.sent", job=server.url_of(job), run=claim["run_id"], step=claim["node"]["name"], index=claim["index"])
        variables = {"GATELINE_URL": gateline, "GATELINE_TICKET": ticket}
        asked = {name: one for name, one in wanted.items() if one}
        command = f"exec {shlex.join([python, '-m', *words])}"  # so that its parent is Ray, whose end it notices
        try:
            self._patiently(lambda: server.submit(job, command, variables=variables, wanted=asked), seconds=_AWAY_SECONDS_MAX)
        except Conflict:
            return  # it is there already, sent by another runner or by a request whose answer got lost

    def _server_url(self, table: RayTable, target: Target) -> str:
        """Return the URL under which the nodes reach the server."""
        url = table.server or self._client.address()
        if not table.server and not target.here and urlsplit(url).hostname in _LOOPBACK:
            raise InvalidInput(
                f"The nodes of the Ray cluster at {target.url} cannot reach Gateline at {url}, which is an address of this machine alone.",
                next_step='Name one that they reach: [ray] server = "http://…" in gateline.toml.',
            )
        return url

    def _ended(self, server: JobServer, job: str, found: Job) -> dict[str, Any] | None:
        """Return the report about a job of ours that ended without taking the step; None when another is to be sent."""
        if found.waited_too_long and not server.has_room(self._wanted):
            asked = ", ".join(f"{name} {amount:g}" for name, amount in self._wanted.items())
            return {"outcome": Outcome.FAILED, "retry": False, "detail": f"No node of the Ray cluster at {server.url} has {asked}."}
        if found.waited_too_long or (found.exit_code == NOT_WANTED and len(self._own) < _NOT_WANTED_MAX):
            _log.warning("ray.sent_again", job=server.url_of(job), message=found.message)
            return None
        where = server.url_of(job)
        if found.lost:
            return {"outcome": Outcome.LOST, "detail": f"Its job {where} was lost before the step began: {found.message}"[:4000]}
        if found.status == "STOPPED":
            return {"outcome": Outcome.EXITED, "detail": f"Its job {where} was stopped in Ray before the step began."}
        said = server.log(job)
        return {"outcome": Outcome.FAILED, "detail": f"Its job {where} ended before the step began: {found.message} {said}".strip()[:4000]}

    def _leave(self, server: JobServer, job: str) -> dict[str, Any]:
        outcome, why = self._why
        if outcome is Outcome.CANCELLED:
            try:
                server.stop(job)
            except Unavailable as error:  # it will not be given the step when it begins
                _log.warning("ray.not_stopped", job=server.url_of(job), failure=str(error))
        return {"outcome": outcome, "detail": why}

    def _patiently(self, ask: Callable[[], _T], *, seconds: float) -> _T:
        """Ask the job server until it answers, for this time at most."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return ask()
            except Unavailable:
                if time.monotonic() > deadline or self._asked.wait(_POLL_SECONDS):
                    raise

    def _name(self, number: int) -> str:
        """Return the id of the job of this attempt, and of the ones that follow it."""
        claim = self._claim
        again = f"-{number}" if number else ""
        return f"gateline-{claim['run_id']}-{claim['node']['name']}-{claim['index']}-{claim['attempt']}{again}"
