"""Fits as users reach them: SDK, REST API and command line over a local folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from gateline.cli import main
from gateline.data import frame_digest
from gateline.features import fit
from gateline.kernel.errors import IntegrityFailure, InvalidInput, NotFound
from gateline.sdk.client import Client
from gateline.sdk.data import register_dataset
from gateline.sdk.features import compute_features, feature_fit, feature_fits, feature_set, fit_features, register_feature_set
from gateline.sdk.online import materialise, online_features
from tests.unit.features.online.conftest import FITTED, ORDERED, PAID, SIZES

END = "2013-01-01T11:00:00Z"
AT = "2013-01-01T11:30:00Z"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with a registered set whose views are online, to be copied."""
    home = tmp_path_factory.mktemp("started") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATELINE_MLFLOW", "false")
        with Client(home=home) as client:
            for name, text in (("payments", PAID), ("orders", ORDERED), ("shops", SIZES)):
                (home / f"{name}.csv").write_text(text)
                register_dataset(client, name, home / f"{name}.csv", source="made for the test", licence="CC0-1.0")
            register_feature_set(client, FITTED)
            for view in ("spending", "newest", "shop"):
                materialise(client, view)
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
    captured = capsys.readouterr()
    return code, captured.out if code == 0 else captured.err


def test_training_and_serving_use_one_fit_through_the_api(client):
    made = fit_features(client, "shopping", end=END)
    assert (made.id, made.fitted.rows, made.window) == ("shopping@1/fit@1", 1, "until 2013-01-01T11:00:00Z")
    assert fit_features(client, "shopping@1", end=END) == made
    newer = fit_features(client, feature_set(client, "shopping"))
    assert feature_fits(client, "shopping") == [made, newer]
    assert feature_fit(client, made.id) == made
    assert feature_fit(client, "shopping") == feature_fit(client, "shopping@1") == newer
    plain = compute_features(client, "shopping")
    assert newer.fitted == fit(FITTED.fitted, plain)
    transformed = compute_features(client, "shopping", fitted=newer.id)
    assert transformed.equals(newer.apply(plain, "shopping@1"))
    assert compute_features(client, "shopping@1", fitted=newer).equals(transformed)
    answer = online_features(client, "shopping", [{"shop": "b", "amount": 18}], AT, fitted=newer.id)
    assert answer["fitted"] == newer.id
    expected = transformed.filter(pl.col("row_id") == "2").select(FITTED.features).to_dicts()
    assert [row["features"] for row in answer["rows"]] == expected


def test_what_makes_no_sense_is_one_clear_error(client):
    with pytest.raises(NotFound, match="no fit of shopping@1"):
        feature_fit(client, "shopping")
    made = fit_features(client, "shopping")
    bad = [
        ({"start": "2013-01-01"}, "names no offset"), ({"start": "soon"}, "is not an ISO 8601"),
        ({"start": AT, "end": END}, "before its end"), ({"end": "0001-01-01T00:00:00+01:00"}, "outside the years"),
        ({"start": "2014-01-01T00:00:00Z"}, "no rows of shopping@1 in the window"),
        ({"dataset_versions": {"planes": 1}}, "does not read planes"), ({"dataset_versions": {"orders": 1 << 70}}, "less than"),
        ({"rows": 3}, "Extra inputs"),
    ]  # fmt: skip
    for body, words in bad:
        with pytest.raises(InvalidInput, match=words):
            client.post("/feature-sets/shopping/versions/1/fits", json=body)
    for wanted, words in (("shopping@1/fit@7", "no fit"), ("other@1/fit@1", "no feature set version")):
        with pytest.raises(NotFound, match=words):
            online_features(client, "shopping", [{"shop": "a", "amount": 6}], AT, fitted=wanted)
    for wanted in ("shopping@1", "../..", "shopping@1/fit@1/fit@1"):
        with pytest.raises(InvalidInput, match="is not the id of a fit"):
            online_features(client, "shopping", [{"shop": "a", "amount": 6}], AT, fitted=wanted)
    with pytest.raises(InvalidInput, match="not of views"):
        online_features(client, ["spending"], [{"shop": "a"}], AT, fitted=made.id)
    register_feature_set(client, replace(FITTED, description="again"))
    with pytest.raises(InvalidInput, match="is a fit of shopping@1, and these are features of shopping@2"):
        online_features(client, "shopping", [{"shop": "a", "amount": 6}], AT, fitted=made.id)
    with pytest.raises(InvalidInput, match="is a fit of shopping@1, and these are features of shopping@2"):
        compute_features(client, "shopping", fitted=made)


def test_an_answer_that_was_changed_on_its_way_is_refused(client, monkeypatch):
    fit_features(client, "shopping")
    get = Client.get
    monkeypatch.setattr(Client, "get", lambda self, path, **more: get(self, path, **more) | {"rows": 4})
    with pytest.raises(IntegrityFailure, match="was changed"):
        feature_fit(client, "shopping@1/fit@1")


def test_the_command_line_does_the_same(home, capsys):
    code, text = run(home, capsys, "feature", "fits", "shopping")
    assert (code, text) == (0, "shopping has not been fitted.\n")
    code, text = run(home, capsys, "feature", "fit", "shopping", "--end", END)
    assert code == 0
    assert "shopping@1/fit@1: learned from 1 rows of orders@1, payments@1, shops@1 (until 2013-01-01T11:00:00Z)" in text
    code, text = run(home, capsys, "--json", "feature", "fit", "shopping@1", "--dataset-version", "orders@1")
    assert (code, json.loads(text)["id"], json.loads(text)["rows"]) == (0, "shopping@1/fit@2", 3)
    assert "all rows" in run(home, capsys, "feature", "fits", "shopping@1")[1]
    code, text = run(home, capsys, "feature", "fit-show", "shopping@1/fit@2")
    assert "ordinal_encode  categories ['a', 'b', 'c']" in text
    code, text = run(
        home, capsys, "feature", "read", "shopping", "--set", "shop=b", "amount=18", "--at", AT, "--fitted", "shopping@1/fit@2"
    )
    assert (code, "shop                    1" in text) == (0, True)
    for given, used in (([], "shopping@1/fit@2"), (["--fitted", "shopping@1/fit@1"], "shopping@1/fit@1"), (["--untransformed"], None)):
        code, text = run(home, capsys, "--json", "feature", "parity", "shopping", *given)
        assert (code, json.loads(text)["fitted"], json.loads(text)["agrees"]) == (0, used, True)
    assert run(home, capsys, "feature", "parity", "shopping", "--untransformed", "--fitted", "shopping@1/fit@1")[0] == 2
    code, text = run(home, capsys, "--json", "feature", "compute", "shopping", "--fitted", "shopping@1/fit@2")
    assert json.loads(text)["fitted"] == "shopping@1/fit@2"
    with Client(home=home) as client:
        assert json.loads(text)["digest"] == frame_digest(compute_features(client, "shopping", fitted="shopping@1/fit@2"))
    for arguments in (("fit", "shopping", "--start", "2014-01-01T00:00:00Z"), ("fit", "none"), ("fit-show", "shopping@1/fit@9"),
                      ("fit", "shopping", "--dataset-version", "orders"), ("read", "spending", "shop=a", "--fitted", "shopping@1/fit@2"),
                      ("compute", "shopping", "--fitted", "shopping@1/fit@x")):  # fmt: skip
        code, text = run(home, capsys, "feature", *arguments)
        assert code == 1, arguments
        assert text.count("gateline:") == 1
