"""`gateline rollout`: release an approved version, watch its rollout, take it back."""

from __future__ import annotations

from typing import Any

import click

from gateline.cli.output import ExitCode, client, emit, table

_COLUMNS = ("id", "endpoint", "candidate", "champion", "state", "reason")


@click.group()
def group() -> None:
    """Releases and their rollouts."""


@group.command()
@click.argument("model_version")
@click.argument("endpoint")
@click.option("--project", type=click.Path(file_okay=False), help="Take the plan from [rollout] of this project's gateline.toml.")
@click.pass_context
def start(ctx: click.Context, model_version: str, endpoint: str, project: str | None) -> None:
    """Release MODEL_VERSION, such as flight-delay@3, to ENDPOINT."""
    from pathlib import Path

    from gateline.sdk.project import Project
    from gateline.sdk.rollout import release

    plan = Project.load(Path(project)).settings.get("rollout", {}) if project else {}
    answer = release(client(ctx), model_version, endpoint, plan)
    emit(ctx, answer, f"{model_version} is on its way to {endpoint}. Watch it with: gateline rollout show {answer['rollout_id']}")


@group.command("list")
@click.option("--endpoint", default="", help="Of this endpoint alone.")
@click.pass_context
def list_rollouts(ctx: click.Context, endpoint: str) -> None:
    """List rollouts, newest first."""
    found = client(ctx).get("/rollouts", params={"endpoint": endpoint})
    emit(ctx, found, table(found, _COLUMNS))


@group.command()
@click.argument("rollout_id")
@click.pass_context
def show(ctx: click.Context, rollout_id: str) -> None:
    """Show a rollout with its evidence. Exit status 4 while it is not over."""
    found = client(ctx).get(f"/rollouts/{rollout_id}")
    emit(ctx, found, _story(found))
    if found["state"] in {"canary", "paused", "probation"}:
        ctx.exit(ExitCode.PENDING)


@group.command()
@click.argument("rollout_id")
@click.option("--reason", required=True, help="Why; it goes to the ledger.")
@click.pass_context
def rollback(ctx: click.Context, rollout_id: str, reason: str) -> None:
    """Take a version back now: the route before it is published at once."""
    found = client(ctx).post(f"/rollouts/{rollout_id}/rollback", json={"reason": reason})
    emit(ctx, found, f"{found['candidate']} is taken back; {found['champion']} answers every request of {found['endpoint']}.")


@group.command()
@click.argument("rollout_id")
@click.option("--reason", required=True, help="Why; it goes to the ledger.")
@click.pass_context
def pause(ctx: click.Context, rollout_id: str, reason: str) -> None:
    """Hold a canary at its present share."""
    found = client(ctx).post(f"/rollouts/{rollout_id}/pause", json={"reason": reason})
    emit(ctx, found, f"The canary of {found['candidate']} is paused.")


@group.command()
@click.argument("rollout_id")
@click.option("--reason", required=True, help="Why; it goes to the ledger.")
@click.pass_context
def resume(ctx: click.Context, rollout_id: str, reason: str) -> None:
    """Let a paused canary go on."""
    found = client(ctx).post(f"/rollouts/{rollout_id}/resume", json={"reason": reason})
    emit(ctx, found, f"The canary of {found['candidate']} goes on.")


def _story(found: dict[str, Any]) -> str:
    """Return a rollout in words: state, evidence by family, comparison with the predecessor."""
    lines = [f"{found['candidate']} against {found['champion'] or 'nothing'} on {found['endpoint']}: {found['state']}", found["reason"]]
    for one in found["analysis"].get("evidence", ()):
        shares = f"canary {one['canary_bad']}/{one['canary_total']}, champion {one['baseline_bad']}/{one['baseline_total']}"
        lines.append(f"  {one['family']:<12} log E {one['log_e']:8.2f}  {shares}  {one['what']}")
    if found["decided_after"]:
        cost = found["decided_after"]
        lines.append(f"Decided after {cost['canary_requests']} canary requests of {cost['requests']}, {cost['wall_seconds']:.1f} s.")
    return "\n".join(lines)
