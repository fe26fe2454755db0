"""SIGKILL of the runner in the middle of a search: no trial is lost, none is tried with two sets of parameters, the result is right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateline.kernel.errors import NotFound
from gateline.sdk.client import Client
from gateline.sdk.project import Project
from tests.support.searching import write_searching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TRIALS = 12
WAIT_SECONDS_MAX = 150.0


class Arena:
    """A server, and a runner as a process that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_searching(folder / "project")
        self.client = Client(home=folder / "home")
        self._variables = {**os.environ, "GATELINE_URL": self.client.address(), "GATELINE_TOKEN": self.client.token}

    def work(self) -> subprocess.Popen[str]:
        """Start a runner."""
        command = [sys.executable, "-m", "gateline", "runner", "--project", str(self.folder / "project"), "--cpus", "2"]
        with (self.folder / "runner.log").open("a", encoding="utf-8") as log:
            return subprocess.Popen(command, env=self._variables, stdout=subprocess.DEVNULL, stderr=log, text=True)

    def trials(self, run_id: str) -> list[dict[str, Any]]:
        """The trials as they stand; none before the run is drawn."""
        try:
            found: list[dict[str, Any]] = self.client.get(f"/pipeline-runs/{run_id}/searches/tune")["trials"]
        except NotFound:
            return []
        return found

    def over(self, run_id: str) -> bool:
        """Whether the run has ended."""
        return bool(self.client.get(f"/pipeline-runs/{run_id}")["over"])

    def begun(self) -> list[tuple[int, str]]:
        """What was ever tried: number and rate of each time that the objective began."""
        lines = (self.folder / "project" / "begun.txt").read_text(encoding="utf-8").splitlines()
        return [(int(line.split()[0]), line.split()[1]) for line in lines]


@pytest.fixture
def arena(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arena]:
    """An installation without MLflow."""
    monkeypatch.setenv("GATELINE_MLFLOW", "false")
    made = Arena(tmp_path)
    yield made
    made.client.close()


def until(probe: Callable[[], Any]) -> None:
    """Wait for something to be true."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("max_parallel", [1, 2])
def test_a_search_survives_runners_that_are_killed(arena: Arena, max_parallel: int) -> None:
    parameters = {"trials": TRIALS, "max_parallel": max_parallel, "pause": 0.1}
    run_id = arena.client.post("/pipelines/train/runs", json={"parameters": parameters})["id"]
    fixed: dict[int, dict[str, Any]] = {}
    for reached in (2, 7):
        runner = arena.work()
        until(lambda at=reached: any(one["number"] >= at and one["state"] == "running" for one in arena.trials(run_id)))
        fixed |= {one["number"]: one["parameters"] for one in arena.trials(run_id) if one["parameters"]}
        runner.send_signal(signal.SIGKILL)
        runner.wait()
    runner = arena.work()
    until(lambda: arena.over(run_id))
    runner.terminate()
    runner.wait()
    run, trials = arena.client.get(f"/pipeline-runs/{run_id}"), arena.trials(run_id)
    assert run["state"] == "succeeded", run["failure"]
    assert [one["number"] for one in trials] == [*range(TRIALS)]
    assert {one["state"] for one in trials} <= {"complete", "pruned"}
    assert all(trials[number]["parameters"] == parameters for number, parameters in fixed.items())
    assert set(arena.begun()) == {(one["number"], repr(one["parameters"]["rate"])) for one in trials}
    assert any(one["attempt"] > 1 for one in trials)
    best = min((one["value"], one["number"]) for one in trials if one["state"] == "complete")
    assert (run["result"]["value"], run["result"]["number"]) == best
    if max_parallel == 1:
        assert run["result"] == Project.load(arena.folder / "project").pipeline("train").run(trials=TRIALS)
