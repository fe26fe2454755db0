"""What gateline.toml declares becomes what the server has: added, changed, removed, and nothing when nothing differs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateline.cli import main
from gateline.kernel.errors import InvalidInput
from gateline.sdk.client import Client
from gateline.sdk.declared import declared
from gateline.sdk.project import Project

if TYPE_CHECKING:
    from pathlib import Path

FILE = """
[project]
name = "parcels"

[pipelines]
plain = "flows:plain"

[pipelines.train]
function = "flows:train"

[pipelines.train.schedule]
cron = "30 2 * * *"
zone = "Europe/Berlin"
time_parameter = "as_of"
parameters = { rounds = 200 }

[pipelines.train.triggers.worse]
endpoint = "delay"
cool_down_seconds = 60

[pipelines.train.triggers.fresh]
dataset = "flights"
parameter = "data"

[pipelines.train.limits]
concurrent_max = 1
"""
FLOWS = """
from gateline import pipeline, step

@step
def one(x: int) -> int:
    return x

@pipeline
def train(rounds: int = 1):
    return one(rounds)

@pipeline
def plain():
    return one(1)
"""


class Folder:
    """A project and a server's folder."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys
        path.mkdir()
        (path / "flows.py").write_text(FLOWS)
        self.write(FILE)

    def write(self, text: str) -> None:
        (self.path / "gateline.toml").write_text(text)

    def gateline(self, *arguments: str) -> Any:
        """The answer of a command."""
        self._capsys.readouterr()
        assert main([*arguments, "--json"]) == 0
        return json.loads(self._capsys.readouterr().out)

    def apply(self, *arguments: str) -> dict[str, str]:
        """Name to what became of it."""
        found = self.gateline("pipeline", "apply", "--project", str(self.path), *arguments)["changes"]
        return {f"{one['kind']} {one['name']}": one["verb"] for one in found}

    def says(self, *arguments: str) -> str:
        self._capsys.readouterr()
        main(list(arguments))
        found = self._capsys.readouterr()
        return found.out + found.err


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Folder:
    for name, value in (("HOME", home), ("MLFLOW", "false"), ("PORT", "0"), ("SERVING_PORT", "0")):
        monkeypatch.setenv(f"GATELINE_{name}", str(value))
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path / "project", capsys)


NAMES = ["schedule parcels.train", "limits train", "trigger parcels.train.worse", "trigger parcels.train.fresh"]


def test_declarations_are_added_once_changed_and_removed(folder: Folder) -> None:
    added = dict.fromkeys(NAMES, "add") | {"limits train": "change"}
    assert folder.apply("--dry-run") == added
    assert folder.gateline("pipeline", "schedule", "list") == []
    assert folder.apply() == added
    schedule = folder.gateline("pipeline", "schedule", "show", "parcels.train")
    assert (schedule["project"], schedule["zone"], schedule["parameters"]) == ("parcels", "Europe/Berlin", {"rounds": 200})
    assert folder.gateline("pipeline", "limits", "train")["concurrent_max"] == 1
    triggers = {one["name"]: one for one in folder.gateline("pipeline", "trigger", "list")}
    assert triggers["parcels.train.worse"]["alert_kinds"] == ["drift", "performance"]
    assert (triggers["parcels.train.fresh"]["source"], triggers["parcels.train.fresh"]["subject"]) == ("dataset", "flights")
    assert folder.apply() == dict.fromkeys(NAMES, "keep")
    assert folder.gateline("pipeline", "schedule", "show", "parcels.train") == schedule
    assert "Nothing differs." in folder.says("pipeline", "apply", "--project", str(folder.path))

    folder.write(
        FILE.replace("rounds = 200", "rounds = 300").replace(
            '[pipelines.train.triggers.worse]\nendpoint = "delay"\ncool_down_seconds = 60', ""
        )
    )
    said = folder.says("pipeline", "apply", "--dry-run", "--project", str(folder.path))
    assert '~ schedule parcels.train: parameters {"rounds": 200} → {"rounds": 300}' in said
    assert "- trigger parcels.train.worse" in said
    assert "= trigger parcels.train.fresh" in said
    assert "2 of 4 would change." in said
    folder.apply()
    assert [one["name"] for one in folder.gateline("pipeline", "trigger", "list")] == ["parcels.train.fresh"]
    assert folder.gateline("pipeline", "schedule", "show", "parcels.train")["parameters"] == {"rounds": 300}


def test_what_others_declared_stays(folder: Folder) -> None:
    folder.gateline("pipeline", "schedule", "add", "nightly", "--pipeline", "train", "--cron", "0 3 * * *", "--project", "parcels")
    folder.gateline("pipeline", "schedule", "add", "parcels.other", "--pipeline", "train", "--cron", "0 3 * * *", "--project", "elsewhere")
    folder.gateline("pipeline", "limits", "plain", "--concurrent", "3")
    folder.apply()
    folder.write('[project]\nname = "parcels"\n[pipelines.train]\nfunction = "flows:train"\nlimits = {}\n')
    assert folder.apply()["limits train"] == "change"
    assert [one["name"] for one in folder.gateline("pipeline", "schedule", "list")] == ["nightly", "parcels.other"]
    assert folder.gateline("pipeline", "trigger", "list") == []
    assert folder.gateline("pipeline", "limits", "train")["concurrent_max"] is None
    assert folder.gateline("pipeline", "limits", "plain")["concurrent_max"] == 3


def test_a_paused_schedule_stays_paused_when_it_is_declared_anew(folder: Folder) -> None:
    folder.apply()
    folder.gateline("pipeline", "schedule", "pause", "parcels.train")
    folder.write(FILE.replace("30 2", "45 2"))
    assert folder.apply()["schedule parcels.train"] == "change"
    assert folder.gateline("pipeline", "schedule", "show", "parcels.train")["paused_by"] == "owner"


def test_a_pipeline_is_a_function_or_a_table_with_one(folder: Folder) -> None:
    assert Project.load(folder.path).pipeline("train").run(rounds=3) == 3
    assert Project.load(folder.path).pipeline("plain").run() == 1
    folder.write('[project]\nname = "parcels"\n[pipelines.train.schedule]\ncron = "0 3 * * *"\n')
    with pytest.raises(InvalidInput, match="does not say which function pipeline 'train' is"):
        Project.load(folder.path).pipeline("train")
    with Client() as client:
        assert client.get("/pipeline-schedules") == []


WRONG = """
[project]
name = "parcels"
[pipelines.train]
function = "flows:train"
schedules = 1
[pipelines.train.schedule]
zone = "UTC"
crn = "* * * * *"
[pipelines.train.triggers.Two_Subjects]
endpoint = "delay"
[pipelines.train.triggers.two]
endpoint = "delay"
dataset = "flights"
[pipelines.train.triggers.kinds]
endpoint = "delay"
alert_kinds = "drift"
[pipelines.train.limits]
concurrent_max = 2020-01-01
"""


def test_every_mistake_is_named_at_once(folder: Folder) -> None:
    folder.write(WRONG)
    with pytest.raises(InvalidInput) as refused:
        declared(Project.load(folder.path))
    for words in (
        "[pipelines.train] has unknown schedules",
        "[pipelines.train.schedule] has unknown crn",
        "[pipelines.train.schedule] lacks cron",
        "'parcels.train.Two_Subjects' is not allowed",
        "[pipelines.train.triggers.two] names not exactly one of endpoint and dataset",
        "[pipelines.train.triggers.kinds] has alert_kinds that are no list",
        "[pipelines.train.limits] at ['concurrent_max'] is a date",
    ):
        assert words in refused.value.message
    folder.write(FILE.replace("30 2 * * *", "30 25 * * *"))
    assert "'30 25 * * *' is no cron expression" in folder.says("pipeline", "apply", "--project", str(folder.path))
