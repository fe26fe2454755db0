"""`gateline model`: versions, approvals and history."""

from __future__ import annotations

from typing import Any

import click

from gateline.cli.output import client, emit, table


@click.group("model")
def group() -> None:
    """Model versions, who approved them, and what serves where."""


@group.command("list")
@click.argument("name", default="")
@click.pass_context
def list_models(ctx: click.Context, name: str) -> None:
    """List all models, or the versions of one."""
    from gateline.sdk.registry import model_versions, models

    if name:
        versions = [one.as_dict() for one in model_versions(client(ctx), name)]
        rows = [{**one, "created": _time(one["created_at"])} for one in versions]
        emit(ctx, versions, lambda: table(rows, ["id", "state", "owner", "created_by", "created", "gate_run_id"]))
        return
    found = [one.as_dict() for one in models(client(ctx))]
    placed = [{**one, "placed": [f"{place}: {version}" for place, version in one["environments"].items()]} for one in found]
    emit(ctx, found, lambda: table(placed, ["name", "versions", "placed"]))


@group.command("show")
@click.argument("version")
@click.pass_context
def show(ctx: click.Context, version: str) -> None:
    """Show a version, such as flight-delay@3: lineage, metrics, gates and signatures."""
    from gateline.kernel.names import split_version_id

    name, number = split_version_id(version)
    found = client(ctx).get(f"/models/{name}/versions/{number}")
    emit(ctx, found, lambda: _text(found))


@group.command("approve")
@click.argument("version")
@click.option("--meaning", type=click.Choice(["review", "approval", "responsibility", "authorship"]), default="approval", show_default=True)
@click.option("--comment", required=True, help="Why.")
@click.pass_context
def approve_version(ctx: click.Context, version: str, meaning: str, comment: str) -> None:
    """Sign a version as the holder of the token."""
    from gateline.sdk.registry import approve

    signed = approve(client(ctx), version, meaning=meaning, comment=comment)
    emit(ctx, signed.as_dict(), lambda: _signature(signed.as_dict()))


@group.command("history")
@click.argument("name")
@click.pass_context
def show_history(ctx: click.Context, name: str) -> None:
    """Say what happened to the versions of a model: who, when, what and why."""
    from gateline.sdk.registry import history

    found = [one.as_dict() for one in history(client(ctx), name)]
    rows = [
        {**one, "time": _time(one["at"]), "version": one["model_version"], "what": one["kind"].replace("_", " "), "state": one["to_state"]}
        for one in found
    ]
    emit(ctx, found, lambda: table(rows, ["time", "version", "what", "state", "environment", "actor", "reason"]))


@group.command("reproductions")
@click.argument("version")
@click.pass_context
def list_reproductions(ctx: click.Context, version: str) -> None:
    """Say what came of making a version again: each grade, why, and what differs."""
    from gateline.cli.reproduce import reproduction_text
    from gateline.kernel.names import split_version_id

    name, number = split_version_id(version)
    found = client(ctx).get(f"/models/{name}/versions/{number}/reproductions")
    none = f"Nobody has made {version} again. Do so with: gateline reproduce {version}"
    emit(
        ctx,
        found,
        lambda: "\n\n".join(f"{_time(one['created_at'])} by {one['created_by']}\n{reproduction_text(one)}" for one in found) or none,
    )


def _text(version: dict[str, Any]) -> str:
    """Return a version as lines of name and value."""
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in version["metrics"].items())
    gates = f"passed ({version['gate_run_id']})" if version["gates_passed"] else f"not passed: {version['gates_reason']}"
    lines = {
        "version": version["id"],
        "state": version["state"],
        "owner": version["owner"],
        "author": f"{version['created_by']}, {_time(version['created_at'])}",
        "contributors": "unknown" if version["contributors"] is None else ", ".join(version["contributors"]),
        "model files": version["digest"],
        "run": f"{version['run_id']} (snapshot {version['run_digest'][:12]})",
        "gates": gates,
        "feature set": f"{version['feature_set']} ({version['feature_set_digest'][:12]})",
        "datasets": ", ".join(f"{one} ({digest[:12]})" for one, digest in version["dataset_versions"].items()),
        "training rows": version["training_frame"],
        "trained on": f"{_time(version['trained_from'])} to {_time(version['trained_until'])}",
        "metrics": metrics,
        "made again": "; ".join(f"{one['grade']} {_time(one['created_at'])} ({one['id']})" for one in version["reproductions"]) or "never",
    }
    text = "\n".join(f"{name + ':':<15}{value}" for name, value in lines.items())
    return "\n".join([text, *(_signature(one) for one in version["approvals"])])


def _signature(approval: dict[str, Any]) -> str:
    """Return a signature with name, time, meaning and comment (21 CFR 11.50)."""
    return (
        f"signed by {approval['principal']} ({', '.join(approval['roles'])}) {_time(approval['signed_at'])}, "
        f"meaning {approval['meaning']}: {approval['comment']}"
    )


def _time(instant: int) -> str:
    from gateline.kernel.clock import iso

    return iso(instant)[:19] + "Z"
