"""Each gate, monitor and guard is broken once on purpose, and the tests that watch it must go red.

`mutations.toml` holds the table: the file, one exact snippet of it, what stands there instead, and the test files that must notice.
A mutation that no test notices is a guard that could vanish unseen.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "gateline"
TESTS_FAILED = 1  # pytest's exit status; 2 to 5 mean that it could not run them, which proves nothing


class Mutation(NamedTuple):
    """One way to break one guard."""

    name: str
    file: str
    old: str
    new: str
    tests: list[str]


def read_mutations() -> list[Mutation]:
    table = tomllib.loads((Path(__file__).parent / "mutations.toml").read_text(encoding="utf-8"))
    return [Mutation(**entry) for entry in table["mutation"]]


MUTATIONS = read_mutations()


def ids(mutation: Mutation) -> str:
    return mutation.name.replace(" ", "-")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=ids)
def test_the_table_still_describes_the_code(mutation: Mutation):
    text = (SOURCE / mutation.file).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1, f"{mutation.file}: the snippet stands there {text.count(mutation.old)} times"
    assert mutation.new != mutation.old
    if mutation.file.endswith(".py"):
        ast.parse(text.replace(mutation.old, mutation.new))
    assert [name for name in mutation.tests if not (ROOT / name.split("::")[0]).exists()] == []


def test_every_part_of_the_loop_is_broken_at_least_once():
    broken = {mutation.file.split("/")[0] for mutation in MUTATIONS}
    wanted = {"access", "adapters", "data", "features", "gates", "ledger", "monitoring"}
    wanted |= {"pipelines", "registry", "rollout", "serving", "stats", "tracking"}
    assert broken >= wanted
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=ids)
def test_a_broken_guard_turns_a_test_red(mutation: Mutation, tmp_path: Path):
    package = tmp_path / "src" / "gateline"
    shutil.copytree(SOURCE, package)
    broken = package / mutation.file
    text = broken.read_text(encoding="utf-8")
    broken.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    for compiled in (broken.parent / "__pycache__").glob(f"{broken.stem}.*.pyc"):
        compiled.unlink()

    environment = {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST_XDIST")}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", *mutation.tests]
    done = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'inner'}"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=380, check=False
    )
    assert done.returncode == TESTS_FAILED, f"no test noticed: {mutation.name}\n{done.stdout[-3000:]}{done.stderr[-1000:]}"
