"""Steps in environments of their own: made once by uv, checked, part of the key, and told plainly when they cannot be made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateline import step
from gateline.kernel.errors import ConfigurationError, InvalidInput, StepFailed
from gateline.sdk import isolation
from gateline.sdk.client import Client
from gateline.sdk.execution import draw
from gateline.sdk.isolation import Requirements, environment_python
from gateline.sdk.project import Project
from gateline.sdk.running import Runner, run_inline
from tests.support.uv import put_uv_on_path

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

OTHER = "3.7" if version("idna") != "3.7" else "3.8"
FLOWS = """
import os, sys
import polars as pl
from helper import shout
from gateline import context, pipeline, step

@step
def rows() -> pl.DataFrame:
    return pl.DataFrame({"a": [1, 2, 3]})

@step(env=ENV)
def inside(rows: pl.DataFrame) -> dict[str, str]:
    import idna
    print("printed inside")
    try:
        import lightgbm
        found = "yes"
    except ModuleNotFoundError:
        found = "no"
    return {"idna": idna.__version__, "prefix": sys.prefix, "rows": str(rows.height), "lightgbm": found,
            "word": shout("a"), "run": context().run_id}

@step
def outside(found: dict[str, str]) -> dict[str, str]:
    import idna
    return {**found, "runner": idna.__version__}

@pipeline
def train():
    return outside(inside(rows()))
"""


@pytest.fixture(autouse=True)
def _uv(monkeypatch):
    put_uv_on_path(monkeypatch)


def write_project(folder: Path, env: Any) -> Project:
    folder.mkdir(exist_ok=True)
    (folder / "gateline.toml").write_text('[project]\nname = "apart"\n[pipelines]\ntrain = "flows:train"\n')
    (folder / "flows.py").write_text(FLOWS.replace("ENV", repr(env)))
    (folder / "helper.py").write_text("def shout(word):\n    return word.upper()\n")
    return Project.load(folder)


@pytest.fixture
def client(tmp_path) -> Iterator[Client]:
    with Client(home=tmp_path / "home") as found:
        yield found


def run(client: Client, project: Project) -> dict[str, Any]:
    """Run the pipeline by a runner and wait."""
    run_id = client.post("/pipelines/train/runs", json={"project": project.name})["id"]
    runner = Runner(client, project, cpus=1)
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        for _ in range(2400):
            found: dict[str, Any] = client.get(f"/pipeline-runs/{run_id}")
            if found["over"]:
                return found
            threading.Event().wait(0.05)
        raise AssertionError(found)
    finally:
        runner.stop()
        thread.join()


def folders(project: Project) -> list[str]:
    return sorted(one.name for one in (project.folder / ".gateline-cache" / "environments").iterdir() if one.is_dir())


def test_a_step_runs_by_the_interpreter_of_its_environment_with_the_projects_code_and_gateline(client, tmp_path):
    project = write_project(tmp_path / "project", [f"idna=={OTHER}"])
    first = run(client, project)
    assert first["state"] == "succeeded", first
    found = first["result"]
    assert found | {"prefix": "", "run": ""} == {
        "idna": OTHER, "prefix": "", "rows": "3", "lightgbm": "no", "word": "A", "run": "", "runner": version("idna"),
    }  # fmt: skip
    (made,) = folders(project)
    assert found["prefix"] == str(project.folder / ".gateline-cache" / "environments" / made)
    assert found["run"] == first["id"]
    output = client.get(f"/pipeline-runs/{first['id']}/steps/inside/output")["text"]
    assert "printed inside" in output
    again = run(client, project)
    assert [step["reused_from"] for step in again["steps"]] == [first["id"]] * 3

    other = write_project(tmp_path / "project", [f"idna=={OTHER}", "certifi"])
    third = run(client, other)
    assert [bool(step["reused_from"]) for step in third["steps"]] == [True, False, False], "another environment is another key"
    inline_id = client.post("/pipelines/train/runs", json={"project": project.name})["id"]
    run_inline(client, other, inline_id, name="inline", tell=lambda *_: None)
    assert client.get(f"/pipeline-runs/{inline_id}")["state"] == "succeeded"


def test_an_environment_that_cannot_be_made_fails_the_step_with_uvs_own_words(client, tmp_path):
    project = write_project(tmp_path / "project", ["idna==99.99.99"])
    found = run(client, project)
    assert found["state"] == "failed"
    assert "uv says" in found["failure"]
    assert "idna==99.99.99" in found["failure"]
    assert folders(project) == []


def test_hashes_in_a_lock_file_are_checked(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    lines = subprocess.run(
        ["uv", "pip", "compile", "--generate-hashes", "--no-emit-index-url", "-"], input=f"idna=={OTHER}\n", capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    (folder / "fit.txt").write_text(lines)
    python = environment_python(Requirements.of("fit.txt", folder), folder)
    code = "import idna, gateline.sdk.execution; print(idna.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, env={}, check=False)
    assert done.stdout.strip() == OTHER, done.stderr
    (folder / "fit.txt").write_text(f"idna=={OTHER} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(StepFailed, match=r"(?i)hash"):
        environment_python(Requirements.of("fit.txt", folder), folder)


def test_what_is_in_uvs_cache_needs_no_network(tmp_path, monkeypatch):
    wanted = Requirements(text=f"idna=={OTHER}\n")
    environment_python(wanted, tmp_path / "a")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    python = environment_python(wanted, tmp_path / "b")
    assert python.is_file()


def test_makers_at_once_make_one_environment_and_one_that_was_killed_counts_for_nothing(tmp_path, monkeypatch):
    wanted = Requirements(text=f"idna=={OTHER}\n")
    made: list[str] = []
    real = isolation._make
    monkeypatch.setattr(isolation, "_make", lambda *given: (made.append("x"), real(*given)))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: environment_python(wanted, tmp_path), range(4)))
    assert len(set(found)) == 1
    assert made == ["x"]
    folder = found[0].parents[1]
    (folder / "environment.json").unlink()
    left = folder.with_name(f".{folder.name}.left")
    left.mkdir()
    environment_python(wanted, tmp_path)
    assert (folder / "environment.json").is_file()
    assert not left.exists()


def test_a_maker_that_is_killed_lets_the_next_one_go_on(tmp_path):
    code = (
        "import os, sys, pathlib\n"
        "from gateline.sdk import isolation\n"
        "isolation._install = lambda *a, **k: os.kill(os.getpid(), 9)\n"
        "isolation.environment_python(isolation.Requirements(text=sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
    )
    text = f"idna=={OTHER}\n"
    done = subprocess.run([sys.executable, "-c", code, text, str(tmp_path)], capture_output=True, env=dict(os.environ), check=False)
    assert done.returncode == -9
    assert [one for one in (tmp_path / "environments").iterdir() if one.name.startswith(".")]
    assert environment_python(Requirements(text=text), tmp_path).is_file()
    assert not [one for one in (tmp_path / "environments").iterdir() if one.name.startswith(".")]


def test_without_uv_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(isolation.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match="no uv"):
        environment_python(Requirements(text="idna\n"), tmp_path)


@pytest.mark.parametrize(("env", "told"), [("missing.txt", "names no file"), ("../outside.txt", "names no file"), ("other.txt", "refers")])
def test_a_file_that_cannot_be_used_is_refused_when_the_run_is_drawn(env, told, tmp_path):
    project = write_project(tmp_path / "project", env)
    (tmp_path / "outside.txt").write_text("idna\n")
    (project.folder / "other.txt").write_text("-r missing.txt\n")
    assert told in draw(project, {"pipeline": "train", "parameters": {}})["failure"]


@pytest.mark.parametrize(
    "options", [{"env": ["-r x"]}, {"env": []}, {"env": ["idna"], "executor": "inline"}, {"env": ["a\nb"]}, {"env": ["#"]}]
)
def test_an_environment_is_requirements_of_a_process(options):
    with pytest.raises(InvalidInput, match="env"):
        step(**options)(_step)


def _step() -> int:
    return 1


def test_another_order_of_comments_and_blank_lines_is_the_same_environment():
    assert Requirements(text="# one\nidna==1\n\n").digest == Requirements(text="idna==1\n").digest
    assert Requirements(text="idna==1\n").digest != Requirements(text="idna==2\n").digest
    assert shutil.which("uv")
