"""Labels, windows and alerts through the API, the SDK and the command line, on a whole application."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl
import pytest

from gateline.access import Role
from gateline.app import build
from gateline.cli import main
from gateline.kernel.clock import iso
from gateline.kernel.errors import Denied, InvalidInput, NotFound
from gateline.kernel.settings import Settings
from gateline.sdk import monitoring as sdk
from gateline.sdk.client import Client
from gateline.sdk.transport import InProcessTransport
from gateline.server.asgi import create_app
from tests.support.watched import START, WEEK, Watched, week

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def installed(home) -> Iterator[Watched]:
    """An endpoint with three weeks of drifting requests, in the records of a whole application."""
    app = build(Settings(home=home, mlflow=False, workers=0))
    app.access.ensure_owner()
    found = Watched(app.ledger, home, app.ledger.clock)
    found.app = app
    yield found
    found.writer.close()
    app.stop()


@pytest.fixture
def clients(installed) -> Iterator[dict[Role, Client]]:
    """One client of each role that matters here."""
    transport = InProcessTransport(create_app(installed.app))
    found = {}
    for role in (Role.OPERATOR, Role.VIEWER):
        installed.app.access.create_principal("owner", f"the-{role}", [role])
        found[role] = Client(token=installed.app.access.create_token("owner", f"the-{role}"), home=installed.home, transport=transport)
    yield found
    transport.close()


def test_the_api_takes_labels_plans_and_references_and_shows_windows_and_alerts(installed, clients):
    operator, name = clients[Role.OPERATOR], installed.name
    frame = pl.concat([week(number - 8) for number in range(8)])
    plan = sdk.watch(operator, name, {"features": [{"name": "level"}]})
    assert (plan["window_seconds"], plan["features"][0]["seasonal"]) == (604_800, False)
    assert plan == sdk.watch(operator, name, plan)
    reference = sdk.set_reference(
        operator, name, frame=installed.store(frame.select("t", "x", "level")), scores=installed.store(frame), version="m@1"
    )
    assert reference["id"] == "delay/reference@1"
    for number in range(3):
        weekly = week(number, shift=1.0)
        installed.serve(weekly)
        installed.serving.ingest()
        rows = weekly.select("request_id", "label", event_time=pl.col("t") + 1).to_dicts()
        assert sdk.record_labels(operator, name, rows)["recorded"] == 400
        assert sdk.record_labels(operator, name, rows)["unchanged"] == 400
        installed.app.monitoring.reconcile()
    viewer = clients[Role.VIEWER]
    assert [one["state"] for one in sdk.windows(viewer, name, analysis="drift")] == ["warn", "alert"]
    assert len(sdk.windows(viewer, name, limit=1)) == 1
    later = viewer.get(f"/endpoints/{name}/windows", params={"start": iso(START + WEEK)})
    assert {one["start"] for one in later} == {iso(START + WEEK)}
    (alert,) = sdk.alerts(viewer, name, unresolved=True)
    assert (alert["kind"], alert["state"], alert["names"]) == ("drift", "open", ["x"])
    assert sdk.monitor(viewer, name)["alerts"] == [alert]
    with pytest.raises(Denied):
        sdk.acknowledge(viewer, alert["id"])
    assert sdk.acknowledge(operator, alert["id"], "looking")["state"] == "acknowledged"
    assert sdk.resolve(operator, alert["id"], "done")["state"] == "resolved"
    assert sdk.alerts(viewer, name, unresolved=True) == []


def test_the_api_refuses_what_is_wrong_and_says_why(installed, clients):
    operator, viewer, path = clients[Role.OPERATOR], clients[Role.VIEWER], f"/endpoints/{installed.name}"
    good = {"request_id": "q", "label": 1, "event_time": START}
    with pytest.raises(InvalidInput, match="row 0: label must be"):
        operator.post(f"{path}/labels", json={"labels": [good | {"label": "late"}]})
    for body in ({"labels": "x"}, {"labels": [3]}, {}, {"labels": [good], "more": 1}, {"labels": []}):
        with pytest.raises(InvalidInput):
            operator.post(f"{path}/labels", json=body)
    with pytest.raises(InvalidInput, match="window_seconds"):
        operator.put(f"{path}/monitor", json={"window_seconds": 3})
    with pytest.raises(InvalidInput, match="has no feature nothing"):
        operator.put(f"{path}/monitor", json={"features": [{"name": "nothing"}]})
    with pytest.raises(NotFound, match="not watched"):
        operator.get(f"{path}/monitor")
    for wrong in ({"limit": 0}, {"limit": 10_000}, {"analysis": "style"}, {"start": "yesterday"}):
        with pytest.raises(InvalidInput):
            operator.get(f"{path}/windows", params=wrong)
    for missing in ("/endpoints/nowhere/windows", "/endpoints/nowhere/alerts"):
        with pytest.raises(NotFound):
            operator.get(missing)
    with pytest.raises(NotFound):
        operator.post("/endpoints/nowhere/labels", json={"labels": [good]})
    with pytest.raises(NotFound):
        operator.post("/alerts/alert_none/acknowledge", json={})
    for call in (lambda: viewer.post(f"{path}/labels", json={"labels": [good]}), lambda: viewer.put(f"{path}/monitor", json={})):
        with pytest.raises(Denied):
            call()


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_label_files_of_three_kinds_say_the_same(tmp_path, suffix):
    frame = pl.DataFrame({"request_id": ["1", "2"], "label": [0, 1], "event_time": [iso(START), iso(START + 1)]})
    path = tmp_path / f"labels of a week{suffix}"
    {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".jsonl": frame.write_ndjson}[suffix](path)
    assert list(sdk.read_label_file(path)) == frame.to_dicts()


def test_label_files_with_timestamps_are_read_and_others_are_refused(tmp_path):
    path = tmp_path / "labels.parquet"
    moments = pl.Series([START]).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone("America/New_York").dt.cast_time_unit("ns")
    pl.DataFrame({"prediction_id": ["p"], "label": [0.5], "event_time": moments}).write_parquet(path)
    assert list(sdk.read_label_file(path)) == [{"prediction_id": "p", "label": 0.5, "event_time": START}]
    pl.DataFrame({"prediction_id": ["p"], "label": [0.5]}).write_parquet(path)
    with pytest.raises(InvalidInput, match="has the columns prediction_id, label"):
        sdk.read_label_file(path)
    path.write_bytes(b"junk")
    with pytest.raises(InvalidInput, match="cannot be read"):
        sdk.read_label_file(path)
    with pytest.raises(NotFound):
        sdk.read_label_file(tmp_path / "none.csv")
    (tmp_path / "labels.xls").write_bytes(b"")
    with pytest.raises(InvalidInput, match="no kind of file"):
        sdk.read_label_file(tmp_path / "labels.xls")


def test_the_command_line_records_labels_shows_windows_and_ends_with_5_on_an_alert(installed, tmp_path, capsys):
    def run(*words: str) -> tuple[int, str]:
        status = main(["--home", str(installed.home), *words])
        return status, capsys.readouterr().out

    assert run("monitor", "set", installed.name) == (0, "delay is watched in windows of 7 days; labels count until 48 hours after each.\n")
    assert run("monitor", "windows", installed.name) == (0, "No window of delay is closed yet.\n")
    assert run("monitor", "alerts", installed.name) == (0, "No alert of delay is open.\n")
    installed.refer()
    for number in range(3):
        weekly = week(number, shift=1.0)
        installed.serve(weekly)
        installed.serving.ingest()
        path = tmp_path / "labels.csv"
        weekly.select("request_id", "label", event_time=pl.col("t") + 1).write_csv(path)
        assert run("label", "record", installed.name, str(path)) == (
            0, "400 labels: 400 new, 0 corrected, 0 known already, 0 wait for their prediction.\n",
        )  # fmt: skip
        installed.app.monitoring.reconcile()
    status, text = run("monitor", "alerts", installed.name)
    assert status == 5
    assert "drift" in text
    status, text = run("monitor", "show", installed.name)
    assert status == 5
    assert "open alert alert_" in text
    status, text = run("monitor", "windows", installed.name, "--json")
    assert (status, len(json.loads(text))) == (0, 4)
    (alert,) = installed.app.monitoring.alerts(installed.name)
    assert run("monitor", "acknowledge", alert.id)[0] == 0
    assert run("monitor", "resolve", alert.id, "--comment", "source repaired")[0] == 0
    assert run("monitor", "show", installed.name)[0] == 0
    assert run("monitor", "show", "nowhere")[0] == 1
    assert run("label", "record", installed.name, str(tmp_path / "none.csv"))[0] == 1
