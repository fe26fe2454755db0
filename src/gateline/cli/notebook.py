"""`gateline notebook`: was a notebook run from top to bottom, and could it be?"""

from __future__ import annotations

from pathlib import Path

import click

from gateline.cli.output import ExitCode, client, emit


@click.group("notebook")
def group() -> None:
    """Check saved notebooks, and keep them with their runs."""


@group.command("check")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--run", "run_id", help="Keep the notebook and its findings with this MLflow run, which it logged.")
@click.pass_context
def check(ctx: click.Context, file: Path, run_id: str | None) -> None:
    """Say what is doubtful about a saved notebook: order of execution, hidden state, stale outputs.

    Exit status 3 when there is an error or a warning; notes do not count.
    """
    from gateline.sdk.notebook import Severity, check_notebook, log_saved_notebook, read_notebook

    notebook = read_notebook(file)
    findings = check_notebook(notebook)
    if run_id is not None:
        log_saved_notebook(client(ctx), notebook, run_id)
    executed = sum(cell.count is not None for cell in notebook.code)
    answer = {
        "notebook": str(file), "sha256": notebook.sha256, "cells": len(notebook.code), "executed": executed, "run_id": run_id,
        "findings": [one.as_dict() for one in findings],
    }  # fmt: skip
    lines = [
        f"{file}: {executed} of {len(notebook.code)} cells with code were run, digest {notebook.sha256}",
        *(f"  {one}" for one in findings),
    ]
    lines += [] if findings else ["Run once, from top to bottom."]
    lines += [f"Kept with run {run_id}."] if run_id else []
    emit(ctx, answer, "\n".join(lines))
    doubtful = any(one.severity != Severity.NOTE for one in findings)
    ctx.exit(ExitCode.GATE_FAILED if doubtful else ExitCode.PASS)
