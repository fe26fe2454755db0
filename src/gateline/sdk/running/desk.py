"""The runner's side of the desk: claims, heartbeats and reports, sent again while the server is away."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import Conflict, NotFound, StorageFull, Unavailable
from gateline.pipelines import Outcome

if TYPE_CHECKING:
    from gateline.sdk.client import Client
    from gateline.sdk.project import Project

Tell = Callable[[str, Mapping[str, Any]], None]
"""Hears of events, with the facts of a step."""

Place = tuple[str, str, int, int]
"""Run, node, index and attempt."""

EXECUTORS = ("process", "inline", "ray")
"""Where the steps run that a runner takes; `ray://…` as well, be it only to say what is missing for it."""

NOTHING: dict[str, Any] = {"draw": None, "step": None}
_AWAY_SECONDS_MAX = 3600.0
_PAUSE_SECONDS = 0.5
_DOUBT_SECONDS = 60.0


def unique_name() -> str:
    """Return a name for this process that no other has."""
    return f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(3)}"


def place_of(claim: Mapping[str, Any]) -> Place:
    """Return which attempt a claim is."""
    return claim["run_id"], claim["node"]["name"], claim["index"], claim["attempt"]


def end_of(claim: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of an attempt that ended."""
    return {**claim, "outcome": str(report["outcome"]), "detail": report.get("detail", "")}


class Desk:
    """Where one runner gets its work; safe to use from several threads.

    Args:
        client: With the permission pipeline:work.
        project: Whose code the runner has.
        name: Unique among all runners.
        run_id: Only work of this run, when it is not empty.
        inline: The kinds of executor whose steps are carried out in this process.

    Attributes:
        drawing: The run that is being drawn, or empty.
    """

    def __init__(self, client: Client, project: Project, name: str, *, run_id: str = "", inline: Sequence[str] = ("inline",)) -> None:
        self._client = client
        self._worker = {
            "name": name, "project": project.name, "pipelines": sorted(project.settings.get("pipelines", {})), "run_id": run_id,
            "inline": list(inline),
        }  # fmt: skip
        self._lock = threading.Lock()
        self._held: dict[Place, dict[str, Any]] = {}
        self._unsure_until = 0.0
        self.name = name
        self.drawing = ""

    def worker(self, cpus: float | None = None, executors: Sequence[str] = EXECUTORS) -> dict[str, Any]:
        """Return who asks for work; `cpus` is the number of free processors, None for any."""
        return {**self._worker, "cpus": cpus, "executors": list(executors)}

    def claim(self, cpus: float | None = None, executors: Sequence[str] = EXECUTORS) -> dict[str, Any]:
        """Return the next thing to do: `draw`, `step`, or neither."""
        try:
            found: dict[str, Any] = self._client.post("/pipeline-work/claim", json=self.worker(cpus, executors))
        except Unavailable:
            self._doubt()
            raise
        return found

    def withdraw(self, runner: str) -> int:
        """Say that another runner is dead; returns how many attempts that took from it."""
        taken: int = self._client.post("/pipeline-work/withdraw", json={"runner": runner})["taken_back"]
        return taken

    def drawn(
        self, run: Mapping[str, Any], found: Mapping[str, Any], *, cpus: float | None = None, executors: Sequence[str] = EXECUTORS
    ) -> dict[str, Any]:
        """Hand in a plan, or the reason why there is none, and return the next thing to do."""
        body = {
            "runner": self.worker(cpus, executors),
            **{key: found[key] for key in ("plan", "codes", "environment", "failure") if key in found},
        }
        return self._patiently(lambda: self._client.post(f"/pipeline-runs/{run['id']}/plan", json=body))

    def send(self, claim: Mapping[str, Any], job: str) -> str:
        """Record the job that an attempt is about to be sent as, and return the job's ticket; raises Conflict when the step was lost."""
        run_id, node, index, attempt = place_of(claim)
        path = f"/pipeline-runs/{run_id}/steps/{node}/{index}/attempts/{attempt}/job"
        found = self._patiently(lambda: self._client.post(path, json={"runner": self.name, "job": job}))
        return str(found["ticket"])

    def hold(self, claim: Mapping[str, Any]) -> None:
        """Keep the lease of an attempt by heartbeats."""
        with self._lock:
            run_id, node, index, attempt = place_of(claim)
            self._held[run_id, node, index, attempt] = {"run_id": run_id, "node": node, "index": index, "attempt": attempt}

    def release(self, claim: Mapping[str, Any]) -> None:
        """Do so no longer."""
        with self._lock:
            self._held.pop(place_of(claim), None)

    def beat(self, written: Mapping[Place, tuple[int, str]]) -> dict[Place, str]:
        """Keep all leases and hand in what was written; returns for each attempt go_on, cancel or gone."""
        with self._lock:
            held = dict(self._held)
        if not held and not self.drawing and time.monotonic() > self._unsure_until:
            return {}
        body = [
            {**one, **({"offset": written[place][0], "text": written[place][1]} if place in written else {})} for place, one in held.items()
        ]
        answer = self._client.post("/pipeline-work/heartbeat", json={"runner": self.name, "held": body, "drawing": self.drawing})
        return dict(zip(held, answer["answers"], strict=True))

    def ended(
        self, claim: Mapping[str, Any], report: Mapping[str, Any], *, then: bool = True, cpus: float | None = None,
        executors: Sequence[str] = EXECUTORS,
    ) -> dict[str, Any]:  # fmt: skip
        """Hand in how an attempt ended and return the next thing to do, when that is wanted.

        An artifact that got lost on the way fails the attempt; an attempt that was taken over by another runner is let go.
        """
        run_id, node, index, attempt = place_of(claim)
        path = f"/pipeline-runs/{run_id}/steps/{node}/{index}/attempts/{attempt}/end"
        body = {"runner": self.name, "then": self.worker(cpus, executors) if then else None, **report}
        try:
            return self._patiently(lambda: self._client.post(path, json=body))
        except Conflict:
            return NOTHING
        except NotFound as error:
            if report.get("ahead"):
                return self.ended(claim, {**report, "ahead": []}, then=then, cpus=cpus, executors=executors)
            body = {"runner": self.name, "then": body["then"], "outcome": Outcome.FAILED, "detail": str(error)}
            return self._patiently(lambda: self._client.post(path, json=body))

    def _patiently(self, send: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Send something that may be sent twice until the server answers, and has room for it."""
        deadline = time.monotonic() + _AWAY_SECONDS_MAX
        while True:
            try:
                return send()
            except (Unavailable, StorageFull):
                self._doubt()
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)

    def _doubt(self) -> None:
        """Remember that an answer may have been lost, and with it a step: heartbeats then say what is held though it is nothing."""
        self._unsure_until = time.monotonic() + _DOUBT_SECONDS
