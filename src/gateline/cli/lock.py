"""`gateline lock`: the versions that a project uses, pinned beside its code."""

from __future__ import annotations

from pathlib import Path

import click

from gateline.cli.output import client, emit


@click.command("lock")
@click.option("--check", is_flag=True, help="Write nothing; exit status 1 when the lock no longer holds.")
@click.option("--project", type=click.Path(file_okay=False), default=".", help="Folder with gateline.toml. [default: this folder]")
@click.pass_context
def group(ctx: click.Context, check: bool, project: str) -> None:
    """Pin the digests of the project's dataset and feature-set versions in gateline.lock."""
    from gateline.sdk.lockfile import FILE_NAME, check_lock, write_lock
    from gateline.sdk.project import Project

    chosen = Project.load(Path(project))
    lock = (check_lock if check else write_lock)(client(ctx), chosen)
    pinned = ", ".join([*sorted(lock.feature_sets), *sorted(lock.datasets)]) or "nothing"
    emit(ctx, lock.as_dict(), f"{FILE_NAME} {'holds' if check else 'written'}: it pins {pinned}.")
