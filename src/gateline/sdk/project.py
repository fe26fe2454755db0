"""A project folder: `gateline.toml` and the Python files it names."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import InvalidInput, NotFound
from gateline.sdk.pipeline import Pipeline, Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

FILE_NAME = "gateline.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What `gateline.toml` declares.

    Attributes:
        folder: The project folder, absolute.
        name: Name of the project.
        settings: The whole file as a dictionary; `[gates]` is the policy, `[pipelines]` maps names to `module:function`.
    """

    folder: Path
    name: str
    settings: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Project:
        """Read a project.

        Raises:
            NotFound: there is no gateline.toml.
            InvalidInput: it is no TOML, or names no project.
        """
        path = folder / FILE_NAME
        if not path.exists():
            raise NotFound(f"{folder} holds no {FILE_NAME}.", next_step="Go to your project folder, or make one with: gateline init")
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{path} is not valid TOML: {error}.") from error
        name = settings.get("project", {}).get("name")
        if not isinstance(name, str):
            raise InvalidInput(f"{path} names no project.", next_step='Add: [project] name = "…"')
        return cls(folder=folder.resolve(), name=name, settings=settings)

    def pipeline(self, name: str) -> Pipeline:
        """Return a pipeline that `[pipelines]` declares."""
        declared = self.settings.get("pipelines", {})
        if name not in declared:
            known = ", ".join(sorted(declared)) or "none"
            raise NotFound(f"Project '{self.name}' declares no pipeline '{name}'.", next_step=f"It declares: {known}.")
        found = self.load_object(declared[name])
        if not isinstance(found, Pipeline):
            raise InvalidInput(f"{declared[name]} is no pipeline.", next_step="Mark the function with @pipeline.")
        return found

    def load_step(self, reference: str) -> Callable[..., Any]:
        """Return the function of the step that `module:function` names in a file of the project."""
        found = self.load_object(reference)
        if not isinstance(found, Step):
            raise InvalidInput(f"{reference} is no step.", next_step="Mark the function with @step.")
        return found.function

    def load_object(self, reference: str) -> Any:
        """Return the object that `module:attribute` names in a file of the project."""
        module_name, _, attribute = reference.partition(":")
        module = self._module(module_name)
        if not hasattr(module, attribute):
            raise NotFound(f"{module_name}.py of project '{self.name}' has no '{attribute}'.")
        return getattr(module, attribute)

    def _module(self, name: str) -> ModuleType:
        """Import a module of the project; its own folder comes first on the path, so that its files can import each other."""
        path = self.folder / f"{name}.py"
        loaded = sys.modules.get(name)
        if loaded is not None and getattr(loaded, "__file__", None) == str(path):
            return loaded
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None or not path.exists():
            raise NotFound(f"Project '{self.name}' has no file {name}.py.")
        if str(self.folder) not in sys.path:
            sys.path.insert(0, str(self.folder))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module
