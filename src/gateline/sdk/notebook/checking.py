"""What makes a saved notebook doubtful: was it run from top to bottom, and could it be?

| code | severity | what it says |
| --- | --- | --- |
| not-python | error | a cell is no Python |
| used-before-defined | error | a cell needs a name that only a later cell defines |
| undefined | error | a cell needs a name that no cell defines |
| no-code | error | there is no cell with code |
| out-of-order | warning | a cell was run before one that stands above it |
| not-run | warning | a cell was not run, but others were |
| run-again | warning | execution counts are missing: cells were run more than once, changed, or deleted after they had run |
| several-kernels | warning | two cells have the same execution count |
| stale-output | warning | an output was saved by another execution than that of its cell |
| failed | warning | a cell ended with an exception |
| secret | warning | a cell holds what looks like a password, token or key |
| magic | note | lines are commands to IPython or the shell, not Python |
| star-import | note | `from … import *` hides which names are defined |
| large-outputs | note | outputs take more than 10 MiB |
| never-run | note | no cell has been run |
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gateline.sdk.notebook.names import BUILTINS, Names, names_of
from gateline.sdk.notebook.python import read_code
from gateline.sdk.notebook.redacting import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateline.sdk.notebook.python import Code
    from gateline.sdk.notebook.reading import Cell, Notebook

SECRET = "secret"
_OUTPUTS_BYTES_LARGE = 10 << 20


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something doubtful.

    Attributes:
        code: What kind it is.
        severity: An error cannot run from top to bottom; a warning may have other results than saved; a note is only to be known.
        cell: Number of the cell, from 1, text cells included; None when it is about the whole notebook.
        message: What was found, and what to do about it.
    """

    code: str
    severity: Severity
    cell: int | None
    message: str

    def as_dict(self) -> dict[str, Any]:
        """Return the finding for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.severity:<7} {'notebook' if self.cell is None else f'cell {self.cell}'}: {self.message} [{self.code}]"


def check_notebook(notebook: Notebook) -> list[Finding]:
    """Return what is doubtful about a saved notebook, by cell; nothing when it was run once from top to bottom and can be again."""
    clean, secrets = _without_secrets(notebook)
    found = [*secrets, *_order(clean), *_outputs(clean), *_names(clean)]
    if not notebook.code:
        found.append(_whole("no-code", Severity.ERROR, "There is no cell with code."))
    return sorted(found, key=lambda one: (one.cell is not None, one.cell or 0))


def _whole(code: str, severity: Severity, message: str) -> Finding:
    return Finding(code=code, severity=severity, cell=None, message=message)


def _warn(code: str, cell: Cell, message: str) -> Finding:
    return Finding(code=code, severity=Severity.WARNING, cell=cell.number, message=message)


def _without_secrets(notebook: Notebook) -> tuple[Notebook, list[Finding]]:
    """Return the notebook without secrets, so that no other finding quotes them, and where they stood."""
    cells, found = [], []
    for cell in notebook.cells:
        source, kinds = redact(cell.source)
        cells.append(replace(cell, source=source))
        if cell.code and kinds:
            what = f"it holds what looks like a secret ({', '.join(kinds)}), which is not kept with a run."
            found.append(_warn(SECRET, cell, f"{what} Change it, and read it from the environment."))
    return replace(notebook, cells=tuple(cells)), found


def _order(notebook: Notebook) -> Iterator[Finding]:
    """Compare execution counts with the order of the document."""
    run = [cell for cell in notebook.code if cell.count is not None]
    if not run:
        if notebook.code:
            yield _whole("never-run", Severity.NOTE, "No cell has been run, so that nothing is known of an order.")
        return
    for cell in notebook.code:
        if cell.count is None:
            yield _warn("not-run", cell, "it was not run, or changed afterwards; others were run.")
    highest = run[0]
    for cell in run[1:]:
        if (cell.count or 0) < (highest.count or 0):
            yield _warn(
                "out-of-order", cell, f"it ran as number {cell.count}, before cell {highest.number} above it (number {highest.count})."
            )
        else:
            highest = cell
    counts = Counter(cell.count for cell in run if cell.count is not None)
    for count, number in sorted(counts.items()):
        if number > 1:
            cells = ", ".join(str(cell.number) for cell in run if cell.count == count)
            yield _whole("several-kernels", Severity.WARNING, f"Cells {cells} all ran as number {count}: not in one kernel.")
    gaps = [(first + 1, second - 1) for first, second in pairwise([0, *sorted(counts)]) if second > first + 1]
    if gaps:
        told = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in gaps[:20])
        message = f"Executions {told} left no cell: cells were run again, changed or deleted. Restart the kernel and run all."
        yield _whole("run-again", Severity.WARNING, message)


def _outputs(notebook: Notebook) -> Iterator[Finding]:
    for cell in notebook.code:
        stale = [count for count in cell.output_counts if count != cell.count]
        if stale:
            yield _warn("stale-output", cell, f"its output is of execution {stale[0] or 'none'}, the cell of {cell.count or 'none'}.")
        if cell.failed:
            yield _warn("failed", cell, f"it ended with {cell.failed}.")
    size = sum(cell.output_bytes for cell in notebook.code)
    if size > _OUTPUTS_BYTES_LARGE:
        yield _whole("large-outputs", Severity.NOTE, f"Outputs take {size >> 20} MiB; they are not read.")


def _names(notebook: Notebook) -> Iterator[Finding]:
    """Follow names from the first cell to the last."""
    read = [(cell, code, names_of(one.node for one in code.statements)) for cell in notebook.code for code in [read_code(cell.source)]]
    starred = any(names.stars for _, _, names in read)
    known: set[str] = set()
    for position, (cell, code, names) in enumerate(read):
        yield from _about_code(cell, code, names)
        later = {name: other.number for other, _, one in reversed(read[position + 1 :]) for name in one.writes}
        deferred = sorted(names.later - names.writes - known - later.keys() - set(names.reads))
        for name in [*names.reads, *deferred]:
            if name in known or name in BUILTINS or starred or name in names.perhaps:
                continue
            if name in later:
                message = f"it needs '{name}', which only cell {later[name]} below defines."
                yield Finding(code="used-before-defined", severity=Severity.ERROR, cell=cell.number, message=message)
            else:
                hint = " (a magic or shell line may have)" if any(code.magics for _, code, _ in read) else ""
                message = f"it needs '{name}', which no cell {'above ' if name in names.writes else ''}defines{hint}."
                yield Finding(code="undefined", severity=Severity.ERROR, cell=cell.number, message=message)
        known = (known | names.writes) - names.deletes


def _about_code(cell: Cell, code: Code, names: Names) -> Iterator[Finding]:
    if code.mistake:
        yield Finding(code="not-python", severity=Severity.ERROR, cell=cell.number, message=f"it is no Python: {code.mistake}.")
    if code.magics:
        told = "; ".join(line[:80] for line in code.magics[:5]) + (f"; and {len(code.magics) - 5} more" if len(code.magics) > 5 else "")
        yield Finding(code="magic", severity=Severity.NOTE, cell=cell.number, message=f"not Python but commands: {told}")
    if names.stars:
        message = f"everything is imported from {', '.join(sorted(names.stars))}; undefined names are not looked for."
        yield Finding(code="star-import", severity=Severity.NOTE, cell=cell.number, message=message)
