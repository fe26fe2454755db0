"""Schedules, triggers, limits, backfills and approvals through the API and the command line, on a whole application."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from gateline.access import Role
from gateline.app import build
from gateline.cli import main
from gateline.kernel.clock import DAY, SimulatedClock
from gateline.kernel.errors import Denied, InvalidInput
from gateline.kernel.settings import Settings
from gateline.pipelines import Artifact, Held, Outcome, Report, Runner
from gateline.sdk.client import Client
from gateline.sdk.transport import InProcessTransport
from gateline.server.asgi import create_app
from tests.support.pipelines import ENVIRONMENT, WORKER, node, plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateline.app import App


@pytest.fixture
def app(home: Path) -> Iterator[App]:
    """A whole application without server, under a clock that moves when told to."""
    found = build(Settings(home=home, mlflow=False, workers=0), clock=SimulatedClock())
    found.access.ensure_owner()
    yield found
    found.stop()


@pytest.fixture
def clients(app: App, home: Path) -> Iterator[dict[str, Client]]:
    """Clients of people by name: ada and bob develop, vic looks."""
    transport = InProcessTransport(create_app(app))
    found = {}
    for name, role in (("ada", Role.DEVELOPER), ("bob", Role.DEVELOPER), ("vic", Role.VIEWER)):
        app.access.create_principal("owner", name, [role])
        found[name] = Client(token=app.access.create_token("owner", name), home=home, transport=transport)
    yield found
    transport.close()


def pass_time(app: App, seconds: float) -> None:
    """Move the clock, and let everything that reconciles make a pass."""
    clock: Any = app.ledger.clock
    clock.advance(seconds=seconds)
    app.reconcile_once()


def test_a_schedule_starts_runs_and_a_viewer_may_only_look(app: App, clients: dict[str, Client]) -> None:
    ada, vic = clients["ada"], clients["vic"]
    body = {"pipeline": "train", "cron": "30 2 * * *", "zone": "Europe/Berlin", "time_parameter": "as_of"}
    assert ada.put("/pipeline-schedules/nightly", json=body)["next"][0] == "2013-01-01T01:30:00.000000Z"
    with pytest.raises(Denied):
        vic.put("/pipeline-schedules/nightly", json=body)
    with pytest.raises(InvalidInput, match="no IANA time zone"):
        ada.put("/pipeline-schedules/nightly", json={**body, "zone": "Berlin"})
    pass_time(app, 2 * 3600)
    runs = vic.get("/pipeline-runs")
    assert [(run["schedule"], run["on_behalf_of"], run["parameters"]["as_of"][:16]) for run in runs] == [
        ("nightly", "ada", "2013-01-01T01:30")
    ]
    assert ada.post("/pipeline-schedules/nightly/pause")["paused_by"] == "ada"
    pass_time(app, 2 * 86_400)
    assert ada.post("/pipeline-schedules/nightly/resume")["next"][0] == "2013-01-04T01:30:00.000000Z"
    assert len(vic.get("/pipeline-runs")) == 1
    assert len(vic.get("/pipeline-schedules/nightly", params={"shown": 7})["next"]) == 7
    ada.delete("/pipeline-schedules/nightly")
    assert vic.get("/pipeline-schedules") == []


def test_a_registered_dataset_version_and_an_alert_start_runs(app: App, clients: dict[str, Client], tmp_path: Path) -> None:
    """Through the events that data and monitoring send."""
    ada = clients["ada"]
    ada.put(
        "/pipeline-triggers/fresh", json={"pipeline": "train", "source": "dataset", "subject": "flights", "parameter": "data"}
    )  # fmt: skip
    plan_ = {"pipeline": "train", "alert_kinds": ["drift"], "cool_down_seconds": 0, "parameters": {"rounds": 2}}
    assert ada.put("/endpoints/delay/retraining", json=plan_) == {**plan_, "endpoint": "delay"}
    pl.DataFrame({"a": [1, 2]}).write_parquet(tmp_path / "rows.parquet")
    stored = app.objects.put_bytes((tmp_path / "rows.parquet").read_bytes())
    app.datasets.register("ada", "flights", file=stored.sha256, format="parquet", source="test", licence="CC0-1.0")
    with app.ledger.transaction("monitoring") as tx:
        alert = {"alert_id": "alert_1", "endpoint": "delay", "kind": "drift", "window_end": 20_000 * DAY, "sentence": "It moved."}
        tx.publish("monitoring.alert.opened", alert)
    pass_time(app, 1)
    pass_time(app, 1)
    parameters = sorted((run["parameters"] for run in ada.get("/pipeline-runs")), key=str)
    assert parameters == [{"rounds": 2, "as_of": "2024-10-04T00:00:00.000000Z"}, {"data": "flights@1"}]
    assert [one["name"] for one in ada.get("/pipeline-triggers")] == ["fresh", "retraining-delay"]
    ada.delete("/pipeline-triggers/fresh")
    assert [one["name"] for one in ada.get("/pipeline-triggers")] == ["retraining-delay"]


def test_limits_defer_and_backfills_go_on_pass_by_pass(app: App, clients: dict[str, Client]) -> None:
    ada = clients["ada"]
    assert ada.put("/pipelines/train/limits", json={"runs_max": 1, "period_seconds": 60})["concurrent_max"] is None
    ada.put("/pipeline-schedules/daily", json={"pipeline": "train", "cron": "0 0 * * *"})
    body = {"pipeline": "train", "schedule": "daily", "start": "2012-12-01T00:00:00Z", "end": "2012-12-10T00:00:00Z", "parameter": "day"}
    found = ada.post("/pipeline-backfills", json={**body, "parallel_max": 3})
    assert (len(found["items"]), found["left"]) == (10, 10)
    with pytest.raises(InvalidInput, match="over a schedule or over a dataset"):
        ada.post("/pipeline-backfills", json={**body, "dataset": "flights"})
    pass_time(app, 1)
    assert ada.get(f"/pipeline-backfills/{found['id']}")["counts"] == {"queued": 3}
    assert app.pipelines.desk.claim(WORKER, Runner(name="r", project="p", pipelines=("train",))).draw is not None
    pass_time(app, 1)
    held = sorted(run["held"] for run in ada.get("/pipeline-runs"))
    assert ["within 60 s have begun; the limit is 1" in one for one in held] == [False, True, True]
    assert ada.post(f"/pipeline-backfills/{found['id']}/cancel")["counts"] == {"cancelled": 3}
    assert ada.post(f"/pipeline-backfills/{found['id']}/resume")["state"] == "running"
    assert [one["id"] for one in ada.get("/pipeline-backfills")] == [found["id"]]


def wait_for_approval(app: App, ada: Client) -> str:
    """A run of ada's whose step waits."""
    run_id: str = ada.post("/pipelines/train/runs", json={})["id"]
    who = Runner(name="r", project="p", pipelines=("train",))
    assert app.pipelines.desk.claim(WORKER, who).draw is not None
    app.pipelines.desk.draw(WORKER, run_id, who, plan(node("ship", options={"approval": "Ship?"})), {"ship": "c"}, ENVIRONMENT)
    return run_id


def test_a_step_is_approved_by_another_than_who_asked(app: App, clients: dict[str, Client]) -> None:
    ada, bob = clients["ada"], clients["bob"]
    run_id = wait_for_approval(app, ada)
    assert [(one["run_id"], one["question"]) for one in ada.get("/pipeline-approvals")] == [(run_id, "Ship?")]
    with pytest.raises(Denied, match="who asked for a pipeline run"):
        ada.post(f"/pipeline-runs/{run_id}/steps/ship/approve", json={"reason": "I like it."})
    assert bob.post(f"/pipeline-runs/{run_id}/steps/ship/approve", json={"reason": "Good."})["state"] == "approved"
    step = app.pipelines.desk.claim(WORKER, Runner(name="r", project="p", pipelines=("train",))).step
    assert step is not None
    stored = app.objects.put_bytes(b"1")
    made = Artifact(kind="json", sha256=stored.sha256, size_bytes=stored.size_bytes)
    held = Held(run_id=run_id, node="ship", index=0, attempt=1)
    app.pipelines.desk.finish(WORKER, held, "r", Report(outcome=Outcome.SUCCEEDED, artifacts=(made,)))
    assert bob.get(f"/pipeline-runs/{run_id}")["state"] == "succeeded"
    assert [one["comment"] for one in bob.get(f"/pipeline-runs/{run_id}/approvals")] == ["Good."]
    second = wait_for_approval(app, ada)
    bob.post(f"/pipeline-runs/{second}/steps/ship/reject", json={"reason": "Bad."})
    assert bob.get(f"/pipeline-runs/{second}")["failure"] == "Step 'ship' was rejected by bob: Bad."


def test_the_command_line_tells_the_same_story(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("HOME", home), ("MLFLOW", "false"), ("PORT", "0"), ("SERVING_PORT", "0")):
        monkeypatch.setenv(f"GATELINE_{name}", str(value))
    monkeypatch.chdir(tmp_path)

    def gateline(*arguments: str) -> Any:
        capsys.readouterr()
        assert main(["pipeline", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    def says(*arguments: str) -> str:
        capsys.readouterr()
        main(["pipeline", *arguments])
        found = capsys.readouterr()
        return found.out + found.err

    added = gateline(
        "schedule", "add", "nightly", "rounds=5", "--pipeline", "train", "--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--catch-up",
        "all", "--catch-up-max", "9",
    )  # fmt: skip
    assert (added["parameters"], added["catch_up_max"], len(added["next"])) == ({"rounds": 5}, 9, 5)
    assert len(gateline("schedule", "show", "nightly", "--next", "3")["next"]) == 3
    assert "paused by owner" in says("schedule", "pause", "nightly")
    assert "train(rounds=5) at '30 2 * * *' in Europe/Berlin, catch-up all" in says("schedule", "resume", "nightly")
    assert "nightly  train" in says("schedule", "list")
    assert gateline("trigger", "add", "t", "--pipeline", "train", "--endpoint", "delay")["alert_kinds"] == ["drift", "performance"]
    assert "Give --endpoint or --dataset" in says("trigger", "add", "t", "--pipeline", "train")
    assert "delay" in says("trigger", "list")
    assert gateline("limits", "train", "--concurrent", "2", "--cool-down", "60")["concurrent_max"] == 2
    changed = gateline("limits", "train", "--concurrent", "0")
    assert (changed["concurrent_max"], changed["cool_down_seconds"]) == (None, 60)
    assert "cool down seconds: 60" in says("limits", "train")
    fill = gateline(
        "backfill", "start", "train", "--parameter", "day", "--schedule", "nightly", "--from", "2026-01-01T00:00:00Z", "--to",
        "2026-01-04T00:00:00Z", "--parallel", "2",
    )  # fmt: skip
    assert len(fill["items"]) == 3
    assert "3 of 3 left; no runs yet" in says("backfill", "show", fill["id"])
    assert "is cancelled" in says("backfill", "cancel", fill["id"])
    assert "is running" in says("backfill", "resume", fill["id"])
    assert fill["id"] in says("backfill", "list")
    assert "no range of versions" in says("backfill", "start", "train", "--parameter", "x", "--dataset", "d", "--versions", "a-b")
    assert gateline("approvals") == []
    for verb in ("approve", "reject"):
        assert "who administers access may not approve steps" in says(verb, "prun_none", "ship", "--reason", "Good.")
    assert gateline("trigger", "remove", "t") == {"removed": "t"}
    assert gateline("schedule", "remove", "nightly") == {"removed": "nightly"}
