"""Which names statements read, write and change, found by their syntax in the order of evaluation."""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__", "display"}
_CHANGING = frozenset({
    "add", "append", "clear", "drop_inplace", "extend", "fit", "fit_predict", "fit_transform", "insert", "partial_fit", "pop", "popitem",
    "remove", "reverse", "setdefault", "set_params", "shuffle", "sort", "train", "update",
})  # fmt: skip
_HARMLESS = frozenset({"mlflow", "print", "display", "plt", "sns"})


@dataclass(slots=True, kw_only=True)
class Names:
    """What statements do with names of their scope.

    Attributes:
        reads: Names that may be read before they are written, in order.
        later: Names that only bodies of functions read, which run when they are called.
        perhaps: Those of `reads` that something above them may have bound, such as a branch.
        writes: Names that may be bound.
        definite: Names that are bound whatever happens.
        changes: Names whose value may be changed in place.
        deletes: Names that are unbound.
        stars: Modules of `from … import *`.
    """

    reads: list[str] = field(default_factory=list)
    later: set[str] = field(default_factory=set)
    perhaps: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    definite: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    deletes: set[str] = field(default_factory=set)
    stars: set[str] = field(default_factory=set)


def names_of(nodes: Iterable[ast.AST]) -> Names:
    """Return what statements in sequence do with names.

    >>> found = names_of(ast.parse("y = x + 1; model.fit(y)").body)
    >>> found.reads, sorted(found.writes), sorted(found.changes)
    (['x', 'model'], ['y'], ['model'])
    """
    visitor = _Visitor()
    for node in nodes:
        visitor.visit(node)
    return visitor.found


def free_names(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> set[str]:
    """Return the names that a definition takes from outside, builtins left out."""
    found = names_of([node])
    return (set(found.reads) | found.later) - BUILTINS - {node.name}


def assigns_globals(nodes: Iterable[ast.AST]) -> set[str]:
    """Return names that functions declare `global`."""
    return {name for node in nodes for one in ast.walk(node) if isinstance(one, ast.Global) for name in one.names}


class _Visitor(ast.NodeVisitor):
    """Visits in the order of evaluation. Branches may not run: what they bind is not definite after them."""

    def __init__(self) -> None:
        self.found = Names()

    def _read(self, name: str) -> None:
        if name not in self.found.definite and name not in self.found.reads:
            self.found.reads.append(name)
            if name in self.found.writes - self.found.deletes:
                self.found.perhaps.add(name)

    def _write(self, name: str) -> None:
        self.found.writes.add(name)
        self.found.definite.add(name)
        self.found.deletes.discard(name)

    def _all(self, nodes: Sequence[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def _branches(self, *branches: Sequence[ast.AST]) -> None:
        """Visit alternatives; bound afterwards is what each of them binds."""
        before = set(self.found.definite)
        ends = []
        for branch in branches:
            self.found.definite = set(before)
            self._all(branch)
            ends.append(self.found.definite)
        self.found.definite = set.intersection(*ends) if ends else before

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._read(node.id)
        elif isinstance(node.ctx, ast.Store):
            self._write(node.id)
        else:
            self._read(node.id)
            self.found.definite.discard(node.id)
            self.found.deletes.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._changed(node)
        self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self._changed(node)
        self._all([node.value, node.slice])

    def _changed(self, node: ast.Attribute | ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.found.changes |= _root(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING:
            self.found.changes |= _root(node.func)
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        call = node.value
        if isinstance(call, ast.Call) and not _root(call.func) & _HARMLESS:
            self.found.changes |= _root(call.func) if isinstance(call.func, ast.Attribute) else set()
            given = [*call.args, *(one.value for one in call.keywords)]
            self.found.changes |= {one.id for one in given if isinstance(one, ast.Name)}
        self.visit(call)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._all([node.value, *node.targets])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._read(node.target.id)
            self.found.changes.add(node.target.id)
        self._all([node.value, node.target])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._all([node.annotation, node.value])
        if node.value is not None or not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._all([node.value, node.target])

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self._branches(node.body, node.orelse)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self._branches([node.body], [node.orelse])

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self._branches([node.target, *node.body], [])
        self._all(node.orelse)

    visit_AsyncFor = visit_For  # noqa: N815

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._branches(node.body, [])
        self._all(node.orelse)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self._all([item.context_expr, item.optional_vars])
        self._all(node.body)

    visit_AsyncWith = visit_With  # noqa: N815

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        self._branches([*node.body, *node.orelse], *([one] for one in node.handlers), *([] if node.handlers else [[]]))
        self._all(node.finalbody)

    visit_TryStar = visit_Try  # noqa: N815

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._all([node.type])
        if node.name:
            self.found.definite.add(node.name)
        self._all(node.body)
        if node.name:
            self.found.definite.discard(node.name)

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        self._branches(*([one] for one in node.cases), [])

    def visit_match_case(self, node: ast.match_case) -> None:
        for one in ast.walk(node.pattern):
            name = getattr(one, "name", None) or getattr(one, "rest", None)
            if isinstance(name, str):
                self._write(name)
            elif isinstance(one, ast.MatchValue | ast.MatchClass):
                self.visit(one.value if isinstance(one, ast.MatchValue) else one.cls)
        self._all([node.guard, *node.body])

    def visit_Import(self, node: ast.Import) -> None:
        for one in node.names:
            self._write(one.asname or one.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for one in node.names:
            if one.name == "*":
                self.found.stars.add(node.module or ".")
            else:
                self._write(one.asname or one.name)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._all([*node.decorator_list, node.returns])
        self._defaults(node.args, annotations=True)
        self._write(node.name)
        self._body(node.args, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._defaults(node.args, annotations=False)
        self._body(node.args, [node.body])

    def _defaults(self, arguments: ast.arguments, *, annotations: bool) -> None:
        self._all([*arguments.defaults, *arguments.kw_defaults])
        if annotations:
            self._all([one.annotation for one in _parameters(arguments)])

    def _body(self, arguments: ast.arguments, body: Sequence[ast.AST]) -> None:
        """Note what a body takes from outside when it is called."""
        inner = names_of(body)
        nonlocals = [one for node in body for one in ast.walk(node) if isinstance(one, ast.Nonlocal)]
        outside = assigns_globals(body) | {name for one in nonlocals for name in one.names}
        local = ({one.arg for one in _parameters(arguments)} | inner.writes | inner.deletes) - outside
        self.found.later |= ((set(inner.reads) | inner.later) - local) | outside
        self.found.changes |= inner.changes - local

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._all([*node.decorator_list, *node.bases, *(one.value for one in node.keywords)])
        inner = names_of(node.body)
        for name in inner.reads:
            self._read(name)
        self.found.later |= inner.later - {"__class__"}
        self._write(node.name)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        inner = _Visitor()
        inner.found.definite = set(self.found.definite)
        for one in node.generators:
            inner._all([one.iter, one.target, *one.ifs])
        inner._all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        for name in inner.found.reads:
            self._read(name)
        self.found.later |= inner.found.later
        self.found.changes |= inner.found.changes - inner.found.writes
        for inside in ast.walk(node):
            if isinstance(inside, ast.NamedExpr):
                self.found.writes.add(inside.target.id)

    visit_ListComp = _comprehension  # noqa: N815
    visit_SetComp = _comprehension  # noqa: N815
    visit_DictComp = _comprehension  # noqa: N815
    visit_GeneratorExp = _comprehension  # noqa: N815


def _parameters(arguments: ast.arguments) -> list[ast.arg]:
    more = [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *more]


def _root(node: ast.AST) -> set[str]:
    """Return the name that an attribute, an element or a chain of calls begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return {node.id} if isinstance(node, ast.Name) else set()
