"""Modules of a project are loaded from their source alone, and remember which bytes they were made of.

Python's own cache of compiled files goes by time and size, so that two edits within one second can look the same; a key that says which
code made a result must not depend on that.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.errors import InvalidInput, NotFound
from gateline.sdk.sources import is_own

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType


class ProjectLoader(importlib.machinery.SourceFileLoader):
    """Loads one module from its source.

    Attributes:
        source_sha256: Digest of the source that the module was made of; empty before it was loaded.
    """

    source_sha256 = ""

    def get_code(self, fullname: str) -> CodeType | None:
        """Compile the source as it is now."""
        path = self.get_filename(fullname)
        source = self.get_data(path)
        self.source_sha256 = sha256_bytes(source)
        _loaders[fullname] = self
        code: CodeType = self.source_to_code(source, path)
        return code


_loading = threading.RLock()
_loaders: dict[str, ProjectLoader] = {}  # asking every module of the process would wake those that load lazily


class ProjectFinder(importlib.abc.MetaPathFinder):
    """Finds the modules of one project folder, before any others of their name.

    Args:
        folder: The folder, resolved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module of the project, or None."""
        for place in [str(self.folder)] if path is None else list(path):
            if not is_own(Path(place), self.folder):
                continue
            finder = importlib.machinery.FileFinder(place, (ProjectLoader, importlib.machinery.SOURCE_SUFFIXES))
            spec = finder.find_spec(fullname, target)
            if spec is not None and spec.loader is not None:
                return spec
        return None


def load_module(folder: Path, name: str) -> ModuleType:
    """Import a module of a project, such as `flows` or `flows.train`.

    The folder comes first on the path, so that its files can import each other. Modules of another project are forgotten where this one
    has modules of the same name.

    Raises:
        NotFound: the project has no such module.
        InvalidInput: the file is no valid Python, imports what is not there, or is named like a module of Python or Gateline.
    """
    top = name.partition(".")[0]
    if not all(part.isidentifier() for part in name.split(".")) or not _exists(folder, name):
        raise NotFound(f"The project in {folder} has no file {name.replace('.', '/')}.py.")
    if top in sys.stdlib_module_names or top == "gateline":
        raise InvalidInput(f"{folder / top} is named like a module of Python or Gateline itself.", next_step="Rename it.")
    try:
        with _loading:  # a module that another thread is still executing lies in sys.modules already
            known = sys.modules.get(name)
            if known is not None and _is_from(known, folder):
                return known
            _make_first(folder)
            return importlib.import_module(name)  # noqa: TID251 - the user's code, named at run time
    except SyntaxError as error:
        raise InvalidInput(f"{error.filename} is no valid Python: {error}.", next_step="Correct the file.") from error
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"{name.replace('.', '/')}.py imports '{error.name}', which is not installed.",
            next_step=f"Install {error.name} or correct the name.",
        ) from error


def loaded_sources() -> dict[Path, str]:
    """Return file and digest of the source of each project module that this process has loaded."""
    kept = [(one, sys.modules.get(name)) for name, one in list(_loaders.items())]
    return {Path(one.path): one.source_sha256 for one, module in kept if getattr(getattr(module, "__spec__", None), "loader", None) is one}


def changed_sources() -> list[Path]:
    """Return the files of loaded project modules that have changed, or gone, since they were loaded."""
    return sorted(path for path, sha256 in loaded_sources().items() if not path.is_file() or sha256_bytes(path.read_bytes()) != sha256)


def file_state(path: Path | str) -> list[int]:
    """Return time of change and size of a file; nothing when it is gone."""
    try:
        state = Path(path).stat()
    except OSError:
        return []
    return [state.st_mtime_ns, state.st_size]


def _exists(folder: Path, name: str) -> bool:
    path = folder.joinpath(*name.split("."))
    return path.with_name(f"{path.name}.py").is_file() or (path / "__init__.py").is_file()


def _is_from(module: ModuleType, folder: Path) -> bool:
    """Return whether a module is what importing its name would give: of this folder, where modules are looked for first."""
    first, file = sys.meta_path[0], getattr(module, "__file__", None)
    return isinstance(first, ProjectFinder) and first.folder == folder and isinstance(file, str) and Path(file).is_relative_to(folder)


def _make_first(folder: Path) -> None:
    """Have modules be looked for in this folder first, and forget those of its names that come from elsewhere."""
    others = [one for one in sys.meta_path if not (isinstance(one, ProjectFinder) and one.folder == folder)]
    sys.meta_path[:] = [ProjectFinder(folder), *others]
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    own = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    own -= {*sys.stdlib_module_names, "gateline"}
    for name in [one for one in sys.modules if one.partition(".")[0] in own]:
        file = getattr(sys.modules[name], "__file__", None)
        if isinstance(file, str) and not Path(file).is_relative_to(folder):
            del sys.modules[name]
