"""The code and the settings of a recorded training come back, or it is said why not."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateline.kernel.errors import StepFailed
from gateline.sdk.environment import describe_code, uncommitted_changes
from gateline.sdk.fingerprint import environment_digest
from gateline.sdk.machine import describe_cpu
from gateline.sdk.reproducing.code import rebuild_code
from gateline.sdk.reproducing.settings import EnvironmentChoice, rebuild_environment, rebuild_variables


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.email=a@b", "-c", "user.name=a", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a folder of a repository, whose newest commit is another than the recorded one."""
    folder = tmp_path / "repository" / "models" / "late"
    folder.mkdir(parents=True)
    (folder / "gateline.toml").write_text('[project]\nname = "late"\n')
    (folder / "flows.py").write_text("ROUNDS = 1\n")
    git(tmp_path / "repository", "init", "-q")
    git(tmp_path / "repository", "add", ".")
    git(tmp_path / "repository", "commit", "-qm", "first")
    return folder


def recipe(folder: Path, *, keep: bool = True) -> dict[str, Any]:
    changes = uncommitted_changes(folder) if keep else b""
    return {"environment": {"code": describe_code(folder)}, "code_diff": base64.b64encode(changes).decode()}


def later(folder: Path) -> None:
    (folder / "flows.py").write_text("ROUNDS = 99\n")
    git(folder, "commit", "-qam", "later")


def test_the_recorded_commit_is_laid_aside_and_the_project_stays_as_it_is(project, tmp_path):
    recorded = recipe(project)
    later(project)
    folder, told = rebuild_code(recorded, project, tmp_path / "aside")
    assert folder == tmp_path / "aside" / "models" / "late"
    assert (folder / "flows.py").read_text() == "ROUNDS = 1\n"
    assert recorded["environment"]["code"]["commit"] in told
    assert (project / "flows.py").read_text() == "ROUNDS = 99\n"
    assert not describe_code(project)["dirty"]


def test_changes_that_were_kept_are_applied_and_files_git_does_not_track_are_named(project, tmp_path):
    (project / "flows.py").write_text("ROUNDS = 2\n")
    (project / "notes.txt").write_text("not tracked")
    recorded, without = recipe(project), recipe(project, keep=False)
    git(project, "checkout", "-q", "--", ".")
    folder, told = rebuild_code(recorded, project, tmp_path / "aside")
    assert (folder / "flows.py").read_text() == "ROUNDS = 2\n"
    assert "notes.txt" in told
    folder, told = rebuild_code(without, project, tmp_path / "other")
    assert (folder / "flows.py").read_text() == "ROUNDS = 1\n"
    assert "were not kept" in told


def test_changes_that_are_not_the_recorded_ones_are_refused(project, tmp_path):
    (project / "flows.py").write_text("ROUNDS = 2\n")
    recorded = recipe(project)
    recorded["code_diff"] = base64.b64encode(base64.b64decode(recorded["code_diff"]).replace(b"= 2", b"= 3")).decode()
    with pytest.raises(StepFailed, match="whose digest is recorded"):
        rebuild_code(recorded, project, tmp_path / "aside")


def test_a_commit_that_is_not_there_is_named(project, tmp_path):
    recorded = recipe(project)
    recorded["environment"]["code"]["commit"] = "1" * 40
    with pytest.raises(StepFailed, match="does not hold commit 1111"):
        rebuild_code(recorded, project, tmp_path / "aside")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(StepFailed, match="no git repository"):
        rebuild_code(recorded, tmp_path / "elsewhere", tmp_path / "aside")


def test_without_a_commit_the_folder_is_copied_without_what_is_not_code(tmp_path):
    source = tmp_path / "project"
    for name in (".gateline-cache", ".gateline", ".venv", "package"):
        (source / name).mkdir(parents=True)
        (source / name / "file.py").write_text("x = 1\n")
    folder, told = rebuild_code({"environment": {}}, source, tmp_path / "aside")
    assert [one.relative_to(folder).as_posix() for one in folder.rglob("*.py")] == ["package/file.py"]
    assert "No commit is recorded" in told


def test_thread_settings_are_those_recorded_and_no_others(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("PATH_OF_MINE", "kept")
    here = {"machine": os.uname().machine, "flags": describe_cpu().get("flags")}
    libraries = [{"internal_api": "openblas", "architecture": "Haswell"}]
    recorded = {"threads": {"usable": 1, "OPENBLAS_NUM_THREADS": "1"}, "hardware": here, "libraries": libraries}
    variables, processors, told = rebuild_variables({"environment": recorded}, Path(sys.executable))
    assert processors == 1
    assert variables["OPENBLAS_NUM_THREADS"] == "1"
    assert variables["PATH_OF_MINE"] == "kept"
    assert "OMP_NUM_THREADS" not in variables
    assert "OPENBLAS_CORETYPE" not in variables, "the same processor chooses the same kernel"
    recorded["hardware"] = {**here, "flags": ["another"]}
    recorded["threads"]["usable"] = 10_000
    variables, processors, told = rebuild_variables({"environment": recorded}, Path("/elsewhere/python"))
    assert variables["OPENBLAS_CORETYPE"] == "Haswell"
    assert processors == len(os.sched_getaffinity(0))
    assert "10000 processors were used" in told


def test_the_present_environment_is_taken_when_it_is_equal_and_named_when_it_is_not(tmp_path):
    equal = {"environment": {"packages": {}}, "environment_digest": environment_digest()}
    assert rebuild_environment(equal, EnvironmentChoice.AUTO, tmp_path)[0] == Path(sys.executable)
    other = {**equal, "environment_digest": "0" * 64}
    assert "not equal to" in rebuild_environment(other, EnvironmentChoice.PRESENT, tmp_path)[1]
    with pytest.raises(StepFailed, match="recorded no packages"):
        rebuild_environment(other, EnvironmentChoice.AUTO, tmp_path)
