"""`gateline tracking`: what was tried, and what of it is frozen."""

from __future__ import annotations

from urllib.parse import quote

import click

from gateline.cli.output import client, emit, progress
from gateline.cli.run_text import compared, listed, plotted, told


@click.group("tracking")
def group() -> None:
    """Search, compare and annotate tracked runs, and freeze them."""


@group.command("list")
@click.option("--experiment", default="", help="Only runs of this experiment.")
@click.option(
    "--filter", "condition", default="", help="Conditions in MLflow's grammar: \"metrics.auc > 0.7 and params.model = 'lightgbm'\"."
)
@click.option("--order-by", multiple=True, help="Column and direction in MLflow's grammar: 'metrics.auc DESC'. May be repeated.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--page-token", default="", help="Where to go on: what the page before gave.")
@click.pass_context
def list_runs(ctx: click.Context, experiment: str, condition: str, order_by: tuple[str, ...], limit: int, page_token: str) -> None:
    """Search runs; newest first unless ordered."""
    asked = {
        "experiment": experiment, "filter": condition, "order_by": list(order_by), "max_results": limit, "page_token": page_token
    }  # fmt: skip
    found = client(ctx).get("/runs", params=asked)
    emit(ctx, found, lambda: listed(found, order_by))


@group.command("show")
@click.argument("run_id")
@click.pass_context
def show(ctx: click.Context, run_id: str) -> None:
    """Show a run with parameters, metrics, inputs and, when it is frozen, the digest of each file."""
    found = client(ctx).get(f"/runs/{run_id}")
    emit(ctx, found, lambda: told(found))


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


@group.command("compare")
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID RUN_ID...")
@click.option("--all", "everything", is_flag=True, help="Also show what is equal.")
@click.pass_context
def compare(ctx: click.Context, run_ids: tuple[str, ...], everything: bool) -> None:
    """Show what differs between two to ten runs: parameters, metrics, tags, inputs, features, code, environment and packages."""
    found = client(ctx).get("/runs/compare", params={"run": list(run_ids)})
    emit(ctx, found, lambda: compared(found, everything=everything))


@group.command("history")
@click.argument("run_id")
@click.argument("metric")
@click.option("--points", type=click.IntRange(10, 10_000), default=1_000, show_default=True, help="Most values; more are sampled.")
@click.pass_context
def history(ctx: click.Context, run_id: str, metric: str, points: int) -> None:
    """Plot a metric over its steps; a sample keeps first, last, peaks and values that are no finite number."""
    found = client(ctx).get(f"/runs/{run_id}/metrics/{quote(metric, safe='/')}", params={"points": points})
    emit(ctx, found, lambda: plotted(found))


@group.command("tag")
@click.argument("run_id")
@click.argument("tags", nargs=-1, metavar="KEY=VALUE...")
@click.option("--remove", multiple=True, metavar="KEY", help="Remove this tag. May be repeated.")
@click.pass_context
def tag(ctx: click.Context, run_id: str, tags: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Set and remove tags of a run; refused once the run is frozen."""
    wrong = [one for one in tags if not one.partition("=")[0] or "=" not in one]
    if wrong:
        raise click.UsageError(f"Not of the form KEY=VALUE: {', '.join(wrong)}.")
    wanted = dict.fromkeys(remove) | {key: value for key, _, value in (one.partition("=") for one in tags)}
    found = client(ctx).patch(f"/runs/{run_id}", json={"tags": wanted})
    emit(ctx, found, lambda: f"Run {run_id} has tags: " + ", ".join(f"{key}={value}" for key, value in found["tags"].items()))


@group.command("note")
@click.argument("run_id")
@click.argument("text")
@click.pass_context
def note(ctx: click.Context, run_id: str, text: str) -> None:
    """Set the note of a run, which MLflow's UI shows as its description; an empty text removes it. Refused once the run is frozen."""
    found = client(ctx).patch(f"/runs/{run_id}", json={"note": text})
    emit(ctx, found, f"The note of run {run_id} was {'set' if text else 'removed'}.")
