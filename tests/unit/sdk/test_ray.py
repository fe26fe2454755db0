"""Where steps for Ray go, and the archive of a project that goes with them."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from gateline.kernel.errors import InvalidInput, TooLarge
from gateline.sdk.environment import installed_packages
from gateline.sdk.running.ray import archive
from gateline.sdk.running.ray.address import RayTable, ray_table, target_of
from gateline.sdk.running.ray.archive import pack, project_files, unpack

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("executor", "address", "url"),
    [
        ("ray://auto", "http://127.0.0.1:8265", "http://127.0.0.1:8265"),
        ("ray://auto", "head", "http://head:8265"),
        ("ray://auto?gpus=1", "https://ray.example/", "https://ray.example"),
        ("ray://local", "head", "http://127.0.0.1:8265"),
        ("ray://head", "other", "http://head:8265"),
        ("ray://head:9000", "other", "http://head:9000"),
        ("ray://auto:9000", "other", "http://auto:9000"),
    ],
)
def test_an_executor_names_the_job_server(executor: str, address: str, url: str) -> None:
    assert target_of(executor, RayTable(address=address)).url == url


@pytest.mark.parametrize(
    ("executor", "said"),
    [
        ("ray://head:10001", "ray://head:8265"),
        ("ray://auto?gpus=many", "gpus=many"),
        ("ray://head:port", "no address"),
        ("ray://head:0", "no address"),
        ("ray://?gpus=1", "no address"),
        ("ray:///jobs", "no address"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_write(executor: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        target_of(executor, RayTable())
    assert said in str(caught.value)
    assert caught.value.next_step


@pytest.mark.parametrize("table", [{"adress": "head"}, {"exclude": "data"}, "head"])
def test_a_wrong_table_is_refused(table: Any) -> None:
    with pytest.raises(InvalidInput, match=r"\[ray\] in gateline.toml is wrong"):
        ray_table({"ray": table})


def written(folder: Path) -> Path:
    """A project with what belongs to it and what does not."""
    for name in (
        "flows.py",
        "lib/part.py",
        "data/large.csv",
        ".git/config",
        ".env",
        "lib/__pycache__/part.pyc",
        "venv/pyvenv.cfg",
        "venv/x.py",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (folder / "elsewhere").symlink_to(folder.parent)
    (folder / "gone").symlink_to(folder / "nothing")
    return folder


def test_the_archive_has_the_files_of_the_project_and_always_the_same_bytes(tmp_path: Path) -> None:
    project = written(tmp_path / "project")
    paths = list(project_files(project, ["data/*"]))
    assert [path.relative_to(project).as_posix() for path in paths] == ["flows.py", "lib/part.py"]
    content = pack(project, paths)
    (project / "flows.py").touch()
    assert pack(project, paths) == content
    (tmp_path / "archive.zip").write_bytes(content)
    assert unpack(tmp_path / "archive.zip", tmp_path / "there") == installed_packages()
    assert (tmp_path / "there" / "lib" / "part.py").read_text() == "lib/part.py"


def test_what_is_too_large_to_send_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = written(tmp_path / "project")
    monkeypatch.setattr(archive, "ARCHIVE_BYTES_MAX", 20)
    with pytest.raises(TooLarge, match=r"data/large.csv.*exclude"):
        pack(project, list(project_files(project)))


def test_an_archive_that_is_none_or_leaves_its_folder_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with pytest.raises(InvalidInput, match="no archive"):
        unpack(tmp_path / "broken.zip", tmp_path / "there")
    with zipfile.ZipFile(tmp_path / "sly.zip", "w") as sly:
        sly.writestr("../outside", "x")
        sly.writestr(archive.PACKAGES, "{}")
    unpack(tmp_path / "sly.zip", tmp_path / "there")
    assert not (tmp_path / "outside").exists()
