"""Saved notebooks: `.ipynb` of format 4, read with limits and without any library of Jupyter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import digest
from gateline.kernel.errors import InvalidInput, NotFound, TooLarge
from gateline.kernel.limits import NOTEBOOK_BYTES_MAX, NOTEBOOK_CELLS_MAX, NOTEBOOK_SOURCE_BYTES_MAX
from gateline.sdk.notebook.redacting import redact

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_FORMAT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell.

    Attributes:
        number: Its place in the notebook, from 1, text cells included.
        code: Whether it is code, else text in Markdown.
        source: What it says; blanks at the end do not count.
        count: The execution count that it was saved with; None when it was not run.
        tags: Its tags.
        output_counts: The execution counts that its results were saved with.
        output_bytes: Size of its outputs as JSON text, or somewhat less.
        failed: Name of the exception that it was saved with; empty when there is none.
    """

    number: int
    code: bool
    source: str
    count: int | None = None
    tags: tuple[str, ...] = ()
    output_counts: tuple[int | None, ...] = ()
    output_bytes: int = 0
    failed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notebook:
    """A saved notebook.

    Attributes:
        name: Name of its file without the ending.
        cells: Its cells in the order of the document.
    """

    name: str
    cells: tuple[Cell, ...]

    @property
    def code(self) -> tuple[Cell, ...]:
        """The cells with code, in the order of the document; empty ones do not count."""
        return tuple(cell for cell in self.cells if cell.code and cell.source.strip())

    @property
    def sha256(self) -> str:
        """Digest of the cells that were run, in the order in which they were."""
        return cells_digest((cell.count, cell.source) for cell in sorted(self.code, key=lambda one: one.count or 0) if cell.count)


def cells_digest(cells: Iterable[tuple[int | None, str]]) -> str:
    """Return the digest of execution counts and sources in order of execution: equal in a kernel and in what was saved of it.

    Secrets do not count: the digest is that of what is kept, so that nobody can try out secrets on it.
    """
    return digest("notebook/1", [{"count": count, "source": redact(source.rstrip())[0]} for count, source in cells])


def read_notebook(path: Path) -> Notebook:
    """Read a saved notebook.

    Raises:
        NotFound: there is no such file.
        TooLarge: it is larger than 256 MiB, has more than 10,000 cells or more than 4 MiB of sources.
        InvalidInput: it is no notebook of format 4, or not one of Python.
    """
    if not path.is_file():
        raise NotFound(f"There is no notebook {path}.", next_step="Give the path of a saved .ipynb file.")
    if path.stat().st_size > NOTEBOOK_BYTES_MAX:
        raise TooLarge(f"{path} is larger than {NOTEBOOK_BYTES_MAX >> 20} MiB.", next_step="Clear its outputs and save it again.")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is no JSON, so that it is no notebook: {error}.", next_step="Give a saved .ipynb file.") from error
    _check_format(document, path)
    raw = document["cells"]
    if len(raw) > NOTEBOOK_CELLS_MAX:
        raise TooLarge(f"{path} has {len(raw):,} cells; {NOTEBOOK_CELLS_MAX:,} are allowed.", next_step="Split the notebook.")
    cells = tuple(_cell(one, number, path) for number, one in enumerate(raw, 1) if not _is_raw(one))
    if sum(len(cell.source) for cell in cells) > NOTEBOOK_SOURCE_BYTES_MAX:
        raise TooLarge(
            f"The cells of {path} hold more than {NOTEBOOK_SOURCE_BYTES_MAX >> 20} MiB of text.", next_step="Keep data in files."
        )
    return Notebook(name=path.stem, cells=cells)


def _check_format(document: Any, path: Path) -> None:
    """Refuse what is no notebook of format 4 in Python."""
    found = document.get("nbformat") if isinstance(document, dict) else None
    if not isinstance(found, int):
        raise InvalidInput(f"{path} is JSON but no notebook: it has no number 'nbformat'.", next_step="Give a saved .ipynb file.")
    if found != _FORMAT:
        next_step = f"Convert it: jupyter nbconvert --to notebook --nbformat {_FORMAT} --inplace '{path}'"
        raise InvalidInput(f"{path} is a notebook of format {found}; format {_FORMAT} is read.", next_step=next_step)
    if not isinstance(document.get("cells"), list):
        raise InvalidInput(f"{path} is no notebook: it has no list 'cells'.", next_step="Save it again with Jupyter.")
    metadata = _mapping(document.get("metadata"))
    language = _mapping(metadata.get("kernelspec")).get("language") or _mapping(metadata.get("language_info")).get("name") or "python"
    if str(language).lower() not in {"python", "ipython", "python3"}:
        raise InvalidInput(f"{path} is a notebook of {language!s:.40}, not of Python.")


def _is_raw(raw: Any) -> bool:
    return isinstance(raw, dict) and raw.get("cell_type") == "raw"


def _cell(raw: Any, number: int, path: Path) -> Cell:
    kind = raw.get("cell_type") if isinstance(raw, dict) else None
    source = raw.get("source", "") if isinstance(raw, dict) else None
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if kind not in {"code", "markdown"} or not isinstance(source, str):
        raise InvalidInput(f"Cell {number} of {path} is neither code nor text.", next_step="Save the notebook again with Jupyter.")
    source = source.replace("\r\n", "\n").replace("\r", "\n").rstrip()
    tags = _mapping(raw.get("metadata")).get("tags")
    marked = tuple(one for one in tags if isinstance(one, str)) if isinstance(tags, list) else ()
    if kind == "markdown":
        return Cell(number=number, code=False, source=source, tags=marked)
    outputs = raw.get("outputs")
    listed = [one for one in outputs if isinstance(one, dict)] if isinstance(outputs, list) else []
    return Cell(
        number=number,
        code=True,
        source=source,
        count=_count(raw.get("execution_count")),
        tags=marked,
        output_counts=tuple(_count(one.get("execution_count")) for one in listed if one.get("output_type") == "execute_result"),
        output_bytes=sum(_size(one) for one in listed),
        failed=next((str(one.get("ename") or "error")[:100] for one in listed if one.get("output_type") == "error"), ""),
    )


def _size(value: Any) -> int:
    """Return about how much text a JSON value holds."""
    pending, size = [value], 0
    while pending:
        one = pending.pop()
        if isinstance(one, str):
            size += len(one)
        elif isinstance(one, dict):
            pending += [*one, *one.values()]
        elif isinstance(one, list):
            pending += one
    return size


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
