"""What `gateline init` writes runs as it is, in a folder with a space, with no server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATELINE_")}
    return subprocess.run([sys.executable, "-m", *command], cwd=folder, env=kept, capture_output=True, text=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "my project"
    done = run(folder.parent, "gateline", "init", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def test_its_own_tests_pass(project: Path) -> None:
    done = run(project, "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


@pytest.mark.slow
def test_its_pipeline_trains_judges_and_registers_and_is_reused(project: Path) -> None:
    first = run(project, "gateline", "run", "train", "--json")
    assert first.returncode == 0, first.stdout + first.stderr
    result = json.loads(first.stdout)["result"]
    assert result["verdict"] == "pass"
    assert result["model_version"] == "late-parcel@1"
    assert len(result["sentences"]) == 4

    again = run(project, "gateline", "run", "train", "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    steps = {step["name"]: step["reused_from"] for step in json.loads(again.stdout)["steps"]}
    assert all(steps[name] for name in ("compute", "between", "between-2", "fit", "record"))

    assert run(project, "gateline", "lock").returncode == 0
    assert "late_parcel@1" in (project / "gateline.lock").read_text()
    assert run(project, "gateline", "lock", "--check").returncode == 0
    assert run(project, "gateline", "ledger", "verify").returncode == 0
    assert run(project, "gateline", "doctor").returncode == 0
