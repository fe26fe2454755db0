"""What is Python in a cell: magics and shell lines are taken out, statements are taken apart."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

_KEPT_CELL_MAGICS = ("%%time", "%%capture")  # they run the cell as it is
_MAGIC = re.compile(r"^(\s*)(?:[%!].*|[\w.,\s]+=\s*(?:!|%[A-Za-z]).*|\?{1,2}[\w.]+.*|[\w.]+\?{1,2}\s*)$")
_OF_IPYTHON = frozenset({"get_ipython", "In", "Out"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement at the top level of a cell.

    Attributes:
        node: Its syntax tree.
        source: Its text, with the comments directly above it; it can be indented without a change of meaning.
    """

    node: ast.stmt
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """The Python of a cell.

    Attributes:
        statements: In order; none when the cell cannot be read.
        magics: The lines that are no Python but commands to IPython or the shell.
        mistake: Why the cell is no Python; empty when it is.
    """

    statements: tuple[Statement, ...]
    magics: tuple[str, ...] = ()
    mistake: str = ""


def read_code(source: str) -> Code:
    """Take a cell apart.

    >>> found = read_code("%matplotlib inline\\nx = 1")
    >>> found.magics, [one.source for one in found.statements]
    (('%matplotlib inline',), ['x = 1'])
    """
    if source.lstrip().startswith("%%"):
        first, _, rest = source.lstrip().partition("\n")
        if first.split()[0] not in _KEPT_CELL_MAGICS:
            return Code(statements=(), magics=tuple(source.strip().splitlines()))
        inner = read_code(rest)
        return Code(statements=inner.statements, magics=(first, *inner.magics), mistake=inner.mistake)
    magics: tuple[str, ...] = ()
    text = source
    try:
        tree = _parsed(text)
    except _UNREADABLE as error:
        text, magics = _without_magics(source)
        if not magics:
            return Code(statements=(), mistake=_told(error))
        try:
            tree = _parsed(text)
        except _UNREADABLE as later:
            return Code(statements=(), magics=magics, mistake=_told(later))
    mistake = _mistake(tree)
    if mistake:
        return Code(statements=(), magics=magics, mistake=mistake)
    kept, dropped = _taken_apart(tree, text)
    return Code(statements=kept, magics=(*magics, *dropped))


_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # what the parser raises on any text


def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _told(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.msg}, line {error.lineno}"
    return f"{error}" if isinstance(error, ValueError) else "it is nested too deep"


def _without_magics(source: str) -> tuple[str, tuple[str, ...]]:
    """Replace lines that look like commands by `pass`."""
    found, lines = [], []
    pending = ""  # a shell line may go on after a backslash
    for line in source.split("\n"):
        match = _MAGIC.match(line)
        if pending or match:
            found.append(line.strip())
            lines.append(f"{match.group(1) if match and not pending else ''}pass" if not pending else "")
            pending = line.rstrip()[-1:] if line.rstrip().endswith("\\") else ""
        else:
            lines.append(line)
    return "\n".join(lines), tuple(found)


def _mistake(tree: ast.Module) -> str:
    """Return why statements that can be parsed cannot stand at the top level of a function or a module."""
    for node in _top_level_nodes(tree):
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            return f"await outside a function, line {node.lineno}: write asyncio.run(…)"
        if isinstance(node, ast.Return | ast.Yield | ast.YieldFrom):
            return f"'{'return' if isinstance(node, ast.Return) else 'yield'}' outside function, line {node.lineno}"
    return ""


def _top_level_nodes(tree: ast.Module) -> list[ast.AST]:
    """Return all nodes that no function holds."""
    found: list[ast.AST] = []
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        found.append(node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            pending += ast.iter_child_nodes(node)
    return found


def _taken_apart(tree: ast.Module, text: str) -> tuple[tuple[Statement, ...], tuple[str, ...]]:
    """Return the statements, and those that talk to IPython."""
    lines = text.split("\n")
    kept, dropped, end = [], [], 0
    for position, node in enumerate(tree.body):
        first, last = _first_line(node), node.end_lineno or node.lineno
        following = tree.body[position + 1].lineno if position + 1 < len(tree.body) else last + 1
        above = [line for line in lines[end : first - 1] if line.lstrip().startswith("#")]
        alone = end < first and following > last and not _spans_lines(node)
        body = "\n".join(lines[first - 1 : last]) if alone else ast.unparse(node)
        end = last
        if isinstance(node, ast.Pass):
            continue
        if any(isinstance(one, ast.Name) and one.id in _OF_IPYTHON for one in ast.walk(node)):
            dropped.append(body)
        else:
            kept.append(Statement(node=node, source="\n".join([*above, body])))
    return tuple(kept), tuple(dropped)


def _first_line(node: ast.stmt) -> int:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return min([node.lineno, *(one.lineno for one in node.decorator_list)])
    return node.lineno


def _spans_lines(node: ast.stmt) -> bool:
    """Whether a text of several lines, which must not be indented, is part of a statement."""
    found = [one for one in ast.walk(node) if isinstance(one, ast.JoinedStr | ast.Constant)]
    texts = [one for one in found if isinstance(one, ast.JoinedStr) or isinstance(one.value, str | bytes)]
    return any(one.end_lineno != one.lineno for one in texts)
