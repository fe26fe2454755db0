"""A cluster of three nodes in Ray's environment, an installation in this process, and runners as processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateline.sdk.client import Client
from tests.support.environments import ROOT, locked_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
WAIT_SECONDS_MAX = 150.0
_PIPELINES = ("fan", "wait", "limits", "lost", "moved", "waits")


class Nodes:
    """The cluster, as its process says."""

    def __init__(self, python: Path) -> None:
        self.python = python
        self._process = subprocess.Popen(
            [python, HERE / "cluster.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=surroundings(),
            start_new_session=True,
        )
        try:
            self.url = f"http://127.0.0.1:{self._said()['port']}"
        except BaseException:
            self.end()
            raise

    def kill(self, node: str) -> None:
        """Kill a node, and put another in its place."""
        for command in (f"kill {node}", "add"):
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()
            self._said()

    def job(self, url: str) -> dict[str, Any]:
        """What Ray says of a job."""
        answer = httpx.get(url, timeout=60)
        return dict(answer.json()) if answer.is_success else {}

    def end(self) -> None:
        """End it."""
        with self._process:
            self._process.stdin.close()
            try:
                self._process.wait(60)
            finally:
                with_group(self._process, signal.SIGKILL)

    def _said(self) -> dict[str, Any]:
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return dict(json.loads(line))
        raise AssertionError("the cluster ended")


class World:
    """A project and an installation; runners come and go."""

    def __init__(self, folder: Path, nodes: Nodes) -> None:
        self.nodes = nodes
        self.folder = folder
        self.project = folder / "project"
        self.project.mkdir()
        shutil.copy(HERE / "flows.py", self.project)
        self.declare("")
        self.client = Client(home=folder / "home")
        self._runners: list[subprocess.Popen[bytes]] = []

    def declare(self, more: str) -> None:
        """Write gateline.toml."""
        pipelines = "\n".join(f'{name} = "flows:{name}"' for name in _PIPELINES)
        ray = f'[ray]\naddress = "{self.nodes.url}"\npython = "{self.nodes.python}"'
        (self.project / "gateline.toml").write_text(f'[project]\nname = "far"\n[pipelines]\n{pipelines}\n{ray}\n{more}\n')

    def runner(self, python: Path | str | None = None) -> subprocess.Popen[bytes]:
        """Start a runner, in Ray's environment unless another is named."""
        words = [python or self.nodes.python, "-m", "gateline", "runner", "--project", str(self.project)]
        variables = {**surroundings(), "GATELINE_URL": self.client.address(), "GATELINE_TOKEN": self.client.token}
        with (self.folder / "runner.log").open("ab") as log:
            process = subprocess.Popen(words, env=variables, stdout=log, stderr=log, cwd=self.project, start_new_session=True)
        self._runners.append(process)
        return process

    def kill_runners(self) -> None:
        """SIGKILL all runners with what belongs to them."""
        while self._runners:
            process = self._runners.pop()
            with_group(process, signal.SIGKILL)
            process.wait()

    def ask(self, pipeline: str, **parameters: Any) -> str:
        """Queue a run."""
        return str(self.client.post(f"/pipelines/{pipeline}/runs", json={"parameters": parameters})["id"])

    def over(self, run_id: str) -> dict[str, Any]:
        """Wait until a run is over."""
        return until(lambda: (run := self.client.get(f"/pipeline-runs/{run_id}"))["over"] and run)

    def attempts(self, run_id: str, node: str) -> list[dict[str, Any]]:
        """The attempts at a step."""
        return [one for one in self.client.get(f"/pipeline-runs/{run_id}/attempts") if one["node"] == node]

    def value(self, run: dict[str, Any], step: str) -> Any:
        """What a step returned."""
        artifact = next(one["artifact"] for one in run["steps"] if one["name"] == step)
        path = self.client.download(artifact["sha256"], self.folder / "value")
        return json.loads(path.read_bytes())

    def output(self, run_id: str, step: str, index: int = 0) -> str:
        """What a step has written."""
        return str(self.client.get(f"/pipeline-runs/{run_id}/steps/{step}/output", params={"index": index})["text"])


def surroundings() -> dict[str, str]:
    """The environment of processes that have our source, but are not ours."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "GATELINE_MLFLOW": "false", "RAY_USAGE_STATS_ENABLED": "0"}


def with_group(process: subprocess.Popen[Any], number: signal.Signals) -> None:
    """Send a signal to a process and its group."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def until(probe: Callable[[], Any]) -> Any:
    """Return the first true value."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not (found := probe()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """The cluster."""
    made = Nodes(locked_python("ray"))
    yield made
    made.end()


@pytest.fixture
def world(nodes: Nodes, tmp_path: Path) -> Iterator[World]:
    """One installation for each test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATELINE_MLFLOW", "false")
        made = World(tmp_path, nodes)
        yield made
        made.kill_runners()
        made.client.close()
        sys.stderr.write((tmp_path / "runner.log").read_text(errors="replace")[-4000:] if (tmp_path / "runner.log").exists() else "")
