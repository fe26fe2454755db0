"""`gateline pipeline apply`: what starts a project's pipelines by itself, as its gateline.toml declares it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gateline.cli.output import client, emit

_SIGNS = {"add": "+", "change": "~", "remove": "-", "keep": "="}


@click.command()
@click.option("--project", default=".", show_default=True, type=click.Path(file_okay=False), help="The project folder.")
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@click.pass_context
def apply(ctx: click.Context, project: str, dry_run: bool) -> None:
    """Make schedules, triggers and limits what gateline.toml of the project declares; show the difference.

    Declared again, nothing changes. What was declared before and is no longer in the file is removed.
    """
    from gateline.sdk import declared
    from gateline.sdk.project import Project

    api = client(ctx)
    found = declared.changes(api, Project.load(Path(project)))
    if not dry_run:
        declared.apply(api, found)
    changed = sum(one.verb != "keep" for one in found)
    end = "Nothing differs." if not changed else f"{changed} of {len(found)} {'would change' if dry_run else 'changed'}."
    lines = [_difference(one.kind, one.name, one.verb, one.differs) for one in found]
    emit(ctx, {"applied": not dry_run, "changes": [one.as_dict() for one in found]}, "\n".join([*lines, end]))


def _difference(kind: str, name: str, verb: str, differs: dict[str, tuple[Any, Any]]) -> str:
    told = ", ".join(f"{field} {json.dumps(before)} → {json.dumps(after)}" for field, (before, after) in differs.items())
    return f"{_SIGNS[verb]} {kind} {name}{': ' if told else ''}{told}"
