"""Keys of steps: code, environment, arguments and seed. An equal call is not made twice; editing something else costs nothing."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import digest, sha256_bytes
from gateline.kernel.errors import Conflict, InvalidInput
from gateline.sdk.environment import installed_packages
from gateline.sdk.loading import loaded_sources
from gateline.sdk.sources import READS_DOCSTRINGS, Import, ProjectFiles, Statement, read_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCode:
    """The code that a step's result depends on, as it is on disk.

    Attributes:
        digest: Its digest.
        files: The project's files that it was read from, with the SHA-256 of each.
    """

    digest: str
    files: Mapping[Path, str]

    def check_loaded(self) -> None:
        """Check that this process runs the code that was read.

        Raises:
            Conflict: a module was loaded from other bytes: its file has changed since.
        """
        loaded = loaded_sources()
        changed = [str(path) for path, sha256 in self.files.items() if loaded.get(path, sha256) != sha256]
        if changed:
            raise Conflict(
                f"{', '.join(sorted(changed))} changed after this process had loaded it.",
                next_step="Restart the runner, so that it runs the code as it is now.",
            )


def code_digest(function: Callable[..., Any], project: Path) -> str:
    """Return the digest of a step's code, as `read_code` does, checked against what this process has loaded.

    Raises:
        InvalidInput: a file is no valid Python.
        Conflict: a file changed after this process had loaded it.
    """
    code = read_code(function, project)
    code.check_loaded()
    return code.digest


def read_code(function: Callable[..., Any], project: Path) -> StepCode:
    """Read what a step's result depends on: its module and the modules of the project that this imports, also inside functions.

    Read from the text, so that it does not matter what was imported so far. Comments, docstrings, arguments of `@step` and imports for
    type checkers do not count; neither do steps and pipelines that nothing of it names. Where code imports by a name that is not written
    out, all modules of the project count. Docstrings do count where some code reads them.

    Args:
        function: The function of the step.
        project: The project folder.

    Raises:
        InvalidInput: a file is no valid Python, or the function was not read from a file.
    """
    project = project.resolve()
    wanted = inspect.unwrap(function)
    reader = _Reader(project, _file_of(wanted), wanted.__qualname__.partition(".")[0])
    reader.follow(Import(module=wanted.__module__), reader.own)
    reader.read()
    return StepCode(digest=digest("step-code/2", {"name": wanted.__qualname__, "files": reader.forms()}), files=reader.digests)


class _Reader:
    """Follows imports and names from one step until nothing new is found."""

    def __init__(self, project: Path, own: Path, name: str) -> None:
        self.own = own
        self.digests: dict[Path, str] = {}
        self._name = name
        self._project = project
        self._files = ProjectFiles(project)
        self._statements: dict[Path, tuple[Statement, ...]] = {}
        self._taken: dict[Path, set[int]] = {}
        self._uses: set[str] = set()
        self._renames: set[tuple[str, str]] = set()
        self._unnamed = False
        self._add(own)

    def follow(self, wanted: Import, importer: Path) -> None:
        """Add the files that an import may run."""
        for path in self._files.imported_by(wanted, importer):
            self._add(path)

    def read(self) -> None:
        """Take statements until none is new."""
        found = True
        while found:
            found = self._rename()
            for path, statements in list(self._statements.items()):
                for position, statement in enumerate(statements):
                    if position not in self._taken[path] and self._counts(path, statement):
                        self._take(path, position, statement)
                        found = True

    def forms(self) -> dict[str, Any]:
        """Return what counts of each file: the forms of its statements, or the digest of a file that is no source."""
        documented = bool(self._uses & READS_DOCSTRINGS)
        found: dict[str, Any] = {}
        for path, sha256 in self.digests.items():
            name = str(path.relative_to(self._project)) if path.is_relative_to(self._project) else path.name
            taken = [self._statements[path][position] for position in sorted(self._taken[path])] if path in self._statements else []
            kept = [one.documented if documented else one.form for one in taken]
            found[name] = [one for one in kept if one] if path in self._statements else sha256
        return found

    def _add(self, path: Path) -> None:
        if path in self.digests:
            return
        content = path.read_bytes()
        self.digests[path] = sha256_bytes(content)
        if path.suffix == ".py":
            self._statements[path] = read_statements(path, content)
            self._taken[path] = set()

    def _counts(self, path: Path, statement: Statement) -> bool:
        return self._unnamed or not statement.step or statement.step in self._uses or (path == self.own and statement.step == self._name)

    def _rename(self) -> bool:
        """Add the names that used ones stand for; return whether any is new."""
        meant = {old for new, old in self._renames if new in self._uses} - self._uses
        self._uses |= meant
        return bool(meant)

    def _take(self, path: Path, position: int, statement: Statement) -> None:
        self._taken[path].add(position)
        self._uses |= statement.uses
        self._renames |= set(statement.renames)
        self._unnamed |= statement.unnamed
        for one in statement.imports:
            self.follow(one, path)
        if statement.dynamic:
            for module in self._files.modules():
                self._add(module)


def _file_of(function: Callable[..., Any]) -> Path:
    """Return the file that a function's module was read from."""
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None) or inspect.getsourcefile(function)
    if file is None or not Path(file).is_file():
        raise InvalidInput(
            f"The code of '{function.__qualname__}' was not read from a file, so that it has no key.", next_step="Write it into a module."
        )
    return Path(file).resolve()


def environment_digest() -> str:
    """Return the digest of the Python version and of every installed distribution and its version."""
    return digest("environment/2", {"python": list(sys.version_info[:3]), "packages": installed_packages()})
