"""Searches through a server: what is recorded is what a plain call does, whoever works on it and however often it is interrupted."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateline.cli import main
from gateline.sdk.client import Client
from gateline.sdk.project import Project
from gateline.sdk.running import Runner, run_inline
from tests.support.searching import write_searching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAIT_SECONDS_MAX = 120.0


class World:
    """A project with searches, and an installation in this process."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        write_searching(folder / "project")
        self.client = Client(home=self.home)
        self.project = Project.load(folder / "project")

    def ask(self, pipeline: str, **parameters: Any) -> str:
        """Queue a run."""
        return str(self.client.post(f"/pipelines/{pipeline}/runs", json={"parameters": parameters})["id"])

    def run(self, pipeline: str, **parameters: Any) -> dict[str, Any]:
        """Run a pipeline in this process."""
        run_id = self.ask(pipeline, **parameters)
        run_inline(self.client, self.project, run_id, name=f"inline-{run_id}", tell=lambda *_: None)
        return self.show(run_id)

    def show(self, run_id: str) -> dict[str, Any]:
        """The run as it stands."""
        found: dict[str, Any] = self.client.get(f"/pipeline-runs/{run_id}")
        return found

    def trials(self, run: dict[str, Any], search: str = "tune") -> list[dict[str, Any]]:
        """The trials of a run."""
        found: list[dict[str, Any]] = self.client.get(f"/pipeline-runs/{run['id']}/searches/{search}")["trials"]
        return found

    def plain(self, pipeline: str, **parameters: Any) -> Any:
        """What a plain call returns."""
        return self.project.pipeline(pipeline).run(**parameters)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An installation without MLflow."""
    monkeypatch.setenv("GATELINE_MLFLOW", "false")
    made = World(tmp_path)
    yield made
    made.client.close()


def until(probe: Callable[[], Any]) -> Any:
    """Return the first true value."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not (found := probe()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_a_recorded_search_is_the_plain_one_and_goes_on_where_a_shorter_one_ended(world: World) -> None:
    shorter, longer = world.run("train", trials=14), world.run("train", trials=18)
    assert (shorter["state"], longer["state"]) == ("succeeded", "succeeded")
    assert shorter["result"] == world.plain("train", trials=14)
    assert longer["result"] == world.plain("train", trials=18)
    first, second = world.trials(shorter), world.trials(longer)
    assert {one["state"] for one in first} == {"complete", "pruned"}
    assert [one["reused_from"] for one in second] == [shorter["id"]] * 14 + [""] * 4
    assert [one["parameters"] for one in second[:14]] == [one["parameters"] for one in first]
    assert all(one["last_step"] == 3 for one in first if one["state"] == "complete")


def test_a_finished_search_is_reused_whole(world: World) -> None:
    first, second = world.run("train", trials=3), world.run("train", trials=3)
    assert all(one["reused_from"] == first["id"] for one in second["steps"] if one["width"] is None)
    assert [one["value"] for one in world.trials(second)] == [one["value"] for one in world.trials(first)]


def test_two_runners_share_a_search_and_try_each_trial_once(world: World) -> None:
    run_id = world.ask("random", trials=12, max_parallel=4)
    runners = [Runner(world.client, world.project, run_id=run_id, cpus=2) for _ in range(2)]
    threads = [threading.Thread(target=one.run, args=(lambda: world.show(run_id)["over"],), daemon=True) for one in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS_MAX)
        assert not thread.is_alive()
    run = world.show(run_id)
    assert run["state"] == "succeeded", run["failure"]
    trials = world.trials(run, "draw")
    assert [(one["number"], one["state"], one["attempt"]) for one in trials] == [(number, "complete", 1) for number in range(12)]
    assert run["result"]["value"] == max(one["value"] for one in trials)
    assert [one["parameters"] for one in trials] == [one["parameters"] for one in world.trials(world.run("random", trials=12), "draw")]
    attempts = world.client.get(f"/pipeline-runs/{run_id}/attempts")
    assert len({one["runner"] for one in attempts if one["node"] == "draw"}) == 2


def test_a_search_that_was_stopped_goes_on_with_the_same_parameters(world: World) -> None:
    run_id = world.ask("train", trials=6, pause=0.3)
    first = Runner(world.client, world.project, run_id=run_id)
    thread = threading.Thread(target=first.run, daemon=True)
    thread.start()
    fixed = until(lambda: _third(world, run_id))
    first.stop()
    thread.join(WAIT_SECONDS_MAX)
    Runner(world.client, world.project, run_id=run_id).run(lambda: world.show(run_id)["over"])
    trials = world.trials(world.show(run_id))
    assert trials[2]["parameters"] == fixed
    assert trials[2]["attempt"] == 2
    assert world.show(run_id)["result"] == world.plain("train", trials=6)


def _third(world: World, run_id: str) -> Any:
    """The parameters of the third trial, once it is under way."""
    run = world.show(run_id)
    return next((one["parameters"] for one in world.trials(run)[2:3] if one["state"] == "running"), None) if run["steps"] else None


def test_the_command_line_shows_the_trials(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.run("train", trials=4)
    monkeypatch.setenv("GATELINE_HOME", str(world.home))
    assert main(["pipeline", "trials", run["id"]]) == 0
    text = capsys.readouterr().out
    assert "4 trials: 4 complete. The best, to minimize, is" in text
    assert main(["--json", "pipeline", "trials", run["id"], "tune"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"] == world.trials(run)
    assert main(["pipeline", "trials", run["id"], "fit"]) != 0
    assert "Its searches are: tune" in capsys.readouterr().err


def test_an_attempt_that_is_over_may_neither_ask_nor_report(world: World) -> None:
    run = world.run("train", trials=2)
    place = f"/pipeline-runs/{run['id']}/searches/tune/trials/0"
    for path, body in (("ask", {"parameters": {}}), ("report", {"values": [[0, "nan"]]})):
        with pytest.raises(Exception, match="not under way"):
            world.client.post(f"{place}/{path}", json={"attempt": 1, **body})
    for body in ({"attempt": 1, "values": [[-1, 0.5]]}, {"attempt": 0}, {"attempt": 1, "values": [[0, 0.5]] * 1001}):
        with pytest.raises(Exception, match="values|attempt"):
            world.client.post(f"{place}/report", json=body)
