"""`gateline status`: what runs and how much it holds."""

from __future__ import annotations

import click

from gateline.cli.output import client, emit


@click.command("status")
@click.pass_context
def status(ctx: click.Context) -> None:
    """Say what runs and how much it holds."""
    connection = client(ctx)
    found = {"server": None if connection.in_process else connection.url, **connection.get("/status")}

    def text() -> str:
        served = f"Served at {connection.url}"
        first = served if found["server"] else "No server runs on this folder; these are its records. Start one with: gateline up"
        lines = [f"  {name.replace('_', ' ')}: {value}" for name, value in found.items() if name != "server"]
        return "\n".join([first, *lines])

    emit(ctx, found, text)
