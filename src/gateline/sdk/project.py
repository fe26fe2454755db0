"""A project folder: `gateline.toml` and the Python files it names."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import InvalidInput, NotFound
from gateline.sdk.loading import load_module
from gateline.sdk.pipeline import Pipeline, Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILE_NAME = "gateline.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What `gateline.toml` declares.

    Attributes:
        folder: The project folder, absolute.
        name: Name of the project.
        settings: The whole file as a dictionary; `[gates]` is the policy, `[pipelines]` maps names to `module:function`, or
            to a table with that as `function`, and with what starts the pipeline by itself.
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
        reference = declared[name].get("function") if isinstance(declared[name], dict) else declared[name]
        if not isinstance(reference, str):
            raise InvalidInput(
                f"Project '{self.name}' does not say which function pipeline '{name}' is.",
                next_step=f'Write [pipelines.{name}] function = "module:function".',
            )
        found = self.load_object(reference)
        if not isinstance(found, Pipeline):
            raise InvalidInput(f"{reference} is no pipeline.", next_step="Mark the function with @pipeline.")
        return found

    def load_step(self, reference: str) -> Callable[..., Any]:
        """Return the function of the step that `module:function` names in a file of the project."""
        found = self.load_object(reference)
        if not isinstance(found, Step):
            raise InvalidInput(f"{reference} is no step.", next_step="Mark the function with @step.")
        return found.function

    def load_object(self, reference: str) -> Any:
        """Return the object that `module:attribute` names in a file of the project; modules of packages are dotted: `flows.train:fit`.

        Raises:
            NotFound: there is no such file, or nothing of that name in it.
            InvalidInput: the file is no valid Python, or imports what is not there.
        """
        module_name, _, attribute = reference.partition(":")
        found: Any = load_module(self.folder, module_name)
        for part in attribute.split("."):
            if not hasattr(found, part):
                raise NotFound(f"{module_name} of project '{self.name}' has no '{attribute}'.")
            found = getattr(found, part)
        return found
