"""`gateline run`, `gateline runner` and `gateline pipeline`: execute pipelines and look at their runs."""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateline.cli.output import ExitCode, client, emit, progress, table
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from gateline.sdk.client import Client
    from gateline.sdk.project import Project

_POLL_SECONDS = 0.2
_PROJECT = click.option("--project", default=".", show_default=True, type=click.Path(file_okay=False), help="The project folder.")


@click.command()
@click.argument("pipeline")
@click.argument("parameters", nargs=-1)
@_PROJECT
@click.pass_context
def run(ctx: click.Context, pipeline: str, parameters: tuple[str, ...], project: str) -> None:
    """Run PIPELINE of the project here, recorded. PARAMETERS are name=value, the value JSON or text.

    Exit status 3 when the pipeline's gates failed, 4 when they were inconclusive.
    """
    loaded, api, runner = _project(project), client(ctx), _name()
    loaded.pipeline(pipeline).graph(**_arguments(parameters))
    requested = api.post(f"/pipelines/{pipeline}/runs", json={"parameters": _arguments(parameters), "reason": "By hand."})
    progress(f"Run {requested['id']} is queued.")
    finished = None
    while finished is None:
        claimed = _claim(api, runner)
        if claimed is None:
            state = api.get(f"/pipeline-runs/{requested['id']}")
            finished = state if state["state"] in {"succeeded", "failed"} else None
            threading.Event().wait(_POLL_SECONDS)
        else:
            closed = _execute(api, loaded, claimed, runner)
            finished = closed if closed["id"] == requested["id"] else None
    emit(ctx, finished, _story(finished))
    if finished["state"] == "failed":
        ctx.exit(ExitCode.ERROR)
    verdict = finished["result"].get("verdict")
    ctx.exit({"fail": ExitCode.GATE_FAILED, "inconclusive": ExitCode.PENDING}.get(verdict, ExitCode.PASS))


@click.command()
@_PROJECT
@click.pass_context
def runner(ctx: click.Context, project: str) -> None:
    """Execute queued runs of the project until it is stopped."""
    loaded, api, name = _project(project), client(ctx), _name()
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    progress(f"Runner {name} waits for runs of project '{loaded.name}'.")
    for pipeline in loaded.settings.get("pipelines", {}):
        loaded.pipeline(pipeline)  # so that a broken project fails now, and the first run starts sooner
    while not stopping.is_set():
        claimed = _claim(api, name)
        if claimed is None:
            stopping.wait(_POLL_SECONDS)
        else:
            closed = _execute(api, loaded, claimed, name)
            progress(_story(closed))


@click.group()
def group() -> None:
    """Runs of pipelines."""


@group.command("list")
@click.pass_context
def list_runs(ctx: click.Context) -> None:
    """List the newest runs."""
    found = client(ctx).get("/pipeline-runs")
    emit(ctx, found, table(found, ("id", "pipeline", "state", "requested_by", "reason")))


@group.command()
@click.argument("run_id")
@click.pass_context
def show(ctx: click.Context, run_id: str) -> None:
    """Show a run with its steps. Exit status 4 while it is not over."""
    found = client(ctx).get(f"/pipeline-runs/{run_id}")
    emit(ctx, found, _story(found))
    if found["state"] in {"queued", "running"}:
        ctx.exit(ExitCode.PENDING)


def _project(folder: str) -> Project:
    from gateline.sdk.project import Project

    return Project.load(Path(folder))


def _name() -> str:
    """Return a name for this process that no other has."""
    return f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(3)}"


def _claim(api: Client, runner: str) -> dict[str, Any] | None:
    claimed: dict[str, Any] | None = api.post("/pipeline-runs/claim", json={"runner": runner})["run"]
    return claimed


def _execute(api: Client, project: Project, claimed: dict[str, Any], runner: str) -> dict[str, Any]:
    from gateline.sdk.execution import Execution

    return Execution(api, project, claimed, runner).execute()


def _arguments(parameters: tuple[str, ...]) -> dict[str, Any]:
    """Return name=value pairs as a dictionary; values that are no JSON are text."""
    found: dict[str, Any] = {}
    for one in parameters:
        name, separator, value = one.partition("=")
        if not separator:
            raise InvalidInput(f"'{one}' is no parameter.", next_step="Write it as name=value.")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _story(found: dict[str, Any]) -> str:
    """Return a run in words: each step with its time, or the run it was reused from."""
    lines = [f"{found['pipeline']} {found['id']}: {found['state']} {found['failure']}".rstrip()]
    for step in found["steps"]:
        seconds = ((step["ended_at"] or step["started_at"]) - step["started_at"]) / 1e6
        how = f"reused from {step['reused_from']}" if step["reused_from"] else f"{seconds:.2f} s"
        lines.append(f"  {step['name']:<20} {step['state']:<10} {how}")
    if found["result"]:
        lines.append(json.dumps(found["result"], indent=2, ensure_ascii=False))
    return "\n".join(lines)
