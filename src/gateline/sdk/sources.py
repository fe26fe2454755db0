"""Source files of a project, read without running them: what each top-level statement says, uses and imports."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from gateline.kernel.errors import InvalidInput

_MARKS = {"step", "pipeline", "search"}
_DYNAMIC = {
    *("__import__", "import_module", "exec", "exec_module", "find_loader", "run_module", "run_path", "SourceFileLoader"),
    *("spec_from_file_location", "spec_from_loader", "walk_packages", "iter_modules", "resolve_name"),
}
_UNNAMED = {"globals", "vars"}
"""Functions that give what a module holds under names that need not be written out."""
READS_DOCSTRINGS = {"__doc__", "getdoc", "get_docstring"}
_FOREIGN = {"site-packages", "dist-packages"}
_SUFFIXES = tuple(importlib.machinery.all_suffixes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """An import as it is written.

    Attributes:
        module: The dotted name; empty for `from . import x`.
        level: Number of leading dots.
        names: What is imported from it; ("*",) for all, empty for `import module`.
    """

    module: str
    level: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A top-level statement of a module.

    Attributes:
        step: Name of the function when it is a step, search or pipeline; else empty.
        form: Its syntax tree as text, without comments, blanks, docstrings and the arguments of `@step`, `@search` and `@pipeline`.
        documented: The same with docstrings.
        uses: Every name, attribute and text that could be a name in it.
        renames: What `from m import a as b` calls otherwise: b to a.
        imports: Every import in it, inside functions too; not those for type checkers only.
        dynamic: Whether it may import what cannot be read from its text.
        unnamed: Whether it may use steps by names that are not written out in it.
    """

    step: str
    form: str
    documented: str
    uses: frozenset[str]
    renames: tuple[tuple[str, str], ...]
    imports: tuple[Import, ...]
    dynamic: bool
    unnamed: bool


@dataclass(slots=True)
class _Reading:
    """What was found so far in a statement."""

    uses: set[str] = field(default_factory=set)
    renames: list[tuple[str, str]] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    dynamic: bool = False
    unnamed: bool = False


def read_statements(path: Path, content: bytes) -> tuple[Statement, ...]:
    """Return the top-level statements of a Python file.

    Raises:
        InvalidInput: it is no Python.
    """
    try:
        return _statements(content)
    except RecursionError:
        whole = hashlib.sha256(content).hexdigest()  # too deep to be walked: the bytes stand for it, and whatever may be imported counts
        unknown = Statement(step="", form=whole, documented=whole, uses=frozenset(), renames=(), imports=(), dynamic=True, unnamed=True)
        return (unknown,)
    except (SyntaxError, ValueError, MemoryError) as error:
        raise InvalidInput(f"{path} is no valid Python: {error}.", next_step="Correct the file.") from error


@functools.lru_cache(maxsize=2_000)
def _statements(content: bytes) -> tuple[Statement, ...]:
    body = ast.parse(content).body
    marks = _marks_of(body)
    module_docstring = body[:1] if body and _is_text(body[0]) else []
    return tuple(_statement(node, marks, is_docstring=node in module_docstring) for node in body)


def _statement(node: ast.stmt, marks: set[str], *, is_docstring: bool) -> Statement:
    step = ""
    if isinstance(node, ast.FunctionDef):
        kept = [one for one in node.decorator_list if _mark(one) not in marks]
        step = node.name if len(kept) < len(node.decorator_list) else ""
        node.decorator_list = kept
    documented = ast.dump(node)
    _strip_docstrings(node)
    reading = _Reading()
    _read(node, reading)
    return Statement(
        step=step, form="" if is_docstring else ast.dump(node), documented=documented, uses=frozenset(reading.uses),
        renames=tuple(reading.renames), imports=tuple(reading.imports), dynamic=reading.dynamic,
        unnamed=reading.unnamed or reading.dynamic,
    )  # fmt: skip


def _marks_of(body: list[ast.stmt]) -> set[str]:
    """Return what Gateline's `step`, `search` and `pipeline` are called in a module, such as `step`, `gateline.step` or `task`."""
    found: set[str] = set()
    for node in (one for statement in body for one in ast.walk(statement)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").partition(".")[0] == "gateline":
            found |= {one.asname or one.name for one in node.names if one.name in _MARKS}
            found |= _MARKS if any(one.name == "*" for one in node.names) else set()
            found |= {f"{one.asname or one.name}.{mark}" for one in node.names if one.name not in _MARKS for mark in _MARKS}
        elif isinstance(node, ast.Import):
            for one in node.names:
                if one.name.partition(".")[0] == "gateline":
                    found |= {f"{one.asname or one.name}.{mark}" for mark in _MARKS} | {
                        f"gateline.{mark}" for mark in _MARKS if not one.asname
                    }
    return found


def _mark(decorator: ast.expr) -> str:
    """Return the dotted name of a decorator."""
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(target) if isinstance(target, ast.Name | ast.Attribute) else ""


def _read(node: ast.AST, reading: _Reading) -> None:
    """Collect names and imports of a node and all below it."""
    if isinstance(node, ast.If) and _mark(node.test).rpartition(".")[2] == "TYPE_CHECKING":
        for one in node.orelse:
            _read(one, reading)
        return
    if isinstance(node, ast.Name):
        reading.uses.add(node.id)
    elif isinstance(node, ast.Attribute):
        reading.uses.add(node.attr)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
        reading.uses.add(node.value)
    elif isinstance(node, ast.Import):
        reading.imports += [Import(module=one.name) for one in node.names]
    elif isinstance(node, ast.ImportFrom):
        reading.imports.append(Import(module=node.module or "", level=node.level, names=tuple(one.name for one in node.names)))
        reading.renames += [(one.asname, one.name) for one in node.names if one.asname]
    elif isinstance(node, ast.Call) and _mark(node).rpartition(".")[2] in {"import_module", "__import__"} and _is_constant_import(node):
        named = node.args[0].value  # type: ignore[attr-defined]
        reading.imports.append(Import(module=named))
        return
    if isinstance(node, ast.Name | ast.Attribute) and (node.id if isinstance(node, ast.Name) else node.attr) in _DYNAMIC:
        reading.dynamic = True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        reading.dynamic |= node.func.id == "eval"  # not a method of that name
        reading.unnamed |= node.func.id in _UNNAMED or _is_unwritten_getattr(node)
    for child in ast.iter_child_nodes(node):
        _read(child, reading)


def _is_unwritten_getattr(node: ast.Call) -> bool:
    """Whether a call of `getattr` takes a name that is computed."""
    return _mark(node) == "getattr" and len(node.args) > 1 and not isinstance(node.args[1], ast.Constant)


def _is_constant_import(node: ast.Call) -> bool:
    """Whether a call imports one absolute name that is written out."""
    if len(node.args) != 1 or node.keywords or not isinstance(node.args[0], ast.Constant):
        return False
    return isinstance(node.args[0].value, str) and not node.args[0].value.startswith(".")


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _strip_docstrings(node: ast.AST) -> None:
    for one in ast.walk(node):
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and one.body and _is_text(one.body[0]):
            one.body = one.body[1:] or [ast.Pass()]


class ProjectFiles:
    """The files of a project that imports can run, as they are when first asked for.

    Args:
        project: The project folder, resolved.
    """

    def __init__(self, project: Path) -> None:
        self.project = project
        self._names: dict[Path, frozenset[str]] = {}
        found = [Path(entry or ".").resolve() for entry in sys.path]
        self._roots = list(dict.fromkeys([project, *(path for path in found if is_own(path, project) and path.is_dir())]))

    def imported_by(self, wanted: Import, importer: Path) -> list[Path]:
        """Return the files that an import in a file may run: packages on the way, the module, and submodules that it names."""
        parts = [part for part in wanted.module.split(".") if part]
        starts = self._roots
        if wanted.level:
            folder = importer.parents[min(wanted.level, len(importer.parents)) - 1]
            starts = [folder] if any(folder.is_relative_to(root) for root in self._roots) else []
        return [path for start in starts for path in self._below(start, parts, wanted)]

    def modules(self) -> list[Path]:
        """Return every Python file of the project."""
        return sorted({path for root in self._roots for path in root.rglob("*.py") if is_own(path, self.project)})

    def _below(self, folder: Path, parts: list[str], wanted: Import) -> list[Path]:
        """Return the files that an import below a folder may run."""
        found = self._module(folder, "__init__") if wanted.level else []
        for part in parts:
            found += self._module(folder, part)
            folder /= part
        for name in wanted.names:
            if name != "*":
                found += self._module(folder, name)
            elif parts or wanted.level:  # a package may import its modules for this
                found += sorted(folder / one for one in self._listed(folder) if one.endswith(_SUFFIXES))
        return found

    def _module(self, folder: Path, name: str) -> list[Path]:
        """Return the files that a module or package of this name in a folder is loaded from."""
        listed = self._listed(folder)
        found = [folder / file for suffix in _SUFFIXES if (file := f"{name}{suffix}") in listed]
        if name in listed:
            package = folder / name
            inner = self._listed(package)
            found += [package / file for suffix in _SUFFIXES if (file := f"__init__{suffix}") in inner]
        return found

    def _listed(self, folder: Path) -> frozenset[str]:
        """Return the names of what is in a folder; of nothing when it is none."""
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder))  # noqa: PTH208 - names alone, without a Path for each
            except OSError:
                self._names[folder] = frozenset()
        return self._names[folder]


def is_own(path: Path, project: Path) -> bool:
    """Whether a path belongs to the project: it lies in the folder, and in no environment or hidden folder of it."""
    if not path.is_relative_to(project):
        return False
    inner = path.relative_to(project).parts
    return not any(part in _FOREIGN or part.startswith(".") for part in inner)
