"""Datasets, feature sets and the lock as users reach them: SDK, REST API and command line over a local folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gateline.cli import main
from gateline.features import KnownAt, set_from_dict
from gateline.kernel.errors import Conflict, InvalidInput, LockStale, NotFound, error_for
from gateline.sdk.client import Client
from gateline.sdk.data import dataset, datasets, register_dataset, table, verify_dataset
from gateline.sdk.features import (
    check_feature_set,
    compute_features,
    feature_set,
    feature_sets,
    project_feature_sets,
    register_feature_set,
)
from gateline.sdk.lockfile import check_lock, read_lock, write_lock
from gateline.sdk.project import Project

PROJECT = """
from gateline.features import Aggregation, EventSource, FeatureSet, Label, WindowView

visits = EventSource(
    name="visits", dataset="visits",
    columns={"id": "id", "shop": "shop", "at": "at", "amount": "amount"},
    event_time="at", available_at="at",
)
spending = FeatureSet(
    name="spending", spine=visits, entity="id", time="at",
    views=(
        WindowView(
            name="spending", source=visits, entity="shop", windows=("1h",), aggregations=(Aggregation("sum", "amount", feature="spent"),)
        ),
    ),
    label=Label(source=visits, sql="returned", available_at="settled"),
)
"""
VISITS = """id,shop,at,amount,returned,settled
1,a,2013-01-01T10:00:00Z,5,true,2013-01-02T10:00:00Z
2,a,2013-01-01T10:30:00Z,7,false,2013-01-02T10:30:00Z
3,b,2013-01-01T11:00:00Z,9,NA,NA
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder that was opened once, to be copied: making one costs seconds."""
    home = tmp_path_factory.mktemp("started") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATELINE_MLFLOW", "false")
        with Client(home=home):
            pass
    return home


@pytest.fixture
def folder(tmp_path: Path, started: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATELINE_MLFLOW", "false")
    path = tmp_path / "a project"
    path.mkdir()
    shutil.copytree(started, path / ".gateline")
    (path / "features.py").write_text(PROJECT)
    (path / "gateline.toml").write_text('[project]\nname = "shop"\n\n[features]\nspending = "features:spending"\n')
    (path / "visits.csv").write_text(VISITS)
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def client(folder: Path):
    with Client(home=folder / ".gateline") as connection:
        yield connection


def load(folder: Path):
    return Project.load(folder)


def visits(client: Client, **changes):
    options = {"source": "made for the test", "licence": "CC0-1.0", "null_values": ["NA"], **changes}
    return register_dataset(client, "visits", "visits.csv", **options)


def test_data_and_features_go_through_the_api_and_back(client, folder):
    version = visits(client)
    assert dataset(client, "visits") == dataset(client, "visits@1") == datasets(client, "visits")[0] == version
    assert verify_dataset(client, "visits", 1) == version
    assert table(client, version) == table(client, "visits@1")

    spending = project_feature_sets(load(folder))["spending"]
    registered = register_feature_set(client, spending)
    assert registered.definition == spending
    assert register_feature_set(client, spending) == registered == feature_set(client, "spending@1") == feature_sets(client)[0]
    assert compute_features(client, "spending")["spent"].to_list() == [5, 12, 9]
    assert check_feature_set(client, registered) == []
    with pytest.raises(NotFound):
        dataset(client, "visitors")
    with pytest.raises(NotFound):
        feature_set(client, "spending", 7)


def test_a_damaged_copy_in_the_cache_is_fetched_again(client):
    (path,) = table(client, visits(client))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert table(client, "visits@1")[0].read_bytes() == whole


def test_mistakes_come_back_with_their_facts(client, folder):
    visits(client)
    spending = project_feature_sets(load(folder))["spending"]
    leaky = replace(spending, known_at=(KnownAt(dataset="visits", columns=("amount",), sql="settled"),))
    with pytest.raises(InvalidInput, match="sees the future") as error:
        register_feature_set(client, leaky)
    assert error.value.facts["leaks"][0]["kind"] == "before_known"
    with pytest.raises(error_for("invalid_input")):
        client.post("/feature-sets", json={"definition": spending.as_dict(), "colour": "red"})
    with pytest.raises(InvalidInput, match="'time' is missing"):
        client.post("/feature-sets", json={"definition": {name: value for name, value in spending.as_dict().items() if name != "time"}})
    assert set_from_dict(spending.as_dict()) == spending


def test_a_lock_holds_until_code_or_data_change_and_then_says_what_to_run(client, folder):
    with pytest.raises(NotFound, match=r"holds no gateline\.lock"):
        check_lock(client, load(folder))
    with pytest.raises(Conflict, match="'spending' of project 'shop' are not registered"):
        write_lock(client, load(folder))
    assert not (folder / "gateline.lock").exists()
    version = visits(client)
    spending = project_feature_sets(load(folder))["spending"]
    registered = register_feature_set(client, spending)
    lock = write_lock(client, load(folder))
    assert dict(lock.datasets) == {"visits@1": version.digest}
    assert dict(lock.feature_sets) == {"spending@1": registered.digest}
    text = (folder / "gateline.lock").read_text()
    assert check_lock(client, load(folder)) == lock == read_lock(folder)

    visits(client, licence="CC-BY-4.0")
    assert check_lock(client, load(folder)) == lock  # newer data alone changes nothing that the project uses
    register_feature_set(client, spending)
    with pytest.raises(LockStale) as error:
        check_lock(client, load(folder))
    assert error.value.facts["differences"] == [
        "dataset version visits@1 is locked, but no longer used",
        "dataset version visits@2 is used, but not locked",
        "feature set version spending@1 is locked, but no longer used",
        "feature set version spending@2 is used, but not locked",
    ]
    assert error.value.next_step == "If that is meant, run: gateline lock"
    assert (folder / "gateline.lock").read_text() == text

    (folder / "gateline.lock").write_text(text.replace(version.digest, "0" * 64))
    with pytest.raises(LockStale):
        check_lock(client, load(folder))
    (folder / "gateline.lock").write_text("format = 1\n[datasets")
    with pytest.raises(InvalidInput, match="damaged"):
        check_lock(client, load(folder))
    (folder / "gateline.lock").write_text(text.replace("format = 2", "format = 1").replace("feature_sets", "feature_views"))
    with pytest.raises(InvalidInput, match="has format 1") as error:
        check_lock(client, load(folder))
    assert error.value.next_step == "Write it again with: gateline lock"


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    status = main(["--home", ".gateline", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command_line_tells_the_same_story(folder, capsys):
    assert run(capsys, "dataset", "list")[1] == "No dataset is registered.\n"
    register = ("dataset", "register", "visits", "visits.csv", "--source", "made for the test", "--licence", "CC0-1.0", "--null", "NA")
    status, out, err = run(capsys, *register)
    assert (status, out[:40]) == (0, "visits@1: 3 rows, 6 columns, digest " + out[36:40])
    assert err == "Uploading visits.csv …\n"
    assert json.loads(run(capsys, *register, "--json")[1])["id"] == "visits@1"
    assert run(capsys, *register, "--type", "amount")[0] == 1
    assert "visits@1: raw file, table and record agree" in run(capsys, "dataset", "verify")[1]
    assert "amount" in run(capsys, "dataset", "show", "visits")[1]
    assert run(capsys, "lock")[0] == 1
    status, out, _ = run(capsys, "feature", "register")
    assert status == 0
    assert out.startswith("spending@1: 1 features over visits@1, digest ")
    assert run(capsys, "feature", "register", "other")[0] == 1
    assert "spending@1" in run(capsys, "feature", "list")[1]
    assert "window of visits" in run(capsys, "feature", "show", "spending")[1]
    assert "no feature sees the future" in run(capsys, "feature", "check", "spending@1")[1]
    assert run(capsys, "lock")[:2] == (0, "gateline.lock written: it pins spending@1, visits@1.\n")
    assert run(capsys, "lock", "--check")[0] == 0


def test_a_changed_view_makes_the_lock_stale_on_the_command_line(folder, capsys, client):
    visits(client)
    register_feature_set(client, project_feature_sets(load(folder))["spending"])
    write_lock(client, load(folder))
    client.close()
    other = folder.parent / "changed"
    other.mkdir()
    for name in ("gateline.toml", "gateline.lock"):
        shutil.copy(folder / name, other / name)
    (other / "features.py").write_text(PROJECT.replace('"1h"', '"2h"'))
    status, _, err = run(capsys, "lock", "--check", "--project", str(other))
    assert status == 1
    assert "gateline.lock of project 'shop' is stale" in err
    assert "gateline feature register && gateline lock" in err
