"""Server and runner as processes that are killed at random while runs of eight steps go on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gateline.kernel.errors import NotFound, Unavailable
from gateline.sdk.client import Client
from gateline.sdk.running.processes import children

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 8
_SETTINGS = '[project]\nname = "fuzz"\n[pipelines]\nchain = "flows:chain"\n'
_FLOWS = '''
import time
from typing import Annotated
from gateline import context, each, pipeline, step
from gateline.sdk.data import register_dataset

PAUSE = 0.05


@step(retries=20)
def begin(number: int) -> int:
    time.sleep(PAUSE)
    return number


@step(retries=20, executor="inline")
def double(value: int) -> int:
    time.sleep(PAUSE)
    return value * 2


@step(retries=20, executor="inline")
def split(value: int) -> tuple[Annotated[int, "low"], Annotated[int, "high"]]:
    time.sleep(PAUSE)
    return value, value + 1


@step(retries=20)
def square(value: int) -> int:
    time.sleep(PAUSE)
    return value * value


@step(retries=20, executor="inline")
def add(values: list[int], other: int) -> int:
    time.sleep(PAUSE)
    return sum(values) + other


@step(cache=False, retries=20)
def register(number: int, total: int) -> dict[str, int]:
    """Register a dataset whose content is that of this run alone."""
    file = context().folder / "rows.csv"
    file.write_text(f"number,total\\n{number},{total}\\n")
    register_dataset(context().client, f"fuzz-{number}", file, source="the fuzz", licence="CC0-1.0")
    time.sleep(PAUSE)
    return {"number": number, "total": total}


@pipeline
def chain(number: int):
    low, high = split(double(begin(number)))
    squares = square.map(value=each([1, 2]), max_parallel=1)
    return register(number, add(squares, add([low], high)))
'''


def expected(number: int) -> dict[str, int]:
    """The result of a run."""
    return {"number": number, "total": 1 + 4 + 2 * number + 2 * number + 1}


class Arena:
    """An installation with a server and a runner, each of which may be killed at any time.

    Args:
        folder: An empty folder.
        seed: Decides who is killed and when.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._folder = folder
        self._project = folder / "project"
        self._project.mkdir(parents=True)
        (self._project / "gateline.toml").write_text(_SETTINGS, encoding="utf-8")
        (self._project / "flows.py").write_text(_FLOWS, encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GATELINE_")}
        self._variables = {**kept, "GATELINE_HOME": str(folder / "home"), "GATELINE_MLFLOW": "false"}
        self._port = 0
        self.kills: dict[str, int] = {}
        self.server = self._serve()
        self._client = Client(home=folder / "home", patience_seconds=60)
        self._port = int(self._client.url.rpartition(":")[2])
        self._variables |= {"GATELINE_URL": self._client.url, "GATELINE_TOKEN": self._client.token}
        self.runner = self._work()

    def close(self) -> None:
        """End everything."""
        for process in (self.runner, self.server):
            process.kill()
            _reap(process)
        self._client.close()

    def ask(self, number: int) -> str:
        """Ask for a run; the same number is one run."""
        body = {"parameters": {"number": number}, "request_key": f"fuzz/{number}"}
        return str(self._again(lambda: self._client.post("/pipelines/chain/runs", json=body))["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        """The run as it stands."""
        found: dict[str, Any] = self._again(lambda: self._client.get(f"/pipeline-runs/{run_id}"))
        return found

    def versions(self, number: int) -> int:
        """How many versions a run has registered."""
        try:
            return len(self._again(lambda: self._client.get(f"/datasets/fuzz-{number}/versions")))
        except NotFound:
            return 0

    def kill_one(self) -> None:
        """Kill one of the processes, and start server or runner again when it was one of them."""
        who = str(self._random.choice(["server", "runner", "runner", "zygote", "step"]))
        zygotes = children(self.runner.pid)
        steps = [step for zygote in zygotes for step in children(zygote)]
        victims = {"server": [self.server.pid], "runner": [self.runner.pid], "zygote": zygotes, "step": steps}[who]
        if not victims:
            who, victims = "runner", [self.runner.pid]
        with contextlib.suppress(ProcessLookupError):
            os.kill(victims[0], signal.SIGKILL)
        self.kills[who] = self.kills.get(who, 0) + 1
        if who == "server":
            _reap(self.server)
            self.server = self._serve()
        elif who == "runner":
            _reap(self.runner)
            self.runner = self._work()

    def pause(self, seconds_max: float) -> None:
        """Wait for a random time."""
        time.sleep(float(self._random.uniform(0.05, seconds_max)))

    def tend(self) -> None:
        """Start again what has ended by itself."""
        if self.runner.poll() is not None:
            self.runner = self._work()

    def _serve(self) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "gateline",
            "up",
            "--port",
            str(self._port),
            "--serving-port",
            "0",
            "--workers",
            "0",
            "--no-mlflow",
        ]
        with (self._folder / "server.log").open("a", encoding="utf-8") as log:
            process = subprocess.Popen(command, env=self._variables, stdout=subprocess.PIPE, stderr=log, text=True)
        if process.stdout is None or not process.stdout.readline().startswith("Gateline serves"):
            raise Unavailable("The server did not start.")
        return process

    def _work(self) -> subprocess.Popen[str]:
        with (self._folder / "runner.log").open("a", encoding="utf-8") as log:
            command = [sys.executable, "-m", "gateline", "runner", "--project", str(self._project), "--cpus", "2"]
            return subprocess.Popen(command, env=self._variables, stdout=subprocess.DEVNULL, stderr=log, text=True)

    def _again(self, call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except Unavailable:
                time.sleep(0.2)


def _reap(process: subprocess.Popen[str]) -> None:
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def fuzz(
    folder: Path, *, kills: int, seed: int, pause_seconds_max: float, deadline_seconds: float, log: Callable[[str], None] = print
) -> dict[str, Any]:
    """Kill `kills` times while runs go on; then let the rest finish, and return what was found.

    Returns:
        `runs`, `kills` by victim, `attempts`, `wrong`: a line for each run whose result, steps or registrations are not as they must be.
    """
    arena = Arena(folder, seed)
    asked: dict[int, str] = {}
    begun = time.monotonic()
    try:
        for done in range(kills):
            while sum(1 for run_id in list(asked.values())[-6:] if not arena.run(run_id)["over"]) < 3:
                asked[len(asked)] = arena.ask(len(asked))
            arena.pause(pause_seconds_max)
            arena.kill_one()
            log(f"kill {done + 1} of {kills} after {time.monotonic() - begun:.0f} s, {len(asked)} runs: {arena.kills}")
        while any(not arena.run(run_id)["over"] for run_id in asked.values()) and time.monotonic() - begun < deadline_seconds:
            arena.tend()
            time.sleep(0.3)
        return {"runs": len(asked), "kills": arena.kills, "seconds": time.monotonic() - begun, **_found(arena, asked)}
    finally:
        arena.close()


def _found(arena: Arena, asked: dict[int, str]) -> dict[str, Any]:
    """Return what is wrong, and how many attempts were made."""
    wrong, attempts = [], 0
    for number, run_id in asked.items():
        run = arena.run(run_id)
        attempts += sum(step["attempts"] for step in run["steps"])
        states = {step["state"] for step in run["steps"]}
        count = len([step for step in run["steps"] if step["index"] >= 0])
        if run["state"] != "succeeded" or run["result"] != expected(number) or states != {"succeeded"} or count != STEPS:
            wrong.append(f"run {number} {run_id}: {run['state']} {run['failure']} {run['result']} {count} steps {states}")
        if (versions := arena.versions(number)) != 1:
            wrong.append(f"run {number}: {versions} registrations")
    return {"attempts": attempts, "steps": STEPS * len(asked), "wrong": wrong}
