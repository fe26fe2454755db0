"""The rules of the house that neither ruff nor import-linter can express."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "gateline"
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
BLOB_BYTES_MAX = 1024 * 1024

# Ratchets: what was larger when the rule came. Entries may shrink or go, never grow or be added.
LONG_FILES: dict[str, int] = {}
LONG_FUNCTIONS: dict[str, int] = {}

# What these packages may import beside the standard library and each other.
THIRD_PARTY = {
    "kernel": {"alembic", "pydantic", "pydantic_core", "pydantic_settings", "sqlalchemy", "structlog", "typing_extensions"},
    "stats": {"numpy", "scipy", "typing_extensions"},
}
# A broad `except` is a boundary (worker loop, HTTP handler, plugin load, CLI main): what fails there must not take its caller
# down, and is reported. These files hold all of them; one that raises again is no boundary.
BROAD_EXCEPT_KINDS = {"Exception", "BaseException"}
BOUNDARIES = {
    "src/gateline/adapters/mlflow/embedded.py",  # plugin load
    "src/gateline/cli/__init__.py",  # CLI main
    "src/gateline/kernel/reconciling.py",  # worker loop of the reconcilers
    "src/gateline/server/boundary.py",  # HTTP handler of the control plane
    "src/gateline/sdk/metric_buffer.py",  # worker loop that logs metrics
    "src/gateline/sdk/run_records.py",  # what is recorded around the user's training
    "src/gateline/sdk/execution.py",  # the user's steps
    "src/gateline/sdk/running/zygote.py",  # the user's modules
    "src/gateline/sdk/trials.py",  # the user's objectives
    "src/gateline/serving/application.py",  # HTTP handler of the inference worker
}
BANNED_WORDS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
REGISTRY_ADDRESS = re.compile(
    r"(index-url|extra-index|find-links)[ =]+\S*://|pypi\.org/simple|files\.pythonhosted\.org|registry\.npmjs\.org|\"resolved\": *\"http"
)
BANNED_CALLS = {
    "eval": "no code from data",
    "exec": "no code from data",
    "compile": "no code from data",
    "__import__": "import at the place of use",
    "breakpoint": "left over from a debugging session",
}
BANNED_NAMES = re.compile(r"(Manager|Helper|Helpers|Util|Utils|Base)$")


def is_revision(path: Path) -> bool:
    """Whether the file is a schema revision: written by a tool, never edited again, as long as the schema is wide."""
    return path.parent.name == "versions" and path.parent.parent.name == "migrations"


@cache
def tracked_files() -> tuple[Path, ...]:
    """Every file that belongs to the repository: tracked, or new and not ignored; in an unpacked archive, every file."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        hidden = {".venv", ".tools", ".git", ".gateline"}
        paths = [path for path in ROOT.rglob("*") if not hidden & set(path.relative_to(ROOT).parts)]
    return tuple(sorted(path for path in paths if path.is_file()))


@cache
def python_files(folder: str) -> tuple[tuple[Path, str, ast.Module], ...]:
    """Every Python file under a folder with its text and its syntax tree."""
    found = [path for path in tracked_files() if path.suffix == ".py" and path.is_relative_to(ROOT / folder)]
    texts = [(path, path.read_text(encoding="utf-8")) for path in found]
    return tuple((path, text, ast.parse(text)) for path, text in texts)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported_packages(node: ast.AST) -> list[str]:
    """Return the top-level packages that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [(node.module or "").split(".")[0]]
    return []


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its docstring and its decorators."""
    documentation = node.body[0] if ast.get_docstring(node, clean=False) else None
    spared = (documentation.end_lineno or 0) - documentation.lineno + 1 if documentation else 0
    return (node.end_lineno or 0) - node.lineno + 1 - spared


def test_no_file_is_too_long_to_hold_in_mind():
    files = [*python_files("src"), *python_files("tests"), *python_files("scripts")]
    sizes = {relative(path): text.count("\n") for path, text, _ in files if not is_revision(path)}
    grown = [f"{name}: {lines} lines" for name, lines in sizes.items() if lines > LONG_FILES.get(name, FILE_LINES_MAX)]
    assert not grown
    assert [name for name in LONG_FILES if sizes.get(name, 0) <= FILE_LINES_MAX] == [], "take these out of LONG_FILES"


def test_functions_fit_on_a_screen():
    sizes: dict[str, int] = {}
    for path, _, tree in [file for file in python_files("src") if not is_revision(file[0])]:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                sizes[f"{relative(path)}:{node.name}"] = function_lines(node)
    grown = [f"{name}: {lines} lines" for name, lines in sizes.items() if lines > LONG_FUNCTIONS.get(name, FUNCTION_LINES_MAX)]
    assert not grown
    assert [name for name in LONG_FUNCTIONS if sizes.get(name, 0) <= FUNCTION_LINES_MAX] == [], "take these out of LONG_FUNCTIONS"


@pytest.mark.parametrize("package", sorted(THIRD_PARTY))
def test_kernel_and_statistics_import_only_what_they_are_allowed(package: str):
    allowed = THIRD_PARTY[package] | {"gateline", "__future__"} | set(sys.stdlib_module_names)
    foreign = [
        f"{relative(path)}:{node.lineno}: {name}"
        for path, _, tree in python_files(f"src/gateline/{package}")
        for node in ast.walk(tree)
        for name in imported_packages(node)
        if name not in allowed
    ]
    assert not foreign


def test_every_import_is_a_declared_dependency():
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[dependency-groups]")[0].lower().replace("-", "_")
    missing = {
        f"{relative(path)}: {name}"
        for path, _, tree in python_files("src")
        if "project" not in path.parts  # files that `gateline init` copies import each other
        for node in ast.walk(tree)
        for name in imported_packages(node)
        if name not in {"gateline", *sys.stdlib_module_names} and f'"{name}' not in declared
    }
    assert not missing


def test_banned_calls_and_statements_are_absent():
    found = []
    for path, _, tree in python_files("src"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BANNED_CALLS:
                found.append(f"{relative(path)}:{node.lineno}: {node.func.id}: {BANNED_CALLS[node.func.id]}")
            if isinstance(node, ast.Call) and any(k.arg == "shell" and getattr(k.value, "value", None) is True for k in node.keywords):
                found.append(f"{relative(path)}:{node.lineno}: shell=True: arguments are lists")
            if isinstance(node, ast.ClassDef) and BANNED_NAMES.search(node.name):
                found.append(f"{relative(path)}:{node.lineno}: class {node.name}: name what it is")
    assert not found


def test_broad_excepts_stand_only_at_boundaries():
    boundaries = {
        relative(path)
        for path, _, tree in python_files("src")
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in BROAD_EXCEPT_KINDS))
        and not isinstance(node.body[-1], ast.Raise)
    }
    assert boundaries <= BOUNDARIES, "a broad except that does not raise again belongs to one of the boundaries; catch what you expect"
    assert boundaries >= BOUNDARIES, "take these out of BOUNDARIES"


def test_no_unfinished_work_is_left_in_the_text():
    marks = [
        f"{relative(path)}:{number}"
        for folder in ("src", "tests", "scripts")
        for path, text, _ in python_files(folder)
        for number, line in enumerate(text.splitlines(), 1)
        if BANNED_WORDS.search(line) or ("NotImplementedError" in line.replace('"NotImplementedError"', "") and not is_revision(path))
    ]
    assert not marks


def test_no_test_is_skipped_or_expected_to_fail():
    marks = re.compile(r"pytest\.(mark\.)?(skip|xfail|importorskip)")
    found = [
        f"{relative(path)}:{number}"
        for path, text, _ in python_files("tests")
        if path != Path(__file__)
        for number, line in enumerate(text.splitlines(), 1)
        if marks.search(line)
    ]
    assert not found


def test_no_file_is_larger_than_a_mebibyte():
    assert [relative(path) for path in tracked_files() if path.stat().st_size > BLOB_BYTES_MAX] == []


def test_no_file_names_a_registry_or_a_path_of_this_machine():
    machine_paths = [str(ROOT.parent) + "/"]
    home = Path.home()
    if len(home.parts) > 1:
        machine_paths.append(f"{home}/")
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if path != Path(__file__) and REGISTRY_ADDRESS.search(text):
            found.append(f"{relative(path)}: a registry address")
        found += [f"{relative(path)}: {place}" for place in machine_paths if place in text]
    assert not found


def test_requirement_files_are_locked_with_hashes():
    for name in ("uv", "build", "demo", "dev", "feast"):
        lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        pins = [line for line in lines if line and not line.startswith((" ", "#"))]
        assert pins
        assert all("==" in line and line.endswith("\\") for line in pins), name


def test_every_package_says_what_it_is_for():
    silent = [relative(path) for path, _, tree in python_files("src") if path.name == "__init__.py" and not ast.get_docstring(tree)]
    assert not silent


def test_front_doors_say_what_others_may_import():
    domains = [path for path in SOURCE.iterdir() if (path / "service.py").exists()]
    closed = [relative(path) for path in domains if "__all__" not in (path / "__init__.py").read_text(encoding="utf-8")]
    assert not closed
