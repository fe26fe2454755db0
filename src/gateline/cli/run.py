"""`gateline tracking`: what was tried, and what of it is frozen."""

from __future__ import annotations

from typing import Any

import click

from gateline.cli.output import client, emit, progress, table
from gateline.kernel.clock import iso


@click.group("tracking")
def group() -> None:
    """Read tracked runs and freeze them."""


@group.command("list")
@click.option("--experiment", default="", help="Only runs of this experiment.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.pass_context
def list_runs(ctx: click.Context, experiment: str, limit: int) -> None:
    """List runs, newest first."""
    found = client(ctx).get("/runs", params={"experiment": experiment, "limit": limit})
    rows = [{**run, "started": iso(run["started_at"])[:19] + "Z", "frozen": "yes" if run["frozen"] else "no"} for run in found]
    columns = ["run_id", "experiment", "name", "status", "user", "started", "frozen"]
    emit(ctx, found, lambda: table(rows, columns) if rows else "There are no runs.")


@group.command("show")
@click.argument("run_id")
@click.pass_context
def show(ctx: click.Context, run_id: str) -> None:
    """Show a run with parameters, metrics, inputs and, when it is frozen, the digest of each file."""
    found = client(ctx).get(f"/runs/{run_id}")
    emit(ctx, found, lambda: _told(found))


@group.command("freeze")
@click.argument("run_id")
@click.pass_context
def freeze(ctx: click.Context, run_id: str) -> None:
    """Freeze a finished run: from then on neither its facts nor its files can be changed through MLflow."""
    progress(f"Reading every file of run {run_id} …")
    found = client(ctx).post(f"/runs/{run_id}/freeze")
    emit(ctx, found, lambda: f"Run {run_id} is frozen; digest {found['digest']}.")


@group.command("verify")
@click.argument("run_id")
@click.pass_context
def verify(ctx: click.Context, run_id: str) -> None:
    """Compare every file of a frozen run with its snapshot; exit status 1 when one differs."""
    found = client(ctx).post(f"/runs/{run_id}/verify")
    emit(ctx, found, lambda: f"Run {run_id} matches its snapshot {found['digest']}.")


def _told(run: dict[str, Any]) -> str:
    """Return a run as lines of text."""
    ended = "still running" if run["ended_at"] is None else f"ended {iso(run['ended_at'])}"
    lines = [
        f"Run {run['run_id']} '{run['name']}' of experiment '{run['experiment']}': {run['status']}, by {run['user']}",
        f"Started {iso(run['started_at'])}, {ended}",
        f"Code {run['code_commit'] or 'unknown'}, environment {run['environment_digest'] or 'not read'}",
        f"Frozen, digest {run['digest']}" if run["frozen"] else f"Not frozen. Freeze it with: gateline tracking freeze {run['run_id']}",
    ]
    for title, values in (("Parameters", run["params"]), ("Metrics", run["metrics"])):
        lines += [f"{title}:", *(f"  {name} = {value}" for name, value in values.items())] if values else []
    lines += [f"Input {one['name']} {one['version']} sha256 {one['sha256'] or one['digest']} ({one['context']})" for one in run["inputs"]]
    files = dict(run["artifacts"])
    for model in run["models"]:
        lines.append(f"Model {model['name']} {model['model_id']}")
        files |= {f"models/{model['model_id']}/{path}": file for path, file in model["files"].items()}
    lines += [f"  {file['sha256']}  {file['size_bytes']:>10}  {path}" for path, file in sorted(files.items())]
    return "\n".join(lines)
