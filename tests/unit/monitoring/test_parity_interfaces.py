"""Feature parity through the API, the SDK, the command line and a gate, on a whole application."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl
import pytest

from gateline.access import Role
from gateline.app import build
from gateline.cli import main
from gateline.gates import ModelSubject, parse_policy
from gateline.kernel.clock import DAY, iso
from gateline.kernel.errors import Denied, InvalidInput, NotFound
from gateline.kernel.settings import Settings
from gateline.sdk import parity as sdk
from gateline.sdk.client import Client
from gateline.sdk.transport import InProcessTransport
from gateline.server.asgi import create_app
from tests.support.parity import START, Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMANDING = parse_policy({"suite": ["parity"], "parity": {"endpoint": "risk"}})


@pytest.fixture
def shop(home, tmp_path) -> Iterator[Shop]:
    """A shop in the records of a whole application, its data registered, without a parity plan."""
    app = build(Settings(home=home, mlflow=False, workers=0))
    app.access.ensure_owner()
    found = Shop(app.ledger, home, app.ledger.clock, tmp_path)
    found.app = app
    found.datasets, found.feature_sets, found.parity = app.datasets, app.feature_sets, app.parity
    found.open()
    yield found
    found.writer.close()
    app.stop()


@pytest.fixture
def clients(shop) -> Iterator[dict[Role, Client]]:
    transport = InProcessTransport(create_app(shop.app))
    found = {}
    for role in (Role.OPERATOR, Role.VIEWER):
        shop.app.access.create_principal("owner", f"the-{role}", [role])
        found[role] = Client(token=shop.app.access.create_token("owner", f"the-{role}"), home=shop.home, transport=transport)
    yield found
    transport.close()


def test_the_api_takes_plans_makes_runs_and_shows_them(shop, clients):
    operator, viewer = clients[Role.OPERATOR], clients[Role.VIEWER]
    plan = sdk.set_parity(operator, shop.name, {"feature_set": "order_risk@1", "sample_share": 1})
    assert (plan["rows_min"], plan["mismatch_max"]) == (100, 0.01)
    assert sdk.parity(viewer, shop.name)["newest"] is None
    shop.serve(shop.day(shop.requests().with_columns(pl.col("size") + 1), 0))
    shop.close(0)
    shop.app.reconcile_once()
    found = sdk.parity(viewer, shop.name)
    assert (found["next_start"], found["newest"]["state"]) == (iso(START + DAY), "alert")
    assert [one["names"] for one in found["alerts"]] == [["size"]]
    run = sdk.run_parity(operator, shop.name, start=iso(START))
    assert run == found["newest"]
    part = sdk.run_parity(operator, shop.name, start=iso(START), end=iso(START + DAY // 2))
    assert (part["daily"], part["state"]) == (False, "alert")
    assert [one["id"] for one in sdk.parity_runs(viewer, shop.name)] == [run["id"], part["id"]]
    assert len(sdk.parity_runs(viewer, shop.name, limit=1)) == 1
    for call in (lambda: sdk.set_parity(viewer, shop.name, plan), lambda: sdk.run_parity(viewer, shop.name)):
        with pytest.raises(Denied):
            call()
    for body in ({"start": "yesterday"}, {"start": iso(START), "end": iso(START)}, {"begin": 3}):
        with pytest.raises(InvalidInput):
            operator.post(f"/endpoints/{shop.name}/parity/runs", json=body)
    with pytest.raises(InvalidInput, match="sample_share"):
        sdk.set_parity(operator, shop.name, {"feature_set": "order_risk", "sample_share": 3})
    with pytest.raises(NotFound):
        sdk.parity(viewer, "nowhere")
    with pytest.raises(NotFound):
        sdk.parity_runs(viewer, "nowhere")


def test_the_command_line_sets_runs_and_shows_parity_and_ends_with_its_state(shop, tmp_path, capsys):
    def run(*words: str) -> tuple[int, str]:
        status = main(["--home", str(shop.home), "monitor", "parity", *words])
        return status, capsys.readouterr().out

    project = tmp_path / "project"
    project.mkdir()
    (project / "gateline.toml").write_text('[project]\nname = "p"\nowner = "o"\nmodel = "m"\n[parity]\nfeature_set = "order_risk"\n')
    assert run("set", shop.name, "--project", str(project), "--sample-share", "1") == (
        0, "Features of risk are compared with order_risk day by day, for 100.0% of the entities.\n",
    )  # fmt: skip
    assert run("set", shop.name)[0] == 1
    status, text = run("show", shop.name)
    assert (status, text.splitlines()[-1]) == (4, "No day has been compared yet.")
    stale = shop.requests(offset="1h")
    shop.serve(shop.day(shop.requests().with_columns(stale["level"]), 0))
    shop.close(0)
    status, text = run("run", shop.name)
    assert status == 5
    assert "60 min (100%)" in text
    assert "apart: 0 unknown offline, 0 without an entity, 0 in batches" in text
    status, text = run("show", shop.name)
    assert status == 5
    assert "open alert alert_" in text
    status, text = run("run", shop.name, "--start", iso(START), "--end", iso(START + 3_600_000_000), "--json")
    assert (status, json.loads(text)["state"]) == (4, "not_enough_data")


def test_a_gate_that_demands_parity_follows_the_newest_run(shop):
    gates = shop.app.gates
    gates.record_policy("owner", DEMANDING)
    form = json.dumps({"inputs": [{"column": "size", "feature": "size", "kind": "numeric"}]}).encode()
    files = {"serving.json": shop.objects.put_bytes(form).sha256, "model.txt": shop.objects.put_bytes(b"tree").sha256}
    frame = shop.objects.put_with(shop.frames["orders"].write_parquet).sha256
    subject = ModelSubject(run_id="run-1", files=files, training_frame=frame, trained_until=START)

    def asked() -> tuple[str, str]:
        run = gates.run("owner", subject=subject, frame=frame, policy=DEMANDING)
        (result,) = run.results
        assert run.verdict is result.verdict
        return result.verdict.value, result.sentence

    assert asked() == ("inconclusive", "no day of 'risk' has been compared yet")
    rows = shop.requests()
    shop.serve(shop.day(rows.with_columns(pl.col("size") + 1), 0))
    shop.close(0)
    shop.parity.reconcile()
    verdict, sentence = asked()
    assert verdict == "fail"
    count = shop.day(rows, 0).height
    assert f"size, differs from its offline recomputation (mismatch) in 100.00% of {count} requests; required at most 1.00%" in sentence
    shop.put("orders", shop.frames["orders"].with_columns(pl.col("size") + 1))
    shop.parity.run("owner", shop.name)
    assert asked()[0] == "pass"
    facts = shop.parity.facts(shop.name)
    assert facts == shop.parity.facts(shop.name)
    picked = shop.parity.run("owner", shop.name, START + DAY // 2, START + DAY + 1)
    assert (picked.daily, picked.end) == (False, START + DAY + 1)
    assert shop.parity.facts(shop.name) == facts, "an interval that somebody picked does not decide a gate"


def test_a_day_that_should_have_been_compared_holds_a_gate_open(shop):
    shop.serve(shop.day(shop.requests(), 0))
    shop.close(0)
    assert shop.parity.reconcile() == 1
    assert shop.parity.facts(shop.name)["overdue"] == ""
    shop.close(4)
    assert shop.parity.facts(shop.name)["overdue"] == iso(START + DAY)
    with pytest.raises(NotFound):
        shop.parity.facts("nowhere")
