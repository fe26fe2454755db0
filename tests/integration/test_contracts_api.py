"""Contracts, differences and marks as users reach them: SDK, REST API and command line over a local folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gateline.cli import main
from gateline.data import Contract
from gateline.features import EventSource, FeatureSet
from gateline.kernel.errors import Conflict, ContractBroken, Denied, InvalidInput, NotFound
from gateline.sdk.client import Client
from gateline.sdk.contracts import (
    accept_contract,
    check_contract,
    contract,
    contract_breaks,
    contracts,
    diff_datasets,
    infer_contract,
    propose_contract,
    propose_pandera,
    read_contract,
    reject_contract,
)
from gateline.sdk.data import register_dataset
from gateline.sdk.features import register_feature_set
from gateline.sdk.marks import declare_not_personal, feature_marks
from gateline.sdk.project import Project
from tests.support.contracts import column, contract_of
from tests.support.pandera import schemas

GOOD = "id,city,amount,at\n" + "".join(f"{row},{'ab'[row % 2]},{row % 7}.5,2013-01-01T00:00:00Z\n" for row in range(150))
BAD = "id,city,amount,at\n1,c,5.5,2013-01-01T00:00:00Z\n1,a,99.5,2013-01-01T00:00:00Z\n"
PANDERA = """
import pandera.polars as pa
import polars as pl

orders = pa.DataFrameSchema({"id": pa.Column(pl.Int64, unique=True), "city": pa.Column(pl.String, pa.Check.isin(["a", "b"]))})
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with a validator, to be copied: making one costs seconds."""
    home = tmp_path_factory.mktemp("started") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATELINE_MLFLOW", "false")
        with Client(home=home) as client:
            client.post("/principals", json={"name": "checker", "roles": ["validator"]})
            token = client.post("/tokens", json={"principal": "checker"})["token"]
            (home / "checker.token").write_text(token)
    return home


@pytest.fixture
def folder(tmp_path: Path, started: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATELINE_MLFLOW", "false")
    path = tmp_path / "a project"
    path.mkdir()
    shutil.copytree(started, path / ".gateline")
    (path / "good.csv").write_text(GOOD)
    (path / "bad.csv").write_text(BAD)
    (path / "schemas.py").write_text(PANDERA)
    (path / "gateline.toml").write_text('[project]\nname = "shop"\n')
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def client(folder: Path):
    with Client(home=folder / ".gateline") as connection:
        yield connection


@pytest.fixture
def checker(client: Client, folder: Path):
    with Client(home=folder / ".gateline", token=(folder / ".gateline" / "checker.token").read_text()) as connection:
        yield connection


def register(client: Client, file: str):
    return register_dataset(client, "orders", file, source="made for the test", licence="CC0-1.0")


def test_a_contract_goes_through_the_api_and_then_guards_its_dataset(client, checker):
    version = register(client, "good.csv")
    draft = infer_contract(client, "orders")
    assert draft.evidence["dataset_version"] == version.id
    assert contract(client, "orders/contract@1") == draft == contracts(client, "orders")[0] == contracts(client)[0]
    with pytest.raises(NotFound, match="no contract in force"):
        contract(client, "orders")
    with pytest.raises(Denied, match="who administers access may not review contracts"):
        accept_contract(client, draft.id, "mine")
    accepted = accept_contract(checker, draft.id, "read and agreed")
    assert contract(client, "orders") == accepted
    assert check_contract(client, "orders") == check_contract(client, "orders", 1, contract=1) == []

    with pytest.raises(ContractBroken) as error:
        register(client, "bad.csv")
    assert [one["rule"] for one in error.value.facts["violations"]] == ["unique", "categories", "range"]
    narrower = contract_of(column("id", unique=True), dataset="orders", extra_columns=False)
    with pytest.raises(Conflict, match="'city': it has no place in the other contract") as conflict:
        propose_contract(client, narrower)
    assert conflict.value.facts["in_force"] == draft.id
    with pytest.raises(InvalidInput, match="names no contract version"):
        contract_breaks(client, "orders")
    assert contract_breaks(client, draft.id) == []


def test_a_wrong_request_is_refused_with_all_its_mistakes(client):
    with pytest.raises(InvalidInput, match=r"'b' is none of int64.*; column 'a': unknown field 'x'|unknown field 'x'"):
        client.post(
            "/datasets/orders/contracts", json={"contract": {"dataset": "orders", "columns": [{"name": "a", "dtype": "b", "x": 1}]}}
        )
    good = contract_of(column("a"), dataset="orders").as_dict()
    with pytest.raises(InvalidInput, match="about 'orders', not about 'others'"):
        client.post("/datasets/others/contracts", json={"contract": good})
    with pytest.raises(InvalidInput, match="Only the server infers contracts"):
        client.post("/datasets/orders/contracts", json={"contract": good, "origin": "inferred"})
    with pytest.raises(NotFound):
        diff_datasets(client, "orders", "orders@2")


def test_a_pandera_schema_is_proposed(client, folder, checker):
    schema = Project.load(folder).load_object("schemas:orders")
    assert isinstance(schema, schemas.DataFrameSchema)
    draft = propose_pandera(client, "orders", schema, compatibility="forward")
    assert (draft.origin, draft.contract.compatibility) == ("pandera", "forward")
    assert draft.contract.rules["city"].categories == ("a", "b")
    assert reject_contract(checker, draft.id, "no amounts").state == "rejected"


def test_marks_of_features_go_through_the_api(client, checker):
    register(client, "good.csv")
    marked = contract_of(
        column("id", personal={"kind": "identifier"}), column("city", "string", personal={"kind": "location"}),
        column("amount", "float64", protected=True), dataset="orders", extra_columns=True,
    )  # fmt: skip
    accept_contract(checker, propose_contract(client, marked).id, "agreed")
    spine = EventSource(
        name="orders", dataset="orders", columns={name: name for name in ("id", "city", "amount", "at")}, event_time="at", available_at="at"
    )
    view = register_feature_set(client, FeatureSet(name="spending", spine=spine, entity="id", time="at", columns=("city", "amount")))
    city, amount = feature_marks(client, view)
    assert (city.is_personal, amount.is_personal) == (True, False)
    assert [one.kind for one in amount.protected] == ["protected"]
    found = declare_not_personal(client, view, "city", "two cities only")
    assert feature_marks(client, view) == [found, amount]
    with pytest.raises(Conflict):
        declare_not_personal(client, view, "amount", "why")


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["--home", ".gateline", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command_line_tells_the_same_story(folder, capsys, monkeypatch):
    def accept(number: int) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            patch.setenv("GATELINE_TOKEN", (folder / ".gateline" / "checker.token").read_text())
            return run(capsys, "contract", "accept", f"orders/contract@{number}", "--comment", "agreed")

    said = ("--source", "made for the test", "--licence", "CC0-1.0")
    assert run(capsys, "contract", "list")[1] == "No contract was proposed.\n"
    assert run(capsys, "dataset", "register", "orders", "good.csv", *said)[0] == 0
    status, out, err = run(capsys, "contract", "infer", "orders@1", "--out", "orders.toml")
    assert (status, err) == (0, "Wrote orders.toml.\n")
    assert "none of 150 values is missing or occurs twice" in out
    draft = read_contract(folder / "orders.toml")
    assert isinstance(draft, Contract)
    assert run(capsys, "contract", "accept", "orders/contract@1", "--comment", "mine")[0] == 1
    assert accept(1)[1] == "orders/contract@1 is in force: new versions of orders must keep it.\n"
    assert "accepted by checker: agreed" in run(capsys, "contract", "show", "orders")[1]
    assert run(capsys, "contract", "show", "orders", "--toml")[1] == (folder / "orders.toml").read_text()

    status, _, err = run(capsys, "dataset", "register", "orders", "bad.csv", *said)
    assert status == 1
    assert "breaks orders/contract@1 3 times: column 'id': 1 value is repeated" in err
    changed = (folder / "orders.toml").read_text().replace('categories = ["a", "b"]', 'categories = ["a", "b", "c"]')
    (folder / "wider.toml").write_text(changed)
    assert run(capsys, "contract", "propose", "wider.toml")[0] == 0
    assert run(capsys, "contract", "compare", "orders/contract@2")[:2] == (0, "orders/contract@2 breaks nothing.\n")
    status, out, _ = run(capsys, "contract", "compare", "orders/contract@2", "--rule", "full")
    assert (status, "breaks readers of the data: column 'city': the categories 'c'" in out) == (3, True)
    status, out, _ = run(capsys, "contract", "propose", "--pandera", "schemas:orders", "--dataset", "orders")
    assert (status, out.splitlines()[1]) == (0, "pandera by owner; backward compatible successors only")
    assert run(capsys, "contract", "propose")[0] == 1
    assert run(capsys, "contract", "propose", "nothing.toml")[0] == 1
    assert accept(2)[0] == 0
    assert "superseded" in run(capsys, "contract", "list", "orders")[1]
    assert run(capsys, "contract", "check", "orders")[:2] == (0, "orders keeps its contract.\n")

    (folder / "narrow.toml").write_text(changed.replace('compatibility = "backward"', 'compatibility = "none"'))
    assert run(capsys, "contract", "propose", "narrow.toml")[0] == 0
    assert accept(4)[0] == 0
    narrow = (folder / "narrow.toml").read_text().replace('categories = ["a", "b", "c"]', 'categories = ["a"]')
    (folder / "narrow.toml").write_text(narrow)
    assert run(capsys, "contract", "propose", "narrow.toml")[0] == 0
    status, out, _ = run(capsys, "contract", "check", "orders@1", "--contract", "5")
    assert (status, "75 values are not among the 1 allowed categories" in out) == (3, True)
    assert json.loads(run(capsys, "contract", "check", "orders@1", "--contract", "5", "--json")[1])["violations"][0]["count"] == 75


def test_the_command_line_shows_differences_and_marks(folder, capsys):
    said = ("--source", "made for the test", "--licence", "CC0-1.0")
    run(capsys, "dataset", "register", "orders", "good.csv", *said)
    run(capsys, "dataset", "register", "orders", "bad.csv", *said)
    status, out, _ = run(capsys, "dataset", "diff", "orders@1", "orders")
    assert (status, out.splitlines()[0]) == (0, "orders@1 → orders@2: 150 → 2 rows (-148, -98.67%)")
    assert json.loads(run(capsys, "dataset", "diff", "orders@1", "orders@2", "--json")[1])["rows_after"] == 2
    (folder / "features.py").write_text(
        "columns = {'id': 'id', 'city': 'city', 'at': 'at'}\n"
        "from gateline.features import FeatureSet, EventSource\n"
        "orders = EventSource(name='orders', dataset='orders', columns=columns, event_time='at', available_at='at')\n"
        "cities = FeatureSet(name='cities', spine=orders, entity=('id', 'city'), time='at', columns=('city',))\n"
    )
    (folder / "gateline.toml").write_text('[project]\nname = "shop"\n\n[features]\ncities = "features:cities"\n')
    assert run(capsys, "feature", "register")[0] == 0
    assert "unknown: orders has no contract" in run(capsys, "feature", "show", "cities")[1]
    assert run(capsys, "feature", "not-personal", "cities", "city", "--reason", "why")[0] == 1
    assert json.loads(run(capsys, "feature", "show", "cities", "--json")[1])["marks"][0]["undeclared"] == ["orders"]
