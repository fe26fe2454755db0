"""A runner: it asks for work, executes steps in processes of their own, several at once, and says how they ended."""

from __future__ import annotations

import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import structlog

from gateline.kernel.errors import Conflict, GatelineError, StorageFull, Unavailable
from gateline.kernel.files import storage_errors
from gateline.pipelines import Outcome
from gateline.sdk.execution import CACHE_FOLDER
from gateline.sdk.running.ahead import carry_on
from gateline.sdk.running.desk import EXECUTORS, NOTHING, Desk, end_of, place_of, unique_name
from gateline.sdk.running.nursery import Nursery
from gateline.sdk.running.ray.archive import Archives
from gateline.sdk.running.ray.sending import Sending
from gateline.sdk.running.supervision import Supervision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from gateline.sdk.client import Client
    from gateline.sdk.project import Project
    from gateline.sdk.running.desk import Place, Tell

_log = structlog.get_logger(__name__)
_HEARTBEAT_SECONDS = 1.0
_POLL_SECONDS = 0.2
_ANSWERS = {
    "cancel": (Outcome.CANCELLED, "The run was cancelled."),
    "gone": (Outcome.LOST, "Another runner has taken it over."),
}
_SENT_MAX = 16
"""How many steps a runner has waiting for Ray at once; one that has begun there is no longer the runner's."""


def silent(_event: str, _facts: Mapping[str, Any]) -> None:
    """Tell nobody."""


class Runner:
    """Executes the queued runs of a project.

    Args:
        client: With the permission pipeline:work.
        project: Whose code is run.
        run_id: Only work of this run, when it is not empty.
        cpus: How many processors steps may take together; those of this machine by default.
        tell: Called with "begun", "output" and "ended" and the facts of a step, from any thread.
    """

    def __init__(
        self,
        client: Client,
        project: Project,
        *,
        run_id: str = "",
        cpus: float | None = None,
        tell: Tell = silent,
    ) -> None:
        self.name = unique_name()
        self._client = client
        self._project = project
        self._tell = tell
        self._desk = Desk(client, project, self.name, run_id=run_id)
        self._cpus = cpus or len(os.sched_getaffinity(0))
        self._lock = threading.Lock()
        self._active: dict[Place, float] = {}
        self._supervised: dict[Place, Supervision | Sending] = {}
        self._sent: set[Place] = set()
        self._archives = Archives(client, project)
        self._stopping = threading.Event()
        self._awake = threading.Event()
        self._presence = _Presence(project.folder / CACHE_FOLDER / "runners", self.name)
        self._nursery = Nursery(client, project, keep=(self._presence.descriptor,))

    def warm(self) -> None:
        """Import the project's modules now; raises StepFailed when that fails."""
        self._nursery.warm()

    def stop(self) -> None:
        """Ask `run` to end: steps under way are stopped and given back, to be begun again by whoever comes next."""
        self._stopping.set()
        self._awake.set()
        for supervision in list(self._supervised.values()):
            supervision.stop(Outcome.LOST, "Its runner was stopped.")

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Work until `until` says so, asked five times a second, or until `stop`.

        Raises:
            GatelineError: the server refuses; one that is away, or whose disk is full, is waited for.
        """
        over = threading.Event()
        beat = threading.Thread(target=self._beat, args=(over,), name="gateline-heartbeat", daemon=True)
        beat.start()
        slots = max(1, int(self._cpus)) + 1
        try:
            with ThreadPoolExecutor(slots + _SENT_MAX, thread_name_prefix="gateline-step") as pool:
                self._loop(pool, slots, until)
        finally:
            over.set()
            beat.join()
            self._nursery.close()
            self._presence.leave()

    def _loop(self, pool: ThreadPoolExecutor, slots: int, until: Callable[[], bool]) -> None:
        """Ask for work as long as there is a free slot."""
        chains: set[Future[None]] = set()
        forsaken = False
        while not self._stopping.is_set():
            chains = {one for one in chains if not _over(one)}
            try:
                if not forsaken:
                    for name in self._presence.dead():
                        self._desk.withdraw(name)
                        self._presence.bury(name)
                    forsaken = True
                if until():
                    break
                free = self._free()
                near = len(chains) - len(self._sent) < slots and (free is None or free > 0)
                work = self._desk.claim(free, self._executors(near=near)) if self._executors(near=near) else NOTHING
            except (Unavailable, StorageFull) as error:
                _log.warning("runner.waits", runner=self.name, failure=str(error))
                work = NOTHING
            if work["draw"] or work["step"]:
                self._reserve(work)
                chains.add(pool.submit(self._chain, work))
            else:
                self._awake.wait(_POLL_SECONDS)
                self._awake.clear()

    def _chain(self, work: dict[str, Any]) -> None:
        """Do one thing after the other, as long as each answer brings the next. A step for Ray is the last of its chain."""
        while work["draw"] or work["step"]:
            work = self._draw(work["draw"]) if work["draw"] else self._step(work["step"])
        self._awake.set()

    def _draw(self, run: dict[str, Any]) -> dict[str, Any]:
        self._desk.drawing = run["id"]
        try:
            supervision = Supervision(self._nursery, {"draw": run})
            found = supervision.run()
            if found.get("outcome") == Outcome.LOST:
                _log.warning("runner.not_drawn", runner=self.name, run=run["id"], failure=found["detail"])
                return NOTHING  # its lease runs out, and it is drawn again
            if "plan" not in found and "failure" not in found:
                found = {"failure": f"It could not be drawn: {found['detail']}\n{supervision.output.text()[-2000:]}".strip()}
            if self._stopping.is_set():
                return NOTHING
            work = self._desk.drawn(run, found, cpus=self._free(), executors=self._executors(near=True))
            self._reserve(work)
            return work
        except Conflict:
            return NOTHING
        finally:
            self._desk.drawing = ""

    def _step(self, claim: dict[str, Any]) -> dict[str, Any]:
        """Execute a step and hand its result in; returns the next thing to do."""
        place = place_of(claim)
        self._desk.hold(claim)
        self._tell("begun", claim)
        try:
            report = self._report(claim, place)
            with self._lock:
                self._active.pop(place, None)
                far = place in self._sent
                self._sent.discard(place)
            self._awake.set()
            if report is None:
                return NOTHING
            going_on = not far and not self._stopping.is_set()
            work = self._desk.ended(claim, report, then=going_on, cpus=self._free(), executors=self._executors(near=True))
        finally:  # not before the result is handed in: a heartbeat without it would give the step away
            self._desk.release(claim)
            with self._lock:
                self._active.pop(place, None)
                self._sent.discard(place)
        self._reserve(work)
        self._tell("ended", end_of(claim, report))
        self._awake.set()
        return {"draw": work["draw"], "step": work["step"]}

    def _report(self, claim: dict[str, Any], place: Place) -> dict[str, Any] | None:
        """Execute a step where it is to run and return how it ended; None when somebody else holds it now."""
        executor = claim["node"]["options"]["executor"]
        if executor == "inline":
            return carry_on(self._client, self._project, claim, self._tell)
        return self._send(claim, place) if _is_far(claim) else self._supervise(claim, place)

    def _send(self, claim: dict[str, Any], place: Place) -> dict[str, Any] | None:
        sending = Sending(self._desk, self._client, self._project, self._archives, claim, self._stopping.is_set)
        self._supervised[place] = sending
        if self._stopping.is_set():
            sending.stop(Outcome.LOST, "Its runner was stopped.")
        try:
            return sending.run()
        finally:
            del self._supervised[place]

    def _supervise(self, claim: dict[str, Any], place: Place) -> dict[str, Any]:
        options = claim["node"]["options"]
        supervision = Supervision(
            self._nursery, {"step": claim}, timeout_seconds=options["timeout_seconds"], memory_bytes_max=options["memory_bytes"],
            on_output=lambda content: self._tell("output", {**claim, "content": content}),
        )  # fmt: skip
        self._supervised[place] = supervision
        if self._stopping.is_set():
            supervision.stop(Outcome.LOST, "Its runner was stopped.")
        try:
            report = supervision.run()
        finally:
            del self._supervised[place]
        report.pop("failure", None)
        return {**report, "log": supervision.output.text()}

    def _reserve(self, work: Mapping[str, Any]) -> None:
        """Count the processors of a step that was claimed, or that it goes to Ray."""
        if work["step"]:
            with self._lock:
                if _is_far(work["step"]):
                    self._sent.add(place_of(work["step"]))
                    return
                self._active[place_of(work["step"])] = float(work["step"]["node"]["options"]["cpus"])

    def _executors(self, *, near: bool) -> list[str]:
        """Return which steps may come now: those of this machine when it has room, those of Ray when not too many wait."""
        far = len(self._sent) < _SENT_MAX
        return [name for name in EXECUTORS if (far if name == "ray" else near)]

    def _free(self) -> float | None:
        """Return the number of free processors; None when nothing runs, so that a step that wants more than there are gets its turn."""
        with self._lock:
            return max(0.0, self._cpus - sum(self._active.values())) if self._active else None

    def _beat(self, over: threading.Event) -> None:
        """Keep the leases, hand in output, and stop what is to be stopped."""
        while not over.wait(_HEARTBEAT_SECONDS):
            supervised = dict(self._supervised)
            written = {place: piece for place, one in supervised.items() if (piece := one.output.take())[1]}
            try:
                answers = self._desk.beat(written)
            except GatelineError as error:
                _log.warning("runner.unheard", runner=self.name, failure=str(error))
                continue
            for place, answer in answers.items():
                if answer in _ANSWERS and place in supervised:
                    supervised[place].stop(*_ANSWERS[answer])


class _Presence:
    """A file that is locked as long as this runner or a process of its steps lives, so that others see when it is dead."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._own = folder / name
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.descriptor = os.open(self._own, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def dead(self) -> list[str]:
        """Return the names of runners of this folder that died without a word."""
        return [path.name for path in sorted(self._folder.iterdir()) if path != self._own and _is_free(path)]

    def bury(self, name: str) -> None:
        """Forget a dead runner."""
        (self._folder / name).unlink(missing_ok=True)

    def leave(self) -> None:
        """Say good-bye."""
        self._own.unlink(missing_ok=True)
        os.close(self.descriptor)


def _is_far(claim: Mapping[str, Any]) -> bool:
    """Return whether a step runs on Ray."""
    return str(claim["node"]["options"]["executor"]).startswith("ray://")


def _is_free(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _over(chain: Future[None]) -> bool:
    """Return whether a chain is over; raises what broke it."""
    if not chain.done():
        return False
    chain.result()
    return True
