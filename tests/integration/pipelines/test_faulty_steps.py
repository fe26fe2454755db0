"""Steps that misbehave: each way has one defined outcome, and the next step runs as if nothing had been."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateline.pipelines import work
from gateline.sdk.client import Client
from gateline.sdk.project import Project
from gateline.sdk.running import Runner, run_inline
from gateline.sdk.running.desk import Desk
from tests.support.faulty import write_faulty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT_SECONDS_MAX = 60.0


class World:
    """A project, an installation in this process, and a runner at work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        write_faulty(self.folder)
        self.client = Client(home=folder / "home")
        self.project = Project.load(self.folder)
        self.begin()

    def begin(self) -> None:
        """Start a runner."""
        self.runner = Runner(self.client, self.project, cpus=2)
        self.thread = threading.Thread(target=self.runner.run, daemon=True)
        self.thread.start()

    def end(self) -> None:
        """Stop the runner."""
        self.runner.stop()
        self.thread.join(WAIT_SECONDS_MAX)
        assert not self.thread.is_alive()

    def ask(self, pipeline: str = "one", **parameters: Any) -> str:
        """Queue a run."""
        return str(self.client.post(f"/pipelines/{pipeline}/runs", json={"parameters": parameters})["id"])

    def run(self, pipeline: str = "one", **parameters: Any) -> dict[str, Any]:
        """Run it and wait."""
        return self.over(self.ask(pipeline, **parameters))

    def over(self, run_id: str) -> dict[str, Any]:
        """Wait until a run is over."""
        return until(lambda: (run := self.client.get(f"/pipeline-runs/{run_id}"))["over"] and run)

    def attempts(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """The attempts at the steps of a run."""
        found: list[dict[str, Any]] = self.client.get(f"/pipeline-runs/{run['id']}/attempts")
        return found

    def output(self, run: dict[str, Any], step: str) -> str:
        """What a step wrote."""
        return str(self.client.get(f"/pipeline-runs/{run['id']}/steps/{step}/output")["text"])

    def pid(self, name: str) -> int:
        """The process id that a step wrote down."""
        path = self.folder / f"{name}.pid"
        return int(until(lambda: path.exists() and path.read_text()))


def until(probe: Callable[[], Any]) -> Any:
    """Return the first true value."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not (found := probe()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def lives(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all tests: what one step does must not touch the next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATELINE_MLFLOW", "false")
        made = World(tmp_path_factory.mktemp("faulty"))
        yield made
        made.end()
        made.client.close()


def failed(world: World, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a step that fails; return the run and the attempt."""
    run = world.run(name=name)
    assert run["state"] == "failed"
    return run, world.attempts(run)[-1]


def test_a_step_that_never_ends_is_stopped_at_its_timeout(world: World) -> None:
    _, attempt = failed(world, "endless")
    assert (attempt["outcome"], attempt["detail"]) == ("timed_out", "It ran for more than 3 s.")


def test_a_step_that_ignores_sigterm_is_killed(world: World) -> None:
    _, attempt = failed(world, "deaf")
    assert attempt["outcome"] == "timed_out"
    assert not lives(world.pid("deaf"))


def test_a_step_that_leaks_memory_is_killed_with_both_numbers(world: World) -> None:
    run, attempt = failed(world, "leaking")
    assert attempt["outcome"] == "out_of_memory"
    assert "419,430,400 are allowed" in run["failure"]
    assert attempt["peak_memory_bytes"] > 400 << 20


@pytest.mark.slow
def test_a_gigabyte_of_output_is_cut_to_head_and_tail(world: World) -> None:
    run = world.run(name="printing")
    text = world.output(run, "printing")
    assert run["state"] == "succeeded"
    assert text.startswith("the first line\n")
    assert text.endswith("the last line\n")
    assert "bytes are left out" in text
    assert len(text) < 1 << 20


@pytest.mark.parametrize(("name", "words"), [("silent", "ended with status 0"), ("killed", "was killed by SIGKILL")])
def test_a_process_that_ends_without_a_word_is_told_from_one_that_raised(world: World, name: str, words: str) -> None:
    _, attempt = failed(world, name)
    assert attempt["outcome"] == "exited"
    assert words in attempt["detail"]


def test_what_a_step_leaves_running_ends_with_it(world: World) -> None:
    run = world.run(name="forking")
    assert run["state"] == "succeeded"
    until(lambda: not lives(world.pid("child")))
    until(lambda: not lives(world.pid("daemon")))


def test_a_step_that_closes_its_output_still_hands_its_result_in(world: World) -> None:
    assert world.run(name="closing")["state"] == "succeeded"


def test_an_exception_is_the_failure_and_its_traceback_the_output(world: World) -> None:
    run, attempt = failed(world, "raising")
    assert run["failure"] == "Step 'raising' failed: ValueError: no rows"
    assert attempt["outcome"] == "failed"
    text = world.output(run, "raising")
    assert text.startswith("before\n")
    assert 'raise ValueError("no rows")' in text


def test_an_exception_that_no_record_can_hold_is_the_failure_all_the_same(world: World) -> None:
    run, _ = failed(world, "unprintable")
    assert run["failure"] == r"Step 'unprintable' failed: ValueError: half \udcff and nothing \0 in it"
    assert world.thread.is_alive()


def test_a_heartbeat_between_result_and_report_does_not_give_the_step_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = Desk.ended

    def late(desk: Desk, *claim: Any, **rest: Any) -> dict[str, Any]:
        desk._unsure_until = float("inf")
        desk.beat({})
        return ended(desk, *claim, **rest)

    monkeypatch.setattr(Desk, "ended", late)
    monkeypatch.setattr(work, "_ON_ITS_WAY", 0)
    run = world.run(name="slow")
    assert run["state"] == "succeeded"
    assert [one["outcome"] for one in world.attempts(run)] == ["succeeded"]


def test_nan_is_refused_by_name(world: World) -> None:
    run, _ = failed(world, "nan")
    assert "Output 'result' of step 'nan' cannot be kept as json" in run["failure"]


def test_a_parameter_of_100_000_characters_arrives(world: World) -> None:
    run = world.run(text="x" * 100_000)
    assert run["state"] == "succeeded"
    assert world.client.get(f"/pipeline-runs/{run['id']}")["steps"][0]["artifact"]["size_bytes"] == len("100000")


def test_a_step_is_tried_again_and_each_try_is_on_record(world: World) -> None:
    run = world.run(name="flaky")
    assert run["state"] == "succeeded"
    attempts = world.attempts(run)
    assert [one["outcome"] for one in attempts] == ["failed", "failed", "succeeded"]
    assert all(one["cpu_seconds"] is not None for one in attempts)


def test_cancelling_a_run_kills_its_step(world: World) -> None:
    run_id = world.ask(name="waiting")
    pid = world.pid("waiting")
    world.client.post(f"/pipeline-runs/{run_id}/cancel")
    run = world.over(run_id)
    assert run["state"] == "cancelled"
    assert not lives(pid)
    (world.folder / "waiting.pid").unlink()


def test_a_runner_that_is_stopped_gives_its_step_back(world: World) -> None:
    run_id = world.ask(name="waiting")
    pid = world.pid("waiting")
    world.end()
    assert not lives(pid)
    assert world.client.get(f"/pipeline-runs/{run_id}")["steps"][0]["state"] == "ready"
    world.client.post(f"/pipeline-runs/{run_id}/cancel")
    world.begin()
    assert world.over(run_id)["state"] == "cancelled"


def test_an_artifact_deleted_behind_the_cache_fails_by_name_and_is_computed_again(world: World) -> None:
    stored = world.run("two", content="deleted")
    sha256 = stored["steps"][0]["artifact"]["sha256"]
    path = world.client.home / "objects" / sha256[:2] / sha256
    path.unlink()
    for cached in world.folder.glob(f".gateline-cache/{sha256}*"):
        cached.unlink()
    again = world.run("two", content="deleted")
    assert again["state"] == "succeeded"
    assert [step["reused_from"] for step in again["steps"]] == ["", ""]
    assert path.exists()


def test_code_edited_while_the_runner_runs_is_the_code_that_runs(world: World) -> None:
    source = world.folder / "flows.py"
    before = world.run("two", content="edited")
    source.write_text(
        source.read_text()
        .replace('return content + "!"', 'return content + "?"')
        .replace("    return content\n", "    return content * 2\n")
    )
    after = world.run("two", content="edited")
    assert [step["reused_from"] for step in after["steps"]] == ["", ""]
    assert before["steps"][0]["key"] != after["steps"][0]["key"]


def test_a_pipeline_that_cannot_be_drawn_fails_with_the_reason(world: World) -> None:
    assert "KeyError" in world.run(name="unknown")["failure"]
    assert "Its parameters are: name, text." in world.run(nme="x")["failure"]


def test_an_inline_step_that_ends_the_process_ends_alone(world: World) -> None:
    run, attempt = failed(world, "leaving")
    assert attempt["outcome"] == "exited"
    assert run["failure"] == "Step 'leaving' ended: It called sys.exit('bye') without a result."
    assert world.thread.is_alive()


def test_a_run_in_this_very_process_ends_the_same(world: World) -> None:
    world.end()
    run_id = world.ask("two", content="inline")
    run_inline(world.client, world.project, run_id, name="inline", tell=lambda *_: None)
    assert world.over(run_id)["state"] == "succeeded"
    world.begin()
