"""A Feast repository as it is written: its declarations are read from the syntax trees of its Python files, which are never run.

Only literal declarations are understood: calls of Feast's classes with constants, lists, dictionaries, time spans and names that the same
file, or a file it imports from, assigns once. What is computed in another way is noted with its place.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import InvalidInput, NotFound
from gateline.kernel.limits import TEXT_LENGTH_MAX

if TYPE_CHECKING:
    from pathlib import Path

DECLARATIONS = frozenset({
    "Entity", "FileSource", "FeatureView", "BatchFeatureView", "StreamFeatureView", "OnDemandFeatureView", "FeatureService", "PushSource",
    "RequestSource", "Field", "Aggregation", "KafkaSource", "KinesisSource", "BigQuerySource", "SnowflakeSource", "RedshiftSource",
    "SparkSource", "PostgreSQLSource",
})  # fmt: skip
_DECORATORS = {"on_demand_feature_view", "stream_feature_view", "batch_feature_view"}
_SPANS = {"weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}
_FILE_BYTES_MAX = 256 * TEXT_LENGTH_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One call of a Feast class.

    Attributes:
        kind: Name of the class.
        place: File and line.
        values: Its arguments by name; those that are not understood are `Unknown`.
    """

    kind: str
    place: str
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name that it was given; empty without one."""
        found = self.values.get("name", "")
        return found if isinstance(found, str) else ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """An expression that is not a literal declaration."""

    text: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that a file assigns or imports."""

    name: str


@dataclass(frozen=True, slots=True)
class Projection:
    """Some features of a view: `view[["a", "b"]]`."""

    view: Any
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """What the files of a repository declare: by file and variable, and the functions of on-demand views with their text."""

    declared: dict[str, dict[str, Any]]
    imported: dict[str, dict[str, tuple[str, str]]]
    functions: tuple[tuple[Declared, str], ...]
    notes: tuple[str, ...]

    def all(self, *kinds: str) -> list[tuple[str, Declared]]:
        """Return (file, declaration) of the given kinds, in order of writing."""
        return [
            (file, one)
            for file, names in self.declared.items()
            for one in names.values()
            if isinstance(one, Declared) and one.kind in kinds
        ]  # fmt: skip

    def resolved(self, file: str, value: Any) -> Any:
        """Return what a name stands for, through imports between the files; other values are returned as they are."""
        seen: set[tuple[str, str]] = set()
        while isinstance(value, Reference):
            if (file, value.name) in seen:
                return Unknown(value.name)
            seen.add((file, value.name))
            names = self.declared.get(file, {})
            if value.name in names:
                value = names[value.name]
            elif value.name in self.imported.get(file, {}):
                file, name = self.imported[file][value.name]
                value = Reference(name)
            else:
                return Unknown(value.name)
        return value


def read_repository(folder: Path) -> Repository:
    """Return the declarations of all Python files under a folder.

    Raises:
        NotFound: there are none.
        InvalidInput: a file is no Python, or too large.
    """
    paths = sorted(path for path in folder.rglob("*.py") if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    if not paths:
        raise NotFound(f"There is no Python file in {folder}.", next_step="Give the folder that holds feature_store.yaml.")
    files = [_File(path, folder) for path in paths]
    return Repository(
        declared={file.module: file.names for file in files},
        imported={file.module: file.imports for file in files},
        functions=tuple(one for file in files for one in file.functions),
        notes=tuple(note for file in files for note in file.notes),
    )


class _File:
    """One Python file."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.shown = path.relative_to(folder).as_posix()
        self.module = self.shown.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        self.names: dict[str, Any] = {}
        self.imports: dict[str, tuple[str, str]] = {}
        self.functions: list[tuple[Declared, str]] = []
        self.notes: list[str] = []
        if path.stat().st_size > _FILE_BYTES_MAX:
            raise InvalidInput(f"{self.shown} is larger than {_FILE_BYTES_MAX:,} bytes.", next_step="Is it generated? Leave it out.")
        try:
            self.text = path.read_text(encoding="utf-8")
            tree = ast.parse(self.text)
        except (SyntaxError, ValueError) as error:
            raise InvalidInput(f"{self.shown} is no Python file: {error}.", next_step="Mend or remove it.") from error
        for statement in tree.body:
            self._statement(statement)

    def _statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.ImportFrom(module=module, names=names, level=level):
                package = self.module.rsplit(".", level)[0] + "." if level and "." in self.module else ""
                for alias in names:
                    self.imports[alias.asname or alias.name] = (f"{package}{module or ''}", alias.name)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self.names[name] = self._value(value)
            case ast.Expr(value=ast.Call() as value):
                if isinstance(found := self._value(value), Declared):
                    self.names[f"line {statement.lineno}"] = found
            case ast.FunctionDef(decorator_list=decorators):
                for decorator in decorators:
                    self._decorated(statement, decorator)
            case ast.For() | ast.If() | ast.With() | ast.While() | ast.Try():
                if any(isinstance(node, ast.Call) and _called(node.func) in DECLARATIONS for node in ast.walk(statement)):
                    kind = type(statement).__name__.lower()
                    self.notes.append(f"{self.shown}:{statement.lineno}: declarations inside a {kind} are not read")
            case _:
                pass  # anything else declares nothing

    def _decorated(self, function: ast.FunctionDef, decorator: ast.expr) -> None:
        if isinstance(decorator, ast.Call) and _called(decorator.func) in _DECORATORS:
            declared = self._declared(decorator, _called(decorator.func))
            named = Declared(kind=declared.kind, place=declared.place, values={"name": function.name, **declared.values})
            self.functions.append((named, ast.get_source_segment(self.text, function) or ""))

    def _declared(self, call: ast.Call, kind: str) -> Declared:
        values = {one.arg: self._value(one.value) for one in call.keywords if one.arg}
        if call.args and kind in {"Field", "Entity", "FeatureView", "FileSource", "FeatureService"}:
            values.setdefault("name", self._value(call.args[0]))
        return Declared(kind=kind, place=f"{self.shown}:{call.lineno}", values=values)

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return Reference(name)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._value(one) for one in items]
            case ast.Dict(keys=keys, values=values) if all(key is not None for key in keys):
                return {
                    self._value(key): self._value(value) for key, value in zip(keys, values, strict=True) if isinstance(key, ast.Constant)
                }
            case ast.Call(func=called) if _called(called) == "timedelta":
                return self._span(node)
            case ast.Call(func=called) if _called(called) in DECLARATIONS:
                return self._declared(node, _called(called))
            case ast.Subscript(value=view, slice=ast.List(elts=items)):
                names = tuple(one.value for one in items if isinstance(one, ast.Constant) and isinstance(one.value, str))
                return Projection(self._value(view), names)
            case _:
                return Unknown(ast.unparse(node))

    def _span(self, node: ast.Call) -> Any:
        seconds = 0.0
        named = [*zip(("days", "seconds"), node.args, strict=False), *((one.arg, one.value) for one in node.keywords)]
        for unit, value in named:
            number = self._value(value)
            if unit not in _SPANS or isinstance(number, bool) or not isinstance(number, int | float):
                return Unknown(ast.unparse(node))
            seconds += _SPANS[unit] * number
        return seconds


def _called(node: ast.expr) -> str:
    """Return the last name of what is called: `feast.Entity` and `Entity` are the same."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
