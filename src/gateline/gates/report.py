"""A gate run as text for a terminal."""

from __future__ import annotations

import textwrap

from gateline.gates.model import CheckResult, GateRun, Sense, Verdict
from gateline.kernel.clock import SECOND

_MARKS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.INCONCLUSIVE: "?", Verdict.ERROR: "!"}
_WIDTH = 110
_Cells = tuple[str, ...]


def table(run: GateRun, *, width: int = _WIDTH) -> str:
    """Return the run as a table: one line of numbers for each check, its sentence below, and the overall verdict last."""
    rows: list[_Cells] = [("", "check", "verdict", "value", "interval", "required", "n", "units")]
    rows += [_cells(one) for one in run.results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(rows[0], widths, strict=True)).rstrip()]
    for result, row in zip(run.results, rows[1:], strict=True):
        lines.append("  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip())
        lines += textwrap.wrap(result.sentence + ".", width, initial_indent=" " * 3, subsequent_indent=" " * 3)
    seconds = (run.finished_at - run.started_at) / SECOND
    subject = run.subject.version or f"model {run.subject_digest[:12]}"
    lines.append(
        f"{_MARKS[run.verdict]}  {run.verdict.value.upper()}: {subject} on holdout {run.frame[:12]} by policy {run.policy_digest[:12]} "
        f"in {seconds:.1f} s ({run.id})"
    )
    return "\n".join(lines)


def _cells(result: CheckResult) -> _Cells:
    interval = f"[{_number(result.interval[0])}, {_number(result.interval[1])}]" if result.interval else "-"
    required = "-"
    if result.threshold is not None:
        required = f"{'at least' if result.sense is Sense.AT_LEAST else 'at most'} {_number(result.threshold)}"
    value = "-" if result.value is None else _number(result.value)
    units = "-" if result.units is None else f"{result.units:,}"
    return (_MARKS[result.verdict], result.name, result.verdict.value, value, interval, required, f"{result.n:,}", units)


def _number(value: float) -> str:
    """Return a number with four significant digits.

    >>> _number(0.06123), _number(12.3456), _number(0.0)
    ('0.06123', '12.35', '0')
    """
    return f"{value:.4g}"
