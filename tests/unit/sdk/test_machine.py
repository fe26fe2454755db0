"""What is written down of a machine: installed files, interpreter, processor, threads and libraries for matrices."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from gateline.sdk import machine
from gateline.sdk.environment import describe_environment

if TYPE_CHECKING:
    from pathlib import Path


def install(folder: Path, *, content: str = "abc", extra: str = "", origin: dict[str, object] | None = None) -> None:
    """Lay down a distribution as an installer does."""
    info = folder / "some_package-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some_package\nVersion: 1.0\n")
    lines = [f"some_package.py,sha256={content},3", "some_package-1.0.dist-info/RECORD,,", "../../bin/tool,sha256=xyz,9", extra]
    (info / "RECORD").write_text("\n".join(lines))
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))


def described(folder: Path, monkeypatch) -> dict[str, object]:
    machine._distributions.cache_clear()
    monkeypatch.setattr(sys, "path", [str(folder)])
    return machine.describe_distributions()["some-package"]


def test_equal_files_have_one_digest_whatever_the_installer_added(tmp_path, monkeypatch):
    install(tmp_path / "a")
    install(tmp_path / "b", extra="some_package-1.0.dist-info/INSTALLER,sha256=uv,2")
    install(tmp_path / "c", content="other")
    one, same, other = (described(tmp_path / name, monkeypatch) for name in "abc")
    assert one == same
    assert one != other
    assert set(one) == {"files_sha256"}


def test_the_wheel_is_named_only_where_the_installer_wrote_it_down(tmp_path, monkeypatch):
    origin = {"url": "https://user:secret@example.org/some.whl?token=1", "archive_info": {"hashes": {"sha256": "f" * 64}}}
    install(tmp_path / "a", origin=origin)
    found = described(tmp_path / "a", monkeypatch)
    assert found["archive_sha256"] == "f" * 64
    assert found["url"] == "example.org/some.whl"
    install(tmp_path / "b", origin={"url": "file:///home/somebody/project", "dir_info": {"editable": True}})
    assert described(tmp_path / "b", monkeypatch) | {"files_sha256": ""} == {"files_sha256": "", "editable": True}


def test_threads_are_told_as_they_are_set(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = machine.describe_threads()
    assert found["usable"] >= 1
    assert found["OPENBLAS_NUM_THREADS"] == "1"
    assert found["OPENBLAS_CORETYPE"] == "Haswell"
    assert "OMP_NUM_THREADS" not in found


def test_the_library_for_matrices_is_named_once_it_is_loaded():
    code = "import json, sys, numpy; from gateline.sdk import machine; print(json.dumps(machine.describe_libraries()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(done.stdout)
    assert any(one["user_api"] == "blas" and one["version"] for one in found)


def test_an_environment_names_interpreter_processor_and_where_the_folder_lies_in_the_checkout(tmp_path):
    run = {"cwd": tmp_path, "check": True, "capture_output": True}
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "flows.py").write_text("x = 1\n")
    git = ["git", "-c", "user.email=a@b", "-c", "user.name=a"]
    subprocess.run([*git, "init", "-q"], **run)
    subprocess.run([*git, "add", "."], **run)
    subprocess.run([*git, "commit", "-qm", "first"], **run)
    found = describe_environment(tmp_path / "project", seed=3)
    assert found["code"]["folder"] == "project/"
    assert found["code"]["dirty"] is False
    assert found["python_build"]["abi"].startswith("cpython")
    assert found["hardware"]["flags"] == sorted(found["hardware"]["flags"])
    assert found["distributions"].keys() == found["packages"].keys()
    assert json.loads(json.dumps(found)) == found
