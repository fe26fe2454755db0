"""Two control planes on one PostgreSQL, each with a runner: a machine that dies with both gives its steps up within 30 s."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateline.sdk.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.postgresql import PostgresServer

TAKEN_OVER_SECONDS_MAX = 30.0
SETTINGS = '[project]\nname = "pair"\n[pipelines]\nchain = "flows:chain"\n'
FLOWS = """
import os, time
from pathlib import Path
from gateline import context, each, pipeline, step

SHARED = Path({shared!r})


@step
def begin(number: int) -> int:
    return number


@step(cpus=1)
def work(number: int, item: int) -> int:
    \"\"\"Hang in the first attempt, where the machine dies; write down each effect under its key.\"\"\"
    known = context()
    (SHARED / f"{{known.idempotency_key.replace('/', '-')}}.{{known.attempt}}").write_text(str(os.getpid()))
    if known.attempt == 1 and os.environ["MACHINE"] == "one":
        time.sleep(600)
    return number * item


@step
def total(values: list[int]) -> dict[str, int]:
    return {{"total": sum(values)}}


@pipeline
def chain(number: int):
    return total(work.map(number=begin(number), item=each([1, 2, 3]), max_parallel=2))
"""


class Machine:
    """A control plane and a runner with folders of their own; records and objects are shared."""

    def __init__(self, name: str, folder: Path, url: str, shared: Path) -> None:
        home, self.project = folder / name / "home", folder / name / "project"
        home.mkdir(parents=True)
        self.project.mkdir()
        (home / "objects").symlink_to(shared / "objects", target_is_directory=True)
        if (shared / "keys").exists():
            shutil.copytree(shared / "keys", home / "keys")
        (self.project / "gateline.toml").write_text(SETTINGS)
        (self.project / "flows.py").write_text(FLOWS.format(shared=str(shared / "effects")))
        self.home = home
        self._log = (folder / f"{name}.log").open("a")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GATELINE_")}
        self.variables = {**kept, "GATELINE_HOME": str(home), "GATELINE_RECORDS_URL": url, "MACHINE": name}
        words = ["up", "--port", "0", "--serving-port", "0", "--workers", "0", "--no-mlflow"]
        self.server = self._start(*words)
        assert self.server.stdout is not None
        self.url = next(word for word in self.server.stdout.readline().split() if word.startswith("http"))
        self.runner: subprocess.Popen[str] | None = None

    def work(self, token: str) -> None:
        """Start the runner."""
        self.variables |= {"GATELINE_URL": self.url, "GATELINE_TOKEN": token}
        self.runner = self._start("runner", "--project", str(self.project), "--cpus", "2")

    def die(self) -> None:
        """Lose everything at once, as by a power cut."""
        for process in (self.runner, self.server):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()
        self._log.close()

    def _start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "gateline", *words]
        return subprocess.Popen(command, env=self.variables, stdout=subprocess.PIPE, stderr=self._log, text=True, start_new_session=True)


@pytest.fixture
def machines(tmp_path: Path, postgresql: PostgresServer, postgresql_template: str) -> Iterator[list[Machine]]:
    name = postgresql.create(postgresql_template)
    shared = tmp_path / "shared"
    (shared / "objects").mkdir(parents=True)
    (shared / "effects").mkdir()
    found: list[Machine] = []
    try:
        found.append(Machine("one", tmp_path, postgresql.url(name), shared))
        shutil.copytree(found[0].home / "keys", shared / "keys")
        found.append(Machine("two", tmp_path, postgresql.url(name), shared))
        yield found
    finally:
        for machine in found:
            with contextlib.suppress(ValueError):
                machine.die()
        postgresql.drop(name)


def until(probe: Callable[[], Any], seconds: float) -> Any:
    """Return the first true value."""
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)
    return found


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_steps_of_a_machine_that_died_are_taken_over_within_30_seconds(machines: list[Machine], tmp_path: Path) -> None:
    one, two = machines
    effects = tmp_path / "shared" / "effects"
    token = Client(url=one.url, home=one.home).token
    assert token
    one.work(token)
    with Client(url=two.url, token=token, patience_seconds=30) as client:
        run_id = client.post("/pipelines/chain/runs", json={"parameters": {"number": 5}})["id"]
        until(lambda: len(list(effects.glob("*.1"))) == 2, 60)
        two.work(token)
        time.sleep(5)
        before = client.get(f"/pipeline-runs/{run_id}/attempts")
        assert [one["outcome"] for one in before if one["node"] == "work"] == [None, None]

        one.die()
        died = time.monotonic()
        until(lambda: len(list(effects.glob("*.2"))) == 2, TAKEN_OVER_SECONDS_MAX)
        taken_over = time.monotonic() - died
        run = until(lambda: (found := client.get(f"/pipeline-runs/{run_id}"))["over"] and found, 60)
        attempts = client.get(f"/pipeline-runs/{run_id}/attempts")
    assert taken_over < TAKEN_OVER_SECONDS_MAX
    assert (run["state"], run["result"]) == ("succeeded", {"total": 30})
    outcomes = sorted((attempt["index"], attempt["attempt"], attempt["outcome"]) for attempt in attempts if attempt["node"] == "work")
    assert outcomes == [(0, 1, "lost"), (0, 2, "succeeded"), (1, 1, "lost"), (1, 2, "succeeded"), (2, 1, "succeeded")]
    print(f"taken over after {taken_over:.1f} s")
