"""Runs, comparisons and metric histories as text for a terminal."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from gateline.cli.output import table
from gateline.kernel.clock import iso
from gateline.kernel.run_names import NOTE_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RESOURCES = "resources."
_VALUE_LENGTH_MAX = 60
_WIDTH, _HEIGHT = 72, 12
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_ORDER_METRIC = re.compile(r"metrics?\.(?P<name>`[^`]+`|\"[^\"]+\"|\S+)")


def listed(page: Mapping[str, Any], order_by: Sequence[str]) -> str:
    """Return a page of runs as a table, with the metrics they are ordered by."""
    if not page["runs"]:
        return "There are no such runs."
    shown = [found["name"].strip('`"') for found in map(_ORDER_METRIC.match, order_by) if found]
    rows = [
        {**run, **{name: run["metrics"].get(name) for name in shown}, "started": iso(run["started_at"])[:19] + "Z",
         "frozen": "yes" if run["frozen"] else "no"}
        for run in page["runs"]
    ]  # fmt: skip
    text = table(rows, ["run_id", "experiment", "name", "status", "user", "started", "frozen", *shown])
    return f"{text}\nThere are more: --page-token {page['next_page_token']}" if page["next_page_token"] else text


def told(run: Mapping[str, Any]) -> str:
    """Return a run as lines of text."""
    environment = run["environment_digest"] or run["tags"].get("environment.sha256") or "unknown"
    ended = "still running" if run["ended_at"] is None else f"ended {iso(run['ended_at'])}"
    lines = [
        f"Run {run['run_id']} '{run['name']}' of experiment '{run['experiment']}': {run['status']}, by {run['user']}",
        f"Started {iso(run['started_at'])}, {ended}",
        f"Code {run['code_commit'] or 'unknown'}, environment {environment}",
        f"Frozen, digest {run['digest']}" if run["frozen"] else f"Not frozen. Freeze it with: gateline tracking freeze {run['run_id']}",
    ]
    if note := run["tags"].get(NOTE_TAG):
        lines += ["Note:", *(f"  {_printable(line)}" for line in note.splitlines())]
    metrics = {name: value for name, value in run["metrics"].items() if not name.startswith(_RESOURCES)}
    lines += _resources(run)
    for title, values in (("Parameters", run["params"]), ("Metrics", metrics)):
        lines += [f"{title}:", *(f"  {name} = {_short(value)}" for name, value in values.items())] if values else []
    lines += [f"Input {one['name']} {one['version']} sha256 {one['sha256'] or one['digest']} ({one['context']})" for one in run["inputs"]]
    files = dict(run["artifacts"])
    for model in run["models"]:
        lines.append(f"Model {model['name']} {model['model_id']}")
        files |= {f"models/{model['model_id']}/{path}": file for path, file in model["files"].items()}
    lines += [f"  {file['sha256']}  {file['size_bytes']:>10}  {path}" for path, file in sorted(files.items())]
    return "\n".join(lines)


def _resources(run: Mapping[str, Any]) -> list[str]:
    """Return what the run used, with units."""
    found = {name.removeprefix(_RESOURCES): value for name, value in run["metrics"].items() if name.startswith(_RESOURCES)}
    if not found:
        return []
    currency = run["tags"].get("resources.currency", "")
    return ["Resources:", *(f"  {_measured(name, value, currency)}" for name, value in found.items())]


def _measured(name: str, value: float | str, currency: str) -> str:
    words = name.replace("_", " ")
    if isinstance(value, str):
        return f"{words}: {value}"
    if name.endswith("_seconds"):
        return f"{words.removesuffix(' seconds')}: {value:,.2f} s"
    if name.endswith("_bytes"):
        power = min(int(math.log2(value) // 10), len(_UNITS) - 1) if value >= 1 else 0
        return f"{words.removesuffix(' bytes')}: {value / 1024**power:,.1f} {_UNITS[power]}"
    return f"{words}: {value:,.4f} {currency}".rstrip()


def compared(comparison: Mapping[str, Any], *, everything: bool) -> str:
    """Return what differs between runs, a table per section; with `everything` also what is equal."""
    names = [f"run {index + 1}" for index in range(len(comparison["runs"]))]
    lines = [f"{name}: {run_id}" for name, run_id in zip(names, comparison["runs"], strict=True)]
    equal = []
    for section, found in comparison["different"].items():
        same = comparison["same"][section]
        if found:
            rows = [{section: key, **dict(zip(names, map(_short, values), strict=True))} for key, values in found.items()]
            lines += ["", table(rows, [section, *names])]
        elif same:
            equal.append(section)
        if everything and same:
            lines += ["", f"Equal {section}:", *(f"  {key} = {_short(value)}" for key, value in same.items())]
    return "\n".join([*lines, "", f"Equal: {', '.join(equal)}."] if equal else lines)


def plotted(history: Mapping[str, Any]) -> str:
    """Return a metric as a plot of characters: a star for each value, and ! where a value is no finite number."""
    values = [float(point["value"]) for point in history["points"]]
    steps = [point["step"] for point in history["points"]]
    finite = [value for value in values if math.isfinite(value)]
    odd = len(values) - len(finite)
    told = f"{history['name']}: {history['count']:,} values" + (f", {len(values):,} of them shown" if history["sampled"] else "")
    told += f", {odd:,} of those NaN or infinite (!)" if odd else ""
    if not finite:
        return told
    least, greatest = min(finite), max(finite)
    grid = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    for step, value in zip(steps, values, strict=True):
        column = round((step - steps[0]) / max(steps[-1] - steps[0], 1) * (_WIDTH - 1))
        if math.isfinite(value):
            grid[_HEIGHT - 1 - _row(value, least, greatest)][column] = "*"
        else:
            grid[_HEIGHT - 1][column] = "!"
    margins = [f"{greatest:.6g}", *[""] * (_HEIGHT - 2), f"{least:.6g}"]
    width = max(map(len, margins))
    lines = [f"{margin.rjust(width)} |{''.join(row).rstrip()}" for margin, row in zip(margins, grid, strict=True)]
    axis = f"{' ' * width} +{'-' * _WIDTH}"
    ends = f"{' ' * width}  step {steps[0]}" + f"step {steps[-1]}".rjust(_WIDTH - len(f"step {steps[0]}"))
    return "\n".join([told, *lines, axis, ends])


def _row(value: float, least: float, greatest: float) -> int:
    """Return the height of a value; halves first, since the spread of two finite numbers may be infinite."""
    spread = greatest / 2 - least / 2
    return round((value / 2 - least / 2) / spread * (_HEIGHT - 1)) if spread > 0 else 0


def _short(value: Any) -> str:
    text = "–" if value is None else _printable(str(value).replace("\n", "⏎"))
    return text if len(text) <= _VALUE_LENGTH_MAX else f"{text[: _VALUE_LENGTH_MAX - 1]}…"


def _printable(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return "".join(one if one.isprintable() else "·" for one in text)
