"""What sections read and write beside their variables: files, addresses, databases and other programs, found by their syntax.

It errs towards finding something: a section that is held for one that reads a file is only not cached.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateline.sdk.notebook.checking import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateline.sdk.notebook.sections import Parts, Section

_READING = re.compile(r"read(_\w+|lines?)?|scan_\w+|load(txt|_\w+)?|fetch\w*|download\w*|imread|i?glob|rglob|iterdir|listdir|scandir|walk")
_ALSO_READING = frozenset({"exists", "fromfile", "genfromtxt", "getsize", "is_dir", "is_file", "memmap", "open_dataset", "stat", "urlopen"})
_WRITING = re.compile(r"(write|sink)(_\w+|lines)?|save\w*|im(write|save)|rm(dir|tree)|mkdir|makedirs|extractall")
_ALSO_WRITING = frozenset({"dump", "rename", "symlink_to", "tofile", "touch", "truncate", "unlink", "urlretrieve"})
_TEXT_OR_FILE = frozenset({"to_csv", "to_html", "to_json", "to_latex", "to_markdown", "to_xml"})  # without a path they return text
_EXPORTING = frozenset({"to_excel", "to_feather", "to_file", "to_gbq", "to_hdf", "to_netcdf", "to_orc", "to_parquet", "to_pickle", "to_sql",
                        "to_stata", "to_zarr"})  # fmt: skip
_READING_MODULES = frozenset({"aiohttp", "ftplib", "gdown", "httpx", "huggingface_hub", "kaggle", "requests", "socket", "urllib", "wget"})
_MODULES = frozenset({"boto3", "duckdb", "fsspec", "gcsfs", "h5py", "psycopg", "psycopg2", "pymongo", "pymysql", "redis", "s3fs", "shutil",
                      "sqlalchemy", "sqlite3", "subprocess", "tarfile", "tempfile", "zarr", "zipfile"})  # fmt: skip
_OF_OS = frozenset({"os.popen", "os.remove", "os.replace", "os.system"})
_HARMLESS = re.compile(
    r"(urllib\.parse|sklearn\.datasets\.load_|sqlalchemy\.(select|func|text)\b|os\.path\.(?!exists|is|getsize)|mlflow\.).*"
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.+", re.DOTALL)
_MODE = re.compile(r"[rwaxbt+]{1,3}")
_PATH = re.compile(r"[^%\n]*[./\\][^%\n]*[^%\n.]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a section reads and writes: paths and addresses as they stand in its text; empty text for one that does not stand there."""

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether it reads or writes anything."""
        return bool(self.reads or self.writes)

    def __or__(self, other: Outside) -> Outside:
        """Return what either of them reads and writes."""
        return Outside(reads=self.reads | other.reads, writes=self.writes | other.writes)


def outside_of(parts: Parts) -> list[Outside]:
    """Return for each section what it reads and writes, by itself or through a function at the top of the module."""
    everything = [one.node for one in (*parts.top, *(one for section in parts.sections for one in section.statements))]
    seeker = _Seeker(everything, {name: value for name, value in parts.parameters.items() if isinstance(value, str)})
    defined = {one.node.name: one.node for one in parts.top if isinstance(one.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    return [seeker.found([one.node for one in section.statements], defined) for section in parts.sections]


def hidden_edges(parts: Parts, outside: list[Outside]) -> list[tuple[Section, Finding]]:
    """Return for each section that may read what an earlier one writes a finding that says so."""
    found = []
    for number, (section, mine) in enumerate(zip(parts.sections, outside, strict=True)):
        for before, other in zip(parts.sections[:number], outside[:number], strict=True):
            shared = sorted((mine.reads & other.writes) - {""})
            unsure = ("" in mine.reads and other.writes) or ("" in other.writes and mine.reads)
            if not shared and not unsure:
                continue
            what = f"it reads {', '.join(map(repr, shared))}, which" if shared else "it reads files, which may be those that"
            message = (
                f"{what} section '{before.title or 'before the first heading'}' (cell {before.cells[0]}) writes: no argument of its step "
                "says so, so that the steps may run in another order or place. Return the value, or the path, from the one to the other."
            )
            found.append((section, Finding(code="hidden-file", severity=Severity.WARNING, cell=section.cells[0], message=message)))
    return found


class _Seeker:
    """Finds calls that read and write.

    Args:
        nodes: All statements of the notebook: what their imports call modules, and which texts their variables hold.
        texts: Values of parameters that are texts.
    """

    def __init__(self, nodes: Iterable[ast.AST], texts: dict[str, str]) -> None:
        self._modules: dict[str, str] = {}
        self._texts: dict[str, set[str]] = {name: {text} for name, text in texts.items()}
        for node in (inner for outer in nodes for inner in ast.walk(outer)):
            if isinstance(node, ast.Import):
                self._modules |= {one.asname or one.name.partition(".")[0]: one.name if one.asname else "" for one in node.names}
            elif isinstance(node, ast.ImportFrom):
                self._modules |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
            elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                self._texts.setdefault(node.targets[0].id, set()).update(_texts(node.value))

    def found(self, nodes: list[ast.stmt], defined: Mapping[str, ast.stmt]) -> Outside:
        """Return what statements read and write, and what the definitions do that they use."""
        found, pending, seen = Outside(), list(nodes), set[str]()
        while pending:
            for node in ast.walk(pending.pop()):
                if isinstance(node, ast.Call):
                    found |= self._call(node)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _ADDRESS.fullmatch(node.value):
                    found |= Outside(reads=frozenset({node.value}))
                elif isinstance(node, ast.Name) and node.id in defined and node.id not in seen:
                    seen.add(node.id)
                    pending.append(defined[node.id])
        return found

    def _call(self, call: ast.Call) -> Outside:
        reads, writes = _does(call, self._dotted(call.func))
        if not reads and not writes:
            return Outside()
        named = _texts(call).union(*(self._texts.get(one.id, ()) for one in ast.walk(call) if isinstance(one, ast.Name)))
        paths = frozenset(text for text in named if _PATH.fullmatch(text)) or frozenset({""})
        return Outside(reads=paths if reads else frozenset(), writes=paths if writes else frozenset())

    def _dotted(self, node: ast.expr) -> str:
        """Return what is called as dotted name, with the module's own name; '?' for what an expression gives."""
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        root = (self._modules.get(node.id) or node.id) if isinstance(node, ast.Name) else "?"
        return ".".join([root, *reversed(names)])


def _does(call: ast.Call, dotted: str) -> tuple[bool, bool]:
    """Return whether a call reads, and whether it writes."""
    module, last = dotted.partition(".")[0], dotted.rpartition(".")[2]
    if _HARMLESS.fullmatch(dotted):
        return False, False
    if last in {"open", "ZipFile"}:
        given = [one.value for one in (*call.args, *(one.value for one in call.keywords)) if isinstance(one, ast.Constant)]
        mode = "".join(one for one in given if isinstance(one, str) and _MODE.fullmatch(one))
        return not mode or bool(set(mode) & set("r+")), bool(set(mode) & set("wax+"))
    if module in _MODULES or dotted in _OF_OS:
        return True, True
    reads = module in _READING_MODULES or bool(_READING.fullmatch(last)) or last in _ALSO_READING
    writes = bool(_WRITING.fullmatch(last)) or last in _ALSO_WRITING | _EXPORTING
    return reads, writes or (last in _TEXT_OR_FILE and bool(call.args or call.keywords))


def _texts(node: ast.AST) -> set[str]:
    return {one.value for one in _walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and what is in it, but for parts of texts that are put together when the code runs."""
    yield node
    for inner in () if isinstance(node, ast.JoinedStr) else ast.iter_child_nodes(node):
        yield from _walk(inner)
