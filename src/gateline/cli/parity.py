"""`gateline monitor parity`: whether features are served as they are computed offline."""

from __future__ import annotations

from typing import Any

import click

from gateline.cli.output import ExitCode, client, emit, table

_COLUMNS = ("feature", "compared", "mismatch", "missing", "extra", "smape", "lag", "state")
_OPTIONS = ("feature_set", "sample_share", "rows_min", "mismatch_max", "missing_max", "extra_max", "timezone")
_SHARE = click.FloatRange(0, 1)


@click.group("parity")
def parity_group() -> None:
    """Whether features are served as they are computed offline."""


@parity_group.command("set")
@click.argument("endpoint")
@click.option("--project", type=click.Path(file_okay=False), help="Take the plan from [parity] of this project's gateline.toml.")
@click.option("--feature-set", help="The set that the features come from: a name for its newest version, or name@number.")
@click.option("--sample-share", type=click.FloatRange(0, 1, min_open=True), help="Share of entities that are recomputed.  [default: 0.1]")
@click.option("--rows-min", type=click.IntRange(min=1), help="Fewest recomputed requests for a verdict.  [default: 100]")
@click.option("--mismatch-max", type=_SHARE, help="Share of requests with another value offline that alarms.  [default: 0.01]")
@click.option("--missing-max", type=_SHARE, help="Share of requests that were served no value that alarms.  [default: 0.01]")
@click.option("--extra-max", type=_SHARE, help="Share of requests with no value offline that alarms.  [default: 0.01]")
@click.option("--timezone", help="Zone in which days begin.  [default: UTC]")
@click.pass_context
def set_plan(ctx: click.Context, /, endpoint: str, project: str | None, **options: Any) -> None:
    """Declare how the features of ENDPOINT are compared. Options go before what the project says."""
    from pathlib import Path

    from gateline.sdk.parity import set_parity
    from gateline.sdk.project import Project

    plan = dict(Project.load(Path(project)).settings.get("parity", {})) if project else {}
    plan |= {name: options[name] for name in _OPTIONS if options[name] is not None}
    found = set_parity(client(ctx), endpoint, plan)
    emit(
        ctx, found,
        f"Features of {endpoint} are compared with {found['feature_set']} day by day, for {found['sample_share']:.1%} of the entities.",
    )  # fmt: skip


@parity_group.command("run")
@click.argument("endpoint")
@click.option("--start", help="First instant, such as 2013-04-01T00:00:00Z.  [default: the newest closed day]")
@click.option("--end", help="First instant after the interval.  [default: the end of the day]")
@click.pass_context
def run(ctx: click.Context, endpoint: str, start: str | None, end: str | None) -> None:
    """Compare an interval now. Exit status 5 on an alert, 4 when there is not enough data."""
    from gateline.sdk.parity import run_parity

    found = run_parity(client(ctx), endpoint, start=start, end=end)
    emit(ctx, found, lambda: _story(found))
    _end(ctx, found)


@parity_group.command("show")
@click.argument("endpoint")
@click.pass_context
def show(ctx: click.Context, endpoint: str) -> None:
    """Show plan and newest daily run of ENDPOINT. Exit status 5 when that run is an alert, 4 without a verdict."""
    from gateline.sdk.parity import parity

    found = parity(client(ctx), endpoint)
    emit(ctx, found, lambda: _standing(found))
    _end(ctx, found["newest"])


def _end(ctx: click.Context, newest: dict[str, Any] | None) -> None:
    if newest is None or newest["state"] == "not_enough_data":
        ctx.exit(ExitCode.PENDING)
    if newest["state"] == "alert":
        ctx.exit(ExitCode.ALERT)


def _standing(found: dict[str, Any]) -> str:
    plan = found["plan"]
    lines = [
        f"{found['endpoint']}: compared with {plan['feature_set']}, {plan['sample_share']:.1%} of the entities",
        f"watermark {found['watermark'] or 'unknown, no prediction yet'}; next day from {found['next_start'] or '–'}",
    ]
    lines += [f"{alert['state']} alert {alert['id']}: {alert['reason']}" for alert in found["alerts"]]
    lines.append(_story(found["newest"]) if found["newest"] else "No day has been compared yet.")
    return "\n".join(lines)


def _story(found: dict[str, Any]) -> str:
    """Return a run in lines: the verdict, what was compared, and each feature."""
    counts, lines = found["counts"], [f"{found['start'][:16]} to {found['end'][:16]}: {found['state']}. {found['reason']}"]
    lines.append(
        f"{counts['requests']:,} requests, {counts['sampled']:,} sampled, {counts['compared']:,} compared with {found['feature_set']}; "
        f"apart: {counts['unknown']:,} unknown offline, {counts['unnamed']:,} without an entity, {counts['batched']:,} in batches"
    )
    rows = [
        {
            **one,
            "feature": one["name"],
            "smape": None if one["smape"] is None else f"{one['smape']:.3g}",
            "lag": _lag(one["lag"]) if one["lag"] else None,
        }
        for one in found["features"]
    ]
    lines += [table(rows, _COLUMNS)] if rows else []
    lines += [f"served, not computed: {', '.join(found['not_computed'])}"] if found["not_computed"] else []
    lines += [f"computed, not served: {', '.join(found['not_served'])}"] if found["not_served"] else []
    return "\n".join(lines)


def _lag(lag: dict[str, Any]) -> str:
    return "unexplained" if lag["seconds"] is None else f"{lag['seconds'] // 60} min ({lag['share']:.0%})"
