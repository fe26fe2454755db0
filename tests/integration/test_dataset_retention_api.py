"""Pins, vacuum and building again as users reach them: REST API, SDK and command line over a local folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from gateline.app import build
from gateline.cli import main
from gateline.kernel.errors import Denied, IntegrityFailure, NotFound
from gateline.kernel.settings import Settings
from gateline.sdk.client import Client
from gateline.sdk.data import register_dataset, verify_dataset
from gateline.sdk.retention import dataset_pins, pin_dataset, reconstruct_dataset, unpin_dataset, vacuum_dataset
from gateline.sdk.rows import append_rows, open_spool


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with two versions of `people`, to be copied."""
    folder = tmp_path_factory.mktemp("started")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATELINE_MLFLOW", "false")
        with Client(home=folder / "home") as connection:
            for age in (30, 31):
                (folder / "people.csv").write_text(f"name,age\nAnn,{age}\n")
                register_dataset(connection, "people", folder / "people.csv", source="made for the test", licence="CC0-1.0")
    return folder / "home"


@pytest.fixture
def home(tmp_path: Path, started: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATELINE_MLFLOW", "false")
    shutil.copytree(started, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def client(home: Path):
    with Client(home=home) as connection:
        yield connection


def run(home, capsys, *arguments: str) -> tuple[int, str]:
    status = main(["--home", str(home), *arguments])
    return status, capsys.readouterr().out


def test_a_pin_goes_through_the_api_and_back(client):
    pin = pin_dataset(client, "people@1", reason="audit", until=4_000_000_000_000_000, evidence=True)
    assert dataset_pins(client) == dataset_pins(client, "people") == [pin]
    released = unpin_dataset(client, pin.id, reason="done")
    assert released.released_by == "owner"
    assert dataset_pins(client) == []
    assert dataset_pins(client, everything=True) == [released]


def test_a_developer_cannot_release_a_legal_hold_an_administrator_can(client, home):
    client.post("/principals", json={"name": "dev", "kind": "person", "roles": ["developer"]})
    client.post("/principals", json={"name": "chief", "kind": "person", "roles": ["admin"]})
    tokens = {name: client.post("/tokens", json={"principal": name})["token"] for name in ("dev", "chief")}
    pin = pin_dataset(client, "people@1", reason="court order", legal_hold=True)
    own = client.token
    for name, outcome in (("dev", Denied), ("chief", None)):
        client._http.headers["authorization"] = f"Bearer {tokens[name]}"
        if outcome is None:
            assert unpin_dataset(client, pin.id, reason="case closed").released_by == "chief"
        else:
            with pytest.raises(outcome, match="legal hold"):
                unpin_dataset(client, pin.id, reason="in the way")
            with pytest.raises(outcome, match="dataset:vacuum"):
                vacuum_dataset(client, "people", apply=True, older_than_days=0)
    client._http.headers["authorization"] = f"Bearer {own}"
    assert dataset_pins(client) == []


def test_what_a_vacuum_removed_is_rebuilt(client):
    assert dict(vacuum_dataset(client, "people", older_than_days=0).versions).keys() == {"people@1"}
    assert vacuum_dataset(client, "people", older_than_days=0, apply=True).applied
    with pytest.raises(IntegrityFailure, match="people@1 is not what was registered: The table file 1"):
        verify_dataset(client, "people", 1)
    assert len(reconstruct_dataset(client, "people@1", restore=True).restored) == 1
    verify_dataset(client, "people", 1)
    with pytest.raises(NotFound):
        reconstruct_dataset(client, "people@9")


def test_the_command_line_keeps_removes_and_rebuilds(home, capsys):
    status, out = run(home, capsys, "dataset", "pin", "people@1", "--reason", "audit", "--legal-hold", "--json")
    assert status == 0
    pin = json.loads(out)["id"]
    assert "legal hold" in run(home, capsys, "dataset", "pins")[1]
    assert "kept people@1: legal hold: audit" in run(home, capsys, "dataset", "vacuum", "people", "--older-than-days", "0")[1]
    assert run(home, capsys, "dataset", "unpin", pin, "--reason", "done")[0] == 0
    assert run(home, capsys, "dataset", "pins") == (0, "No version is pinned.\n")
    status, out = run(home, capsys, "dataset", "vacuum", "people", "--older-than-days", "0")
    assert (status, out.splitlines()[0]) == (0, "would remove 1 files of people@1")
    assert "removed 1 files of people@1" in run(home, capsys, "dataset", "vacuum", "people", "--older-than-days", "0", "--apply")[1]
    assert run(home, capsys, "dataset", "verify")[0] == 1
    status, out = run(home, capsys, "dataset", "reconstruct", "people@1", "--restore")
    assert (status, out.splitlines()[0]) == (0, "people@1: equal to what was registered, built from its kept rows")
    assert out.splitlines()[-1].startswith("restored part_")
    assert run(home, capsys, "dataset", "verify")[0] == 0


def test_the_server_fetches_from_a_configured_connection_only(tmp_path, started, monkeypatch, capsys):
    monkeypatch.setenv("GATELINE_MLFLOW", "false")
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE sales (item TEXT, price REAL)")
        connection.execute("INSERT INTO sales VALUES ('tea', 2.5)")
    connection.close()
    shutil.copytree(started, tmp_path / "home")
    given = ("--source", "the shop", "--licence", "CC0-1.0", "--query", "SELECT * FROM sales")
    assert run(tmp_path / "home", capsys, "dataset", "fetch", "sales", "shop", *given)[0] == 1
    monkeypatch.setenv("SHOP_URL", f"sqlite:///{tmp_path / 'shop.db'}")
    monkeypatch.setenv("GATELINE_CONNECTIONS", '{"shop": "secret://env/SHOP_URL"}')
    status, out = run(tmp_path / "home", capsys, "dataset", "fetch", "sales", "shop", *given)
    assert (status, out[:24]) == (0, "sales@1: 1 rows, 2 colum")
    assert run(tmp_path / "home", capsys, "dataset", "fetch", "sales", "shop", *given, "--path", "x")[0] == 1
    assert "SHOP_URL" not in (tmp_path / "home" / "records.db").read_bytes().decode(errors="replace")


def test_a_dataset_is_fed_with_rows_from_the_command_line(home, capsys, tmp_path):
    opened = ("dataset", "spool", "sales", "--type", "n=int64", "--type", "item=string", "--source", "the till", "--licence", "internal")
    assert run(home, capsys, *opened) == (0, "sales takes rows of 2 columns; 0 have come\n")
    (tmp_path / "rows.jsonl").write_text('{"n": 1, "item": "tea"}\n{"n": 2}\n')
    append = ("dataset", "append", "sales", str(tmp_path / "rows.jsonl"))
    assert run(home, capsys, *append) == (0, "sales: 2 rows taken, 0 were there before\n")
    assert run(home, capsys, *append) == (0, "sales: 0 rows taken, 2 were there before\n")
    status, out = run(home, capsys, "dataset", "cut", "sales")
    assert (status, out[:27]) == (0, "sales@1: 2 rows, 2 columns,")
    assert "has no small files" in run(home, capsys, "dataset", "compact", "sales")[1]
    (tmp_path / "rows.jsonl").write_text('{"n": "3"}\n')
    assert run(home, capsys, *append)[0] == 1
    (tmp_path / "rows.jsonl").write_text("{")
    assert run(home, capsys, *append)[0] == 1
    assert run(home, capsys, "dataset", "append", "sales", "nowhere.jsonl")[0] == 1
    assert run(home, capsys, "dataset", "verify")[0] == 0
    with Client(home=home) as client:
        assert client.get("/datasets/sales/spool")["rows_committed"] == 2


def test_a_version_is_rebuilt_from_its_file_where_it_lay_or_where_it_is_named(home, capsys, tmp_path):
    file = tmp_path / "cities.csv"
    file.write_text("name\nParis\n")
    given = ("--source", "made for the test", "--licence", "CC0-1.0")
    assert run(home, capsys, "dataset", "register", "cities", str(file), *given)[0] == 0
    again = ("dataset", "reconstruct", "cities@1", "--from", "sources")
    status, out = run(home, capsys, *again)
    assert (status, out.splitlines()[0]) == (0, "cities@1: equal to what was registered, built from its source")
    assert out.splitlines()[1].startswith("source equal: the file is the one that was registered, SHA-256 ")
    file.write_text("name\nRome\n")
    status, out = run(home, capsys, *again)
    assert (status, out.splitlines()[1:]) == (
        1,
        ["source different: the file changed", f"To see what differs, name it with: --file {file}."],
    )
    with Client(home=home) as client:  # nothing was sent that the record did not already describe
        with pytest.raises(NotFound):
            client.download(hashlib.sha256(file.read_bytes()).hexdigest(), tmp_path / "sent")
    status, out = run(home, capsys, *again, "--file", str(file))
    assert (status, "1 rows are only in the source now, 1 only in the version" in out) == (1, True)
    assert "cities@1 → cities@1 as its source holds it now: 1 → 1 rows" in out
    file.unlink()
    status, out = run(home, capsys, *again)
    assert (status, out.splitlines()[0]) == (1, "cities@1: not built from its source")
    assert out.splitlines()[1] == f"source gone: there is no file {file} on the machine of owner"
    assert run(home, capsys, "dataset", "reconstruct", "cities@1")[0] == 0
    assert run(home, capsys, "dataset", "reconstruct", "cities@1", "--from", "kept") == (
        0, "cities@1: equal to what was registered, built from its kept rows\n",
    )  # fmt: skip
    assert run(home, capsys, *again, "--file", str(file))[0] == 1


def test_a_version_is_rebuilt_from_a_connection_as_of_its_time(tmp_path, home, monkeypatch, capsys):
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE sales (item TEXT, known_at TEXT)")
        connection.execute("INSERT INTO sales VALUES ('tea', '2020-01-01 00:00:00.000000'), ('milk', '2021-01-01 00:00:00.000000')")
    connection.close()
    monkeypatch.setenv("GATELINE_CONNECTIONS", json.dumps({"shop": f"sqlite:///{tmp_path / 'shop.db'}"}))
    query = "SELECT item FROM sales WHERE known_at <= :as_of"
    given = ("--source", "the shop", "--licence", "CC0-1.0", "--query", query, "--as-of", "2020-06-01T00:00:00Z")
    status, out = run(home, capsys, "dataset", "fetch", "sales", "shop", *given)
    assert (status, out[:16]) == (0, "sales@1: 1 rows,")
    status, out = run(home, capsys, "dataset", "reconstruct", "sales@1", "--from", "sources", "--json")
    found = json.loads(out)
    assert (status, found["equal"], found["built_from"], found["source"]["state"]) == (0, True, "sources", "equal")
    assert "as of 2020-06-01T00:00:00.000000Z" in found["source"]["sentence"]
    monkeypatch.setenv("GATELINE_CONNECTIONS", json.dumps({"shop": "postgresql+psycopg://me@127.0.0.1:1/db?connect_timeout=2"}))
    status, out = run(home, capsys, "dataset", "reconstruct", "sales@1", "--from", "sources")
    assert (status, out.splitlines()[1][:19]) == (4, "source unreachable:")


def test_a_checkpoint_is_given_from_the_command_line(home, capsys):
    status, out = run(home, capsys, "dataset", "checkpoint", "people")
    assert (status, out) == (0, "people has a checkpoint at table version 2; 0 files of its log were removed\n")
    assert (home / "tables" / "people" / "_delta_log" / "_last_checkpoint").is_file()
    assert run(home, capsys, "dataset", "checkpoint", "nobody")[0] == 1


def test_a_server_commits_rows_and_gives_tables_their_checkpoints_by_itself(home):
    with Client(home=home) as client:
        open_spool(client, "sales", {"n": "int64"}, source="the till", licence="internal")
        append_rows(client, "sales", [{"n": number} for number in range(10_000)], key="many")
    app = build(Settings(home=home, mlflow=False, workers=0, tables_checkpoint_commits=1))
    app.reconcile_once()
    app.stop()
    for name in ("people", "sales"):
        assert (home / "tables" / name / "_delta_log" / "_last_checkpoint").is_file()
    with Client(home=home) as client:
        assert client.get("/datasets/sales/spool")["rows_committed"] == 10_000
