"""The process that imports a project is killed from outside: the run goes on, because its code is not at fault."""

from __future__ import annotations

from pathlib import Path

from gateline.sdk.client import Client
from gateline.sdk.project import Project
from gateline.sdk.running import Runner

_SETTINGS = '[project]\nname = "shot"\n[pipelines]\nchain = "flows:chain"\n'
_FLOWS = """
import os
import signal
from pathlib import Path
from gateline import pipeline, step

for name in ("first", "second"):
    if not (marker := Path(__file__).with_name(name)).exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


@step
def begin(number: int) -> dict[str, int]:
    return {"number": number}


@pipeline
def chain(number: int = 7):
    return begin(number)
"""


def test_a_process_killed_while_it_imports_the_project_costs_an_attempt_and_not_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "gateline.toml").write_text(_SETTINGS, encoding="utf-8")
    (folder / "flows.py").write_text(_FLOWS, encoding="utf-8")
    with Client(home=tmp_path / "home") as client:
        run_id = client.post("/pipelines/chain/runs", json={})["id"]
        Runner(client, Project.load(folder)).run(lambda: client.get(f"/pipeline-runs/{run_id}")["over"])
        run = client.get(f"/pipeline-runs/{run_id}")
    assert (folder / "second").exists()
    assert (run["state"], run["failure"]) == ("succeeded", "")
    assert run["result"] == {"number": 7}
