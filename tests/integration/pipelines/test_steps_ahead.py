"""Quick steps in the runner's own process: several are executed before the server is told, and nothing else is different."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateline.sdk.client import Client
from gateline.sdk.project import Project
from gateline.sdk.running import Runner, run_inline

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTINGS = '[project]\nname = "quick"\n[pipelines]\nchain = "flows:chain"\nasking = "flows:asking"\nbreaking = "flows:breaking"\n'
_FLOWS = '''
from typing import Annotated
from gateline import context, pipeline, step


@step(executor="inline")
def begin(number: int) -> int:
    return number


@step(executor="inline")
def pair(value: int) -> tuple[Annotated[int, "low"], Annotated[list[int], "all"]]:
    return value, [value, value + 1]


@step(executor="inline")
def add(values: list[int], low: int) -> int:
    return sum(values) + low


@step(executor="inline")
def look(value: int) -> dict[str, int]:
    """Say what the server knows of the run."""
    return {"known": len(context().artifacts), "value": value}


@step(executor="inline")
def check(value: int) -> int:
    if value > 100:
        raise ValueError("too large")
    return value


@pipeline
def chain(number: int):
    low, both = pair(begin(number))
    return add([low, add(both, low)], begin(number + 1))


@pipeline
def asking(number: int):
    return look(check(begin(number)))


@pipeline
def breaking(number: int):
    return check(check(check(begin(number))))
'''


class Quick:
    """A project and an installation in this process, with the requests that were sent."""

    def __init__(self, folder: Path) -> None:
        (folder / "project").mkdir()
        (folder / "project" / "gateline.toml").write_text(_SETTINGS, encoding="utf-8")
        (folder / "project" / "flows.py").write_text(_FLOWS, encoding="utf-8")
        self.client = Client(home=folder / "home")
        self.project = Project.load(folder / "project")
        self.ends: list[dict[str, Any]] = []
        post = self.client.post

        def counted(path: str, **rest: Any) -> Any:
            if path.endswith("/end"):
                self.ends.append(rest["json"])
            return post(path, **rest)

        self.client.post = counted  # type: ignore[method-assign]

    def run(self, pipeline: str, number: int, *, runner: bool = False) -> tuple[dict[str, Any], list[str]]:
        """Run a pipeline; return the run and for each report its outcome and the nodes that came with it."""
        run_id = self.client.post(f"/pipelines/{pipeline}/runs", json={"parameters": {"number": number}})["id"]
        self.ends.clear()
        self.told: list[str] = []
        if runner:
            Runner(self.client, self.project, run_id=run_id).run(lambda: self.client.get(f"/pipeline-runs/{run_id}")["over"])
        else:
            tell = lambda event, facts: self.told.append(f"{event} {facts['node']['name']}")
            run_inline(self.client, self.project, run_id, name=f"inline-{run_id}", tell=tell)
        reports = [" ".join([one["outcome"], *(ahead["node"] for ahead in one.get("ahead", []))]) for one in self.ends]
        return self.client.get(f"/pipeline-runs/{run_id}"), reports


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Quick]:
    """A fresh one."""
    monkeypatch.setenv("GATELINE_MLFLOW", "false")
    monkeypatch.setattr("gateline.pipelines.settling.QUICK_SECONDS", 60.0)  # however busy the machine is
    monkeypatch.setattr("gateline.sdk.running.ahead.SILENT_SECONDS_MAX", 60.0)
    made = Quick(tmp_path)
    yield made
    made.client.close()


@pytest.mark.parametrize("runner", [False, True])
def test_a_run_of_steps_that_were_quick_takes_few_reports(quick: Quick, *, runner: bool) -> None:
    """Results, attempts and what is told are those of single steps."""
    first, single = quick.run("chain", 1, runner=runner)
    assert len(single) == 5
    second, together = quick.run("chain", 10, runner=runner)
    assert len(together) <= 3
    assert (first["state"], second["state"]) == ("succeeded", "succeeded")
    assert [step["attempts"] for step in second["steps"]] == [1] * 5
    result = second["steps"][-1]["artifact"]["sha256"]
    assert quick.client.download(result, quick.project.folder / "result").read_text() == "52"
    if not runner:
        assert sorted(quick.told) == sorted(f"{what} {step['name']}" for step in second["steps"] for what in ("begun", "ended"))


def test_a_step_that_asks_the_server_finds_those_before_it_recorded(quick: Quick) -> None:
    """It is executed again after they were reported."""
    quick.run("asking", 1)
    run, reports = quick.run("asking", 2)
    assert reports == ["succeeded check", "succeeded"]
    assert run["result"] == {"known": 2, "value": 2}


def test_a_step_that_fails_ahead_fails_as_any_other(quick: Quick) -> None:
    """What was before it is kept, what is behind it does not run."""
    quick.run("breaking", 1)
    run, reports = quick.run("breaking", 101)
    assert reports == ["succeeded check"]
    assert [step["state"] for step in run["steps"]] == ["succeeded", "failed", "cancelled", "cancelled"]
    assert "too large" in run["failure"]
    [failed] = [one for one in quick.client.get(f"/pipeline-runs/{run['id']}/attempts") if one["node"] == "check"]
    assert (failed["outcome"], failed["attempt"]) == ("failed", 1)
