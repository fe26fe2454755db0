"""Ray's job server over its REST interface. No part of Ray is loaded for it: importing Ray takes a second and starts threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx

from gateline.kernel.errors import Conflict, GatelineError, Unavailable
from gateline.sdk.running.ray.address import RaySettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_TIMEOUT_SECONDS = 30.0
_OVER = {"STOPPED", "SUCCEEDED", "FAILED"}
_LOG_CHARACTERS = 2000
_LOST = {
    "JOB_SUPERVISOR_ACTOR_DIED", "JOB_SUPERVISOR_ACTOR_START_FAILURE", "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What Ray says of a job.

    Attributes:
        status: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        message: In Ray's words.
        error: Kind of the error, or empty.
        exit_code: Status of its process; None when it has none.
    """

    status: str
    message: str
    error: str
    exit_code: int | None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in _OVER

    @property
    def lost(self) -> bool:
        """Whether it ended because its node, or Ray on it, did."""
        return self.error in _LOST

    @property
    def waited_too_long(self) -> bool:
        """Whether Ray gave it up because no node became free."""
        return self.error == "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"


class JobServer:
    """The job server of one cluster.

    Args:
        url: Its URL, such as http://head:8265.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        token = RaySettings().auth_token
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS, trust_env=False)

    @classmethod
    def of(cls, job_url: str) -> tuple[Self, str]:
        """Return the server of a job, and the job's id, from the job's URL."""
        url, _, job = job_url.partition("/api/jobs/")
        return cls(url), job

    def url_of(self, job: str) -> str:
        """Return the URL of a job."""
        return f"{self.url}/api/jobs/{job}"

    def ray_version(self) -> str:
        """Return the version of Ray on the cluster.

        Raises:
            Unavailable: it does not answer.
            GatelineError: what answers is no job server.
        """
        try:
            return str(self._send("GET", "/api/version").json()["ray_version"])
        except (ValueError, KeyError, TypeError) as error:
            raise _foreign(self.url) from error

    def submit(self, job: str, entrypoint: str, *, variables: Mapping[str, str], wanted: Mapping[str, Any]) -> None:
        """Send a job off.

        Args:
            job: Its id. Of two jobs with one id Ray takes the first.
            entrypoint: A shell command.
            variables: Environment variables. They are shown by Ray to everybody who may look.
            wanted: `entrypoint_num_cpus` and what else Ray reserves for it.

        Raises:
            Conflict: there is a job with that id.
            Unavailable: the server does not answer, or has nothing that could run it.
            GatelineError: it refuses the job.
        """
        body = {"entrypoint": entrypoint, "submission_id": job, "runtime_env": {"env_vars": dict(variables)}, "metadata": {}, **wanted}
        answer = self._send("POST", "/api/jobs/", json=body)
        if answer.is_success:
            return
        if "already exists" in answer.text:
            raise Conflict(f"Ray has a job '{job}' already.")
        if answer.is_server_error:
            raise Unavailable(f"Ray at {self.url} takes no job now: {answer.status_code} {answer.text.strip()[-500:]}")
        last = (answer.text.strip().splitlines() or [""])[-1]
        raise GatelineError(f"Ray at {self.url} refuses the job: {answer.status_code} {last:.500}")

    def find(self, job: str) -> Job | None:
        """Return a job, or None when the cluster does not know it; raises Unavailable."""
        answer = self._send("GET", f"/api/jobs/{job}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        try:
            found = answer.json()
            return Job(
                status=found["status"], message=found.get("message") or "", error=found.get("error_type") or "",
                exit_code=found.get("driver_exit_code"),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"Ray at {self.url} says nothing of job '{job}': {answer.status_code} {answer.text:.200}") from error

    def stop(self, job: str) -> None:
        """Ask Ray to end a job: SIGTERM, and SIGKILL three seconds later; raises Unavailable."""
        self._send("POST", f"/api/jobs/{job}/stop")

    def has_room(self, wanted: Mapping[str, float]) -> bool:
        """Return whether a node of the cluster could hold what is wanted, by Ray's names, if it were free; raises Unavailable."""
        try:
            nodes = self._send("GET", "/api/v0/nodes").json()["data"]["result"]["result"]
            totals = [one["resources_total"] for one in nodes if one["state"] == "ALIVE"]
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"Ray at {self.url} does not name its nodes.") from error
        return any(all(total.get(name, 0) >= amount for name, amount in wanted.items()) for total in totals)

    def log(self, job: str) -> str:
        """Return the end of what a job has written, or nothing when it cannot be had."""
        try:
            return str(self._send("GET", f"/api/jobs/{job}/logs").json()["logs"])[-_LOG_CHARACTERS:].strip()
        except (Unavailable, ValueError, KeyError, TypeError):
            return ""

    def _send(self, method: str, path: str, *, json: Any = None) -> httpx.Response:
        try:
            return self._http.request(method, path, json=json)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"Ray's job server at {self.url} does not answer: {str(error) or type(error).__name__}.",
                next_step="Start the cluster with its dashboard (ray start --head), or correct the address in executor= or [ray].",
            ) from error
        except httpx.InvalidURL as error:
            raise _foreign(self.url) from error

    def __enter__(self) -> Self:
        """Return the server."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connection."""
        self._http.close()


def _foreign(url: str) -> GatelineError:
    return GatelineError(f"What answers at {url} is no job server of Ray.", next_step="Name its dashboard, usually port 8265.")
