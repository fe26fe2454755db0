"""From a notebook to the parts of a project: what goes to the top of a module, and which section takes and gives what.

The rules, which `docs/how-to/notebook.md` explains:

1. A cell with the tag `step:NAME` begins a section; without any such tag each heading begins one. Sections keep the document's order.
2. Imports, constants (plain values bound once), and definitions that need nothing but these go to the top of the module.
3. Calls that set up a library, such as `mlflow.set_experiment`, are made at the beginning of each step.
4. A definition that needs variables of the notebook is repeated in each section that uses it.
5. What a section may read before binding it is an argument; what it binds or may change, and a later section needs, is an output.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateline.sdk.notebook.names import BUILTINS, Names, free_names, names_of
from gateline.sdk.notebook.python import Statement, read_code

if TYPE_CHECKING:
    from gateline.sdk.notebook.reading import Cell, Notebook

_TAG = "step:"
_PARAMETERS = "parameters"
_HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_SETTINGS = frozenset({
    "autolog", "filterwarnings", "set_config", "set_experiment", "set_loglevel", "set_option", "set_registry_uri", "set_style", "set_theme",
    "set_tracking_uri", "simplefilter", "use",
})  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Section:
    """A part of the notebook that becomes a step.

    Attributes:
        title: Its heading or tag; empty for what stands before the first.
        cells: Numbers of its cells with code.
        statements: What it does.
        arguments: What it takes.
        outputs: What it gives to later sections.
    """

    title: str
    cells: list[int] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    @property
    def names(self) -> Names:
        """What its statements do with names."""
        return names_of(one.node for one in self.statements)


@dataclass(slots=True, kw_only=True)
class Parts:
    """A notebook taken apart.

    Attributes:
        top: Imports, constants and definitions of the module, in order.
        settings: Calls that each step begins with.
        parameters: Values of the pipeline's parameters by name.
        sections: What becomes steps.
        magics: Lines that are no Python, with the number of their cell.
    """

    top: list[Statement] = field(default_factory=list)
    settings: list[Statement] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    magics: list[tuple[int, str]] = field(default_factory=list)

    @property
    def top_names(self) -> set[str]:
        """Names that the top of the module binds."""
        return {name for one in self.top for name in names_of([one.node]).writes}


def take_apart(notebook: Notebook) -> Parts:
    """Return the parts of a notebook that has no errors."""
    parts = Parts(sections=[Section(title="")])
    tagged = any(_tag(cell) is not None for cell in notebook.code)
    for cell in notebook.cells:
        title = _tag(cell) if tagged else _heading(cell)
        if title is not None and (not tagged or title != parts.sections[-1].title):
            parts.sections.append(Section(title=title))
        if cell.code and cell.source.strip():
            _add_code(parts, cell, last=cell is notebook.code[-1])
    _lift(parts)
    _repeat_definitions(parts)
    parts.sections = [one for one in parts.sections if one.statements]
    _connect(parts)
    return parts


def _tag(cell: Cell) -> str | None:
    return next((one.removeprefix(_TAG).strip() for one in cell.tags if cell.code and one.startswith(_TAG)), None)


def _heading(cell: Cell) -> str | None:
    match = None if cell.code else _HEADING.search(cell.source)
    return match.group(1) if match else None


def _add_code(parts: Parts, cell: Cell, *, last: bool) -> None:
    """Add the statements of a cell to the newest section; what is only shown is left out, but at the end of the last cell."""
    code = read_code(cell.source)
    parts.magics += [(cell.number, line) for line in code.magics]
    section = parts.sections[-1]
    for one in code.statements:
        name, value = _plain_assignment(one.node)
        if _PARAMETERS in cell.tags and name and _is_json(value):
            parts.parameters[name] = value
        elif not _shows_only(one.node) or (last and one is code.statements[-1]):
            section.statements.append(one)
    if code.statements:
        section.cells.append(cell.number)


def _shows_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Name | ast.Constant)


def _plain_assignment(node: ast.stmt) -> tuple[str, Any]:
    """Return name and value of `NAME = plain value`; an empty name for anything else."""
    target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else getattr(node, "target", None)
    if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(target, ast.Name) or node.value is None:
        return "", None
    try:
        value = ast.literal_eval(node.value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return "", None
    return target.id, value


def _lift(parts: Parts) -> None:
    """Move what belongs at the top of a module there, and what sets up libraries to the settings."""
    everything = [one for section in parts.sections for one in section.statements]
    binders: dict[str, set[str]] = {name: {"parameter"} for name in parts.parameters}
    changed: set[str] = set()
    for one in everything:
        names = names_of([one.node])
        changed |= names.changes | names.deletes
        for name in names.writes:
            binders.setdefault(name, set()).add(one.source if _imports(one.node) else f"{id(one)}")
    once = {name for name, found in binders.items() if len(found) == 1} - set(parts.parameters)
    known: set[str] = set()
    lifted: dict[int, Statement] = {}
    grown = True
    while grown:
        before = len(lifted)
        for one in everything:
            if id(one) not in lifted and _belongs_to_top(one, once, changed, known):
                lifted[id(one)] = one
                known |= names_of([one.node]).writes
        grown = len(lifted) > before
    settings = [one for one in everything if id(one) not in lifted and _is_setting(one.node, known)]
    moved = lifted.keys() | {id(one) for one in settings}
    seen: set[str] = set()
    for one in sorted(lifted.values(), key=lambda found: not _imports(found.node)):  # stable: imports first, the rest as it stood
        if one.source not in seen:
            seen.add(one.source)
            parts.top.append(one)
    parts.top = _in_order(parts.top)
    parts.settings = settings
    for section in parts.sections:
        section.statements = [one for one in section.statements if id(one) not in moved]


def _in_order(top: list[Statement]) -> list[Statement]:
    """Return statements so that each stands below what it needs when the module is loaded."""
    waiting, ordered, known = list(top), list[Statement](), set[str]()
    wanted = {name for one in top for name in names_of([one.node]).writes}
    while waiting:
        ready = [one for one in waiting if set(names_of([one.node]).reads) & wanted <= known] or waiting[:1]
        ordered.append(ready[0])
        known |= names_of([ready[0].node]).writes
        waiting.remove(ready[0])
    return ordered


def _imports(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _belongs_to_top(one: Statement, once: set[str], changed: set[str], known: set[str]) -> bool:
    node, names = one.node, names_of([one.node])
    if not names.writes <= once:
        return False
    if _imports(node):
        return True
    if isinstance(node, ast.Try | ast.If) and any(isinstance(inner, ast.Import | ast.ImportFrom) for inner in ast.walk(node)):
        return set(names.reads) | names.later <= known | BUILTINS
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return free_names(node) <= known
    name, value = _plain_assignment(node)
    return bool(name) and name not in changed and _is_constant(value)


def _is_json(value: Any) -> bool:
    """Whether JSON gives the same value back, as parameters of pipelines must."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False


def _is_constant(value: Any) -> bool:
    """Whether a value cannot be changed in place."""
    if isinstance(value, tuple | frozenset):
        return all(_is_constant(one) for one in value)
    return value is None or isinstance(value, bool | int | float | complex | str | bytes)


def _is_setting(node: ast.stmt, known: set[str]) -> bool:
    """Whether a statement sets up a library: one of the known calls, or a variable of the process' environment."""
    names = names_of([node])
    if (set(names.reads) | names.later) - BUILTINS - known or names.writes:
        return False
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        return ast.unparse(node.targets[0].value) == "os.environ"
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _SETTINGS


def _definition(node: ast.stmt) -> str:
    """Return the name of what a statement defines: a function, a class, or a name for a lambda."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def _repeat_definitions(parts: Parts) -> None:
    """Put definitions of earlier sections that a section uses in front of it; what they use in turn comes with them."""
    above: dict[str, Statement] = {}
    for section in parts.sections:
        own = list(section.statements)
        pending, taken = [section.names], dict[str, Statement]()
        while pending:
            names = pending.pop()
            for name in [*names.reads, *names.later]:
                if name in above and name not in taken:
                    taken[name] = above[name]
                    pending.append(names_of([above[name].node]))
        section.statements = [one for name, one in above.items() if name in taken] + own
        for one in own:
            for name in names_of([one.node]).writes:
                above.pop(name, None)
            if _definition(one.node):
                above[_definition(one.node)] = one


def _connect(parts: Parts) -> None:
    """Find arguments and outputs: from the first section to the last what there is, and back what is needed."""
    available: list[set[str]] = []
    there = set(parts.parameters)
    for section in parts.sections:
        available.append(set(there))
        names = section.names
        there = (there | names.writes) - names.deletes
    needed: set[str] = set()
    for section, before in zip(reversed(parts.sections), reversed(available), strict=True):
        names = section.names
        defined = {_definition(one.node) for one in section.statements}
        wanted = (((names.writes - names.deletes) | (names.changes & before)) & needed) - defined
        taken = [*names.reads, *sorted(names.later)]  # a function may be called before the section binds what it reads
        taken += sorted(name for name in wanted if name not in names.definite)
        section.arguments = [name for name in dict.fromkeys(taken) if name in before and name not in defined]
        section.outputs = sorted(wanted)
        needed = (needed - names.definite - names.deletes) | set(section.arguments)
