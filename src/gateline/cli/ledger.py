"""`gateline ledger`: the record of every change."""

from __future__ import annotations

import click

from gateline.cli.output import ExitCode, client, emit, table
from gateline.kernel.clock import iso


@click.group("ledger")
def group() -> None:
    """Read and verify the record of every change."""


@group.command("verify")
@click.pass_context
def verify(ctx: click.Context) -> None:
    """Recompute every entry, hash, root and signature; exit status 1 when something differs."""
    found = client(ctx).post("/ledger/verify")

    def text() -> str:
        if found["sound"]:
            return f"The ledger is sound: {found['entries']} entries, {found['checkpoints']} signed checkpoints, root {found['root'][:16]}…"
        listed = "\n".join(f"  {one['detail']}" for one in found["problems"])
        return f"The ledger is NOT sound ({found['entries']} entries):\n{listed}\nKeep the files as they are and compare with a backup."

    emit(ctx, found, text)
    if not found["sound"]:
        ctx.exit(ExitCode.ERROR)


@group.command("checkpoint")
@click.pass_context
def checkpoint(ctx: click.Context) -> None:
    """Sign size and root of the ledger as it stands; keep the answer elsewhere to prove later that nothing was rewritten."""
    signed = client(ctx).get("/ledger/checkpoint")
    emit(ctx, signed, lambda: f"{signed['size']} entries, root {signed['root']}, signed {iso(signed['time'])} by key {signed['key'][:16]}…")


@group.command("show")
@click.option("--start", type=click.IntRange(min=0), help="First position. [default: the newest entries]")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--subject", default="", help="Only entries about this record.")
@click.option("--kind", default="", help="Only entries of this kind, such as model.version.approved.")
@click.pass_context
def show(ctx: click.Context, start: int | None, limit: int, subject: str, kind: str) -> None:
    """Show entries, oldest first."""
    connection = client(ctx)
    if start is None and not subject and not kind:
        start = max(0, connection.get("/ledger", params={"limit": 1})["size"] - limit)
    page = connection.get("/ledger", params={"start": start or 0, "limit": limit, "subject": subject, "kind": kind})
    rows = [{**entry, "time": iso(entry["time"])} for entry in page["entries"]]
    emit(ctx, page, lambda: table(rows, ["seq", "time", "kind", "actor", "subject"]))
