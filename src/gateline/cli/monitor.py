"""`gateline monitor` and `gateline label`: what became of predictions, and what the windows show."""

from __future__ import annotations

from typing import Any

import click

from gateline.cli.output import ExitCode, client, emit, progress, table
from gateline.cli.parity import parity_group

_WINDOW_COLUMNS = ("start", "end", "analysis", "version", "rows", "state", "reason", "note")
_ALERT_COLUMNS = ("id", "kind", "version", "state", "windows", "severity", "reason")


@click.group()
def group() -> None:
    """What is watched on endpoints, and what it shows."""


group.add_command(parity_group)


@group.command("set")
@click.argument("endpoint")
@click.option("--project", type=click.Path(file_okay=False), help="Take the plan from [monitor] of this project's gateline.toml.")
@click.pass_context
def set_plan(ctx: click.Context, endpoint: str, project: str | None) -> None:
    """Declare what is watched on ENDPOINT."""
    from pathlib import Path

    from gateline.sdk.monitoring import watch
    from gateline.sdk.project import Project

    plan = Project.load(Path(project)).settings.get("monitor", {}) if project else {}
    found = watch(client(ctx), endpoint, plan)
    days = found["window_seconds"] / 86_400
    hours = found["label_allowance_seconds"] / 3_600
    emit(ctx, found, f"{endpoint} is watched in windows of {days:g} days; labels count until {hours:g} hours after each.")


@group.command()
@click.argument("endpoint")
@click.pass_context
def show(ctx: click.Context, endpoint: str) -> None:
    """Show where an endpoint stands. Exit status 5 when an alert is not resolved."""
    from gateline.sdk.monitoring import monitor

    found = monitor(client(ctx), endpoint)
    emit(ctx, found, lambda: _story(found))
    _end(ctx, found["alerts"])


@group.command()
@click.argument("endpoint")
@click.option("--analysis", type=click.Choice(["drift", "performance"]), help="Only this one.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Only the newest ones.")
@click.pass_context
def windows(ctx: click.Context, endpoint: str, analysis: str | None, limit: int) -> None:
    """List closed windows with their verdicts and reasons."""
    from gateline.sdk.monitoring import windows as list_windows

    found = list_windows(client(ctx), endpoint, analysis=analysis, limit=limit)
    shown = [{**one, "start": one["start"][:16], "end": one["end"][:16]} for one in found]
    emit(ctx, found, lambda: table(shown, _WINDOW_COLUMNS) if shown else f"No window of {endpoint} is closed yet.")


@group.command()
@click.argument("endpoint")
@click.option("--all", "everything", is_flag=True, help="Resolved ones too.")
@click.pass_context
def alerts(ctx: click.Context, endpoint: str, everything: bool) -> None:
    """List alerts, newest first. Exit status 5 when one is not resolved."""
    from gateline.sdk.monitoring import alerts as list_alerts

    found = list_alerts(client(ctx), endpoint, unresolved=not everything)
    shown = [{**one, "severity": f"{one['severity']:.2f}"} for one in found]
    emit(ctx, found, lambda: table(shown, _ALERT_COLUMNS) if shown else f"No alert of {endpoint} is {'known' if everything else 'open'}.")
    _end(ctx, [one for one in found if one["state"] != "resolved"])


@group.command()
@click.argument("alert_id")
@click.option("--comment", default="", help="It goes to the ledger.")
@click.pass_context
def acknowledge(ctx: click.Context, alert_id: str, comment: str) -> None:
    """Say that somebody looks after an alert."""
    from gateline.sdk.monitoring import acknowledge as take

    found = take(client(ctx), alert_id, comment)
    emit(ctx, found, f"{found['id']} ({found['kind']}) is {found['state']} by {found['acknowledged_by']}.")


@group.command()
@click.argument("alert_id")
@click.option("--comment", required=True, help="Why; it goes to the ledger.")
@click.pass_context
def resolve(ctx: click.Context, alert_id: str, comment: str) -> None:
    """End an alert by hand."""
    from gateline.sdk.monitoring import resolve as end

    found = end(client(ctx), alert_id, comment)
    emit(ctx, found, f"{found['id']} ({found['kind']}) is {found['state']} by {found['resolved_by']}.")


@click.group("label")
def label_group() -> None:
    """What became of predictions."""


@label_group.command("record")
@click.argument("endpoint")
@click.argument("file", type=click.Path(dir_okay=False))
@click.pass_context
def record(ctx: click.Context, endpoint: str, file: str) -> None:
    """Record the labels in FILE (CSV, Parquet or JSON lines) for ENDPOINT.

    Columns: prediction_id or request_id, label, and event_time (when it became known).
    """
    from pathlib import Path

    from gateline.sdk.monitoring import read_label_file, record_labels

    found = record_labels(client(ctx), endpoint, read_label_file(Path(file)))
    refused = found["stale"] + found["contradictory"]
    if refused:
        progress(
            f"{refused} labels were not taken: {found['stale']} are older than the one on record, {found['contradictory']} contradict it."
        )
    emit(
        ctx, found,
        f"{found['rows']} labels: {found['recorded']} new, {found['corrected']} corrected, {found['unchanged']} known already, "
        f"{found['pending']} wait for their prediction.",
    )  # fmt: skip


def _end(ctx: click.Context, unresolved: list[dict[str, Any]]) -> None:
    if unresolved:
        ctx.exit(ExitCode.ALERT)


def _story(found: dict[str, Any]) -> str:
    """Return where an endpoint stands, in lines."""
    lines = [
        f"{found['endpoint']}: watermark {found['watermark'] or 'unknown, no prediction yet'}",
        f"next window: {found['next_window_start'] or '–'} to {found['next_window_end'] or '–'}",
        f"reference: {', '.join(one['id'] for one in found['references'][:1]) or 'none is set'}",
        f"labels that wait for their prediction: {found['labels_pending']}",
    ]
    lines += [f"last {analysis}: {window['state']}. {window['reason']}" for analysis, window in found["last"].items()]
    lines += [f"{alert['state']} alert {alert['id']} ({alert['kind']}): {alert['reason']}" for alert in found["alerts"]]
    return "\n".join(lines)
