"""Why a notebook cannot become functions, and what a person has to look at where it can."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from gateline.sdk.notebook.names import BUILTINS, assigns_globals

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.sdk.notebook.sections import Parts, Section

_RESERVED = ("when", "max_parallel")
_LOOK_AT_NAMES = frozenset({"globals", "locals", "vars", "exec", "eval"})
_TEXT_LENGTH_MAX = 500


def mistakes_of(parts: Parts) -> list[str]:
    """Return why sections cannot be functions, one sentence each."""
    found = [_assigned("a definition", name) for name in sorted(assigns_globals(one.node for one in parts.top))]
    for section in parts.sections:
        where, names = f"cells {cells_of(section)}", section.names
        found += [_assigned(where, name) for name in sorted(assigns_globals(one.node for one in section.statements))]
        hidden = [name for name in names.reads if name in names.writes & BUILTINS and name not in section.arguments]
        found += [f"{where}: '{name}' of Python is used and then bound to something else; rename the variable." for name in hidden]
        reserved = [name for name in _RESERVED if name in section.arguments]
        found += [f"{where}: a variable is called '{name}', a word that every step call takes; rename it." for name in reserved]
    return found


def left_by(parts: Parts, folder: Path) -> list[str]:
    """Return what could not be carried over, and what to do about it.

    Args:
        parts: The notebook, taken apart.
        folder: The notebook's folder, to say which files of it are read.
    """
    found = [f"Cell {number}: left out, no Python: {line[:100]}" for number, line in parts.magics]
    nodes = [
        node for one in [*parts.top, *(one for section in parts.sections for one in section.statements)] for node in ast.walk(one.node)
    ]
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    files = sorted(text for text in texts if _is_file(text, folder))
    found += [f"File {text}: read from the folder where the run starts; copy it there, or register it as a dataset." for text in files]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    if len(parts.sections) > 1 and any(ast.unparse(one.func).endswith(("random.seed", "manual_seed")) for one in calls):
        found.append("Random state: a seed set in one step does not reach another one that runs in a process of its own; seed each.")
    looking = {one.func.id for one in calls if isinstance(one.func, ast.Name)} & _LOOK_AT_NAMES
    found += [f"{name}(): names of the notebook are names of a function now." for name in sorted(looking)]
    for section in parts.sections:
        text = "\n".join(one.source for one in section.statements)
        if "mlflow.start_run(" in text and not re.search(r"with\s+[\w.]*start_run\(", text) and "mlflow.end_run(" not in text:
            message = "the MLflow run that it opens is closed elsewhere; in a recorded run each step is a process of its own."
            found.append(f"Cells {cells_of(section)}: {message}")
    return found


def cells_of(section: Section) -> str:
    """Return the numbers of a section's cells as text, such as `4 to 7`."""
    first, last = section.cells[0], section.cells[-1]
    return str(first) if first == last else f"{first} to {last}"


def _assigned(where: str, name: str) -> str:
    return f"{where}: a function assigns '{name}' as a global; return it instead."


def _is_file(text: str, folder: Path) -> bool:
    return 0 < len(text) < _TEXT_LENGTH_MAX and text.isprintable() and (folder / text).is_file()
