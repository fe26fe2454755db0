"""Features online as users reach them: SDK, REST API and command line over a local folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gateline.cli import main
from gateline.kernel.errors import Conflict, InvalidInput, NotFound
from gateline.sdk.client import Client
from gateline.sdk.data import register_dataset
from gateline.sdk.features import register_feature_set
from gateline.sdk.online import (
    consumers,
    deprecate_view,
    feature_view,
    feature_views,
    freshness,
    materialise,
    online_features,
    promote_view,
    push_events,
    remove_view,
    replay,
    view_statistics,
)
from gateline.sdk.rows import append_rows, cut_dataset, open_spool
from tests.unit.features.online.conftest import ORDERED, PAID, PAYMENTS, SHOPPING, SIZES, SPENDING, payment, variant


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with a registered set, to be copied."""
    home = tmp_path_factory.mktemp("started") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATELINE_MLFLOW", "false")
        with Client(home=home) as client:
            for name, text in (("payments", PAID), ("orders", ORDERED), ("shops", SIZES)):
                (home / f"{name}.csv").write_text(text)
                register_dataset(client, name, home / f"{name}.csv", source="made for the test", licence="CC0-1.0")
            register_feature_set(client, SHOPPING)
    return home


@pytest.fixture
def home(tmp_path: Path, started: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATELINE_MLFLOW", "false")
    return Path(shutil.copytree(started, tmp_path / ".gateline"))


@pytest.fixture
def client(home: Path):
    with Client(home=home) as connection:
        yield connection


def run(home: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["--home", str(home), *arguments])
    return code, capsys.readouterr().out


def test_a_view_goes_online_takes_events_and_is_read_through_the_api(client):
    seen = []
    done = materialise(client, "spending", interval_seconds=3600, progress=seen.append)
    assert (done["rows"], done["done"], len(seen)) == (4, done["intervals"], done["intervals"])
    assert materialise(client, "spending", start="2013-01-01T10:00:00Z", interval_seconds=3600)["rows"] == 0
    assert push_events(client, "payments", [payment(9, "11:40", 100)])["views"]["spending@1"]["taken"] == 1
    assert push_events(client, "payments", [payment(9, "11:40", 100)])["views"]["spending@1"]["known"] == 1
    answer = online_features(client, ["spending"], [{"shop": "a"}, {"shop": "b"}], "2013-01-01T12:00:00Z")
    assert [row["features"]["spending_sum_amount_1h"] for row in answer["rows"]] == [111, 9]
    assert answer["views"] == {"spending": "spending@1"}
    assert answer["rows"][0]["views"]["spending"]["state"] == "ok"
    assert [one["view"] for one in freshness(client)] == ["spending@1"]
    with pytest.raises(InvalidInput, match="either a feature_set or views"):
        client.post("/features/read", json={"entities": []})
    with pytest.raises(InvalidInput, match="answers from"):
        online_features(client, ["spending"], [{"shop": "a"}], "2013-01-01T09:00:00+01:00")


def test_a_whole_set_is_read_as_its_model_gets_it(client):
    with pytest.raises(Conflict, match="not kept online"):
        online_features(client, "shopping", [{"shop": "a", "amount": 6}])
    for view in ("spending", "newest", "shop"):
        materialise(client, view)
    answer = online_features(client, "shopping@1", [{"shop": "b", "amount": 18}], "2013-01-01T11:30:00Z")
    assert answer["rows"][0]["features"] == {
        "spending_sum_amount_1h": 9, "spending_sum_amount_4h": 9, "spending_count_1h": 1, "spending_count_4h": 1, "last_amount": 9,
        "size": 4, "amount": 18, "share": 2.0,
    }  # fmt: skip


def test_views_are_found_promoted_deprecated_and_removed(client):
    assert [card["name"] for card in feature_views(client, "money")] == ["spending"]
    register_feature_set(client, variant(SPENDING, windows=("1h", "2h")))
    for version in ("spending@1", "spending@2"):
        materialise(client, version)
    assert promote_view(client, "spending@2")["id"] == "spending@2"
    assert feature_view(client, "spending")["promoted"] == 2
    assert remove_view(client, "spending@1")["removed_at"]
    assert consumers(client, "spending")["feature_sets"] == ["shopping@1", "shopping@2"]
    assert view_statistics(client, "spending")["keys"] == 2
    assert deprecate_view(client, "spending", reason="it is gross")["deprecated"] == "it is gross"
    with pytest.warns(FutureWarning, match="'spending' is deprecated: it is gross"):
        online_features(client, ["spending"], [{"shop": "a"}])
    with pytest.warns(FutureWarning, match="'spending' is deprecated: it is gross"):
        register_feature_set(client, SHOPPING)
    with pytest.raises(NotFound):
        feature_view(client, "none")


def test_the_replay_runs_over_the_registered_data(client):
    from gateline.sdk.features import feature_set

    report = replay(client, feature_set(client, "shopping"), seed=1)
    assert report.agrees
    assert report.requests == 3


def test_events_go_into_a_dataset_that_is_fed_with_rows(client, home, capsys):
    types = {"id": "int64", "shop": "string", "amount": "int64", "paid": "datetime", "known": "datetime"}
    open_spool(client, "takings", types, source="the till", licence="internal")
    append_rows(client, "takings", [payment(1, "10:05", 5)], key="first")
    cut_dataset(client, "takings")
    takings = replace(PAYMENTS, name="takings", dataset="takings")
    view = replace(SPENDING, name="taken", source=takings)
    register_feature_set(client, replace(SHOPPING, name="taking", views=(view,)))
    materialise(client, "taken")
    rows = [payment(2, "10:30", 7), payment(3, "11:10", 9, shop="b")]
    for appended in (2, 0):
        answer = push_events(client, "takings", rows)
        assert answer["datasets"] == {"takings": {"spooled": True, "appended": appended, "repeated": 2 - appended}}
    assert cut_dataset(client, "takings").row_count == 3
    assert materialise(client, "taken")["taken"]["taken"] == 0
    with pytest.raises(Conflict, match="another row with an event id that was sent"):
        push_events(client, "takings", [payment(2, "10:30", 8)])
    (home / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, payment(4, "11:20", 11)]))
    code, text = run(home, capsys, "feature", "push", "takings", str(home / "events.jsonl"))
    assert (code, "takings: 1 rows appended, 2 were there before" in text) == (0, True)
    assert cut_dataset(client, "takings").row_count == 4


def test_events_of_a_dataset_made_of_files_go_online_alone(client, home, capsys):
    materialise(client, "spending")
    (home / "events.jsonl").write_text(json.dumps(payment(9, "11:40", 100)))
    with pytest.raises(Conflict, match="is made of files"):
        push_events(client, "payments", [payment(9, "11:40", 100)], spool=True)
    code, text = run(home, capsys, "feature", "push", "payments", str(home / "events.jsonl"))
    assert (code, "1 taken" in text, "payments: nothing appended" in text) == (0, True, True)
    assert run(home, capsys, "feature", "push", "payments", str(home / "events.jsonl"), "--spool")[0] == 1
    assert run(home, capsys, "feature", "push", "payments", str(home / "none.jsonl"))[0] == 1


def test_the_command_line_does_the_same(home, capsys):
    code, text = run(home, capsys, "feature", "materialise", "spending", "--interval", "1h")
    assert (code, "4 rows of payments@1 (4 taken)" in text) == (0, True)
    code, text = run(home, capsys, "feature", "read", "spending", "shop=a", "--at", "2013-01-01T11:30:00Z")
    assert code == 0
    assert "spending_sum_amount_1h  11" in text
    code, text = run(home, capsys, "--json", "feature", "read", "spending", 'shop="a"', "--at", "2013-01-01T11:30:00Z")
    assert (code, json.loads(text)["rows"][0]["views"]["spending"]["state"]) == (0, "ok")
    assert run(home, capsys, "feature", "read", "spending", "shop")[0] == 2
    assert "spending@1" in run(home, capsys, "feature", "freshness")[1]
    assert "payments team" in run(home, capsys, "feature", "views", "money")[1]
    assert "is spending@1" in run(home, capsys, "feature", "promote", "spending@1")[1]
    assert "used by feature sets: shopping@1" in run(home, capsys, "feature", "view", "spending")[1]
    assert "is deprecated: old" in run(home, capsys, "feature", "deprecate", "spending", "--reason", "old")[1]
    assert "no longer" in run(home, capsys, "feature", "deprecate", "spending", "--reason", "")[1]
    assert run(home, capsys, "feature", "remove", "spending@1")[0] == 1
    code, text = run(home, capsys, "feature", "parity", "shopping", "--requests", "3")
    assert (code, "Every value equals the offline join." in text) == (0, True)
