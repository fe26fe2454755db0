"""`gateline feature compute` with both engines, and Feast repositories, from the command line over a local folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gateline.cli import main
from gateline.sdk.client import Client
from gateline.sdk.data import register_dataset
from gateline.sdk.features import register_feature_set
from gateline.sdk.project import Project

FEATURES = """
from gateline.features import Aggregation, EventSource, FeatureSet, LatestView, WindowView

visits = EventSource(
    name="visits", dataset="visits", columns={"id": "id", "shop": "shop", "at": "at", "amount": "amount"}, event_time="at",
    available_at="at",
)
spending = FeatureSet(
    name="spending", spine=visits, entity="id", time="at",
    views=(
        WindowView(
            name="spending", source=visits, entity="shop", windows=("1h",), aggregations=(Aggregation("sum", "amount", feature="spent"),)
        ),
    ),
)
"""
VISITS = "id,shop,at,amount\n1,a,2013-01-01T10:00:00Z,5\n2,a,2013-01-01T10:30:00Z,7\n3,b,2013-01-01T11:00:00Z,9\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a registered set."""
    monkeypatch.setenv("GATELINE_MLFLOW", "false")
    (tmp_path / "features.py").write_text(FEATURES)
    (tmp_path / "gateline.toml").write_text('[project]\nname = "shop"\n\n[features]\nspending = "features:spending"\n')
    (tmp_path / "visits.csv").write_text(VISITS)
    monkeypatch.chdir(tmp_path)
    with Client(home=tmp_path / ".gateline") as client:
        register_dataset(client, "visits", tmp_path / "visits.csv", source="made for a test", licence="CC0-1.0")
        register_feature_set(client, Project.load(tmp_path).load_object("features:spending"))
    return tmp_path


@pytest.fixture
def gateline(capsys: pytest.CaptureFixture[str]):
    """Run a command and return its exit status and its JSON answer."""

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        status = main(["--json", *arguments])
        return status, json.loads(capsys.readouterr().out)

    return run


@pytest.mark.usefixtures("spark", "folder")
def test_both_engines_give_the_same_rows_under_one_digest(gateline):
    status, polars = gateline("feature", "compute", "spending", "--out", "rows.parquet")
    assert (status, polars["id"], polars["rows"], polars["out"]) == (0, "spending@1", 3, "rows.parquet")
    assert pl.read_parquet("rows.parquet")["spent"].to_list() == [5, 12, 9]
    status, spark = gateline("feature", "compute", "spending@1", "--engine", "spark", "--out", "spark.parquet")
    assert (status, spark["digest"], spark["engine"]) == (0, polars["digest"], "spark")
    assert pl.read_parquet("spark.parquet").equals(pl.read_parquet("rows.parquet"))
    status, problem = gateline("feature", "compute", "spending", "--out", "rows.parquet")
    assert (status, problem["code"]) == (1, "conflict")


@pytest.mark.usefixtures("folder")
def test_feast_repositories_come_and_go_by_command(gateline):
    status, exported = gateline("feature", "export-feast", "spending", "repository")
    assert (status, exported["rows"]) == (0, {"spending": 8})
    assert {path.name for path in Path("repository").iterdir()} == {"data", "feature_store.yaml", "features.py"}
    assert gateline("feature", "export-feast", "spending", "repository")[1]["code"] == "conflict"
    status, imported = gateline("feature", "import-feast", "repository", "--out", "imported.py")
    assert (status, imported["views"], imported["sets"]) == (0, ["spending"], ["spending"])
    assert "EventSource(" in Path("imported.py").read_text(encoding="utf-8")
    assert any("ttl 0 means for ever" in note for note in imported["notes"])
    assert gateline("feature", "import-feast", "repository", "--out", "imported.py")[1]["code"] == "conflict"
