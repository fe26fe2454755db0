"""`gateline run`, `gateline runner` and `gateline pipeline`: execute pipelines and look at their runs."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateline.cli.applying import apply
from gateline.cli.following import Teller, follow, follow_output, story
from gateline.cli.output import ExitCode, client, emit, progress, table
from gateline.cli.starting import approvals, approve, arguments, backfill, limits, reject, schedule, trigger
from gateline.cli.trials import trials
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateline.sdk.client import Client
    from gateline.sdk.project import Project

_PROJECT = click.option("--project", default=".", show_default=True, type=click.Path(file_okay=False), help="The project folder.")
_CPUS = click.option("--cpus", type=click.FloatRange(min=0.1), help="Processors that steps may take together. [default: all]")
_STOPS = (signal.SIGINT, signal.SIGTERM)


class _RunGroup(click.Group):
    """A group whose first verb may be left out: what is no verb is the name of a pipeline."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `start` before the name of a pipeline."""
        if args and args[0] not in self.commands and args[0] not in {"--help", "-h"}:
            args = ["start", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_RunGroup)
def run() -> None:
    """Run a pipeline of the project here, recorded: `gateline run PIPELINE [NAME=VALUE…]`; look at runs and stop them."""


@run.command()
@click.argument("pipeline")
@click.argument("parameters", nargs=-1)
@_PROJECT
@_CPUS
@click.option("--follow/--no-follow", "following", default=True, help="Execute it here and tell how it goes, or leave it to a runner.")
@click.option("--inline", is_flag=True, help="Run every step in this process, one after the other: for a debugger.")
@click.option("--dry-run", is_flag=True, help="Say what would run and what would be reused; record nothing.")
@click.option("--priority", type=click.IntRange(-1000, 1000), default=0, show_default=True, help="Greater ones are worked on first.")
@click.pass_context
def start(
    ctx: click.Context, pipeline: str, parameters: tuple[str, ...], project: str, cpus: float | None, following: bool, inline: bool,
    dry_run: bool, priority: int,
) -> None:  # fmt: skip
    """Run PIPELINE of the project. PARAMETERS are name=value, the value JSON or text.

    Ctrl-C cancels the run. Exit status 3 when the pipeline's gates failed, 4 when they were inconclusive or a step waits for approval.
    """
    loaded, api, given = _project(project), client(ctx), arguments(parameters)
    if pipeline not in loaded.settings.get("pipelines", {}):
        loaded.pipeline(pipeline)
    if dry_run:
        return _preview(ctx, api, loaded, pipeline, given)
    body = {"parameters": given, "reason": "By hand.", "project": loaded.name, "priority": priority}
    requested = api.post(f"/pipelines/{pipeline}/runs", json=body)
    progress(f"Run {requested['id']} is queued.")
    if not following:
        return emit(ctx, requested, f"{requested['id']}\nFollow it with: gateline run follow {requested['id']}")
    return _work(ctx, api, loaded, requested["id"], cpus=cpus, inline=inline)


@run.command()
@click.argument("run_id")
@_PROJECT
@_CPUS
@click.option("--inline", is_flag=True, help="Run every step in this process, one after the other: for a debugger.")
@click.pass_context
def resume(ctx: click.Context, run_id: str, project: str, cpus: float | None, inline: bool) -> None:
    """Go on with a run whose runner is gone, at its first unfinished step."""
    _work(ctx, client(ctx), _project(project), run_id, cpus=cpus, inline=inline)


@click.command()
@_PROJECT
@_CPUS
@click.pass_context
def runner(ctx: click.Context, project: str, cpus: float | None) -> None:
    """Execute queued runs of the project until it is stopped; steps under way are given back then."""
    from gateline.sdk.running import Runner

    loaded, teller = _project(project), Teller()
    working = Runner(client(ctx), loaded, cpus=cpus, tell=teller.event)
    for number in _STOPS:
        signal.signal(number, lambda *_: working.stop())
    working.warm()  # so that a broken project fails now, and the first run starts sooner
    progress(f"Runner {working.name} waits for runs of project '{loaded.name}'.")
    working.run()


@click.group()
def group() -> None:
    """Runs of pipelines."""


@group.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.pass_context
def list_runs(ctx: click.Context, limit: int) -> None:
    """List the newest runs."""
    found = client(ctx).get("/pipeline-runs", params={"limit": limit})
    emit(ctx, found, table(found, ("id", "pipeline", "state", "requested_by", "reason")))


@group.command()
@click.argument("run_id")
@click.option("--follow", "following", is_flag=True, help="Wait, and tell how it goes, until it is over.")
@click.pass_context
def show(ctx: click.Context, run_id: str, following: bool) -> None:
    """Show a run with its steps. Exit status 4 while it is not over."""
    api = client(ctx)
    found = follow(api, run_id, Teller(), stop=lambda _: False) if following else api.get(f"/pipeline-runs/{run_id}")
    emit(ctx, found, story(found))
    if not found["over"]:
        ctx.exit(ExitCode.PENDING)


@group.command()
@click.argument("run_id")
@click.pass_context
def cancel(ctx: click.Context, run_id: str) -> None:
    """Cancel a run: what has not begun never will, what runs is stopped within seconds."""
    found = client(ctx).post(f"/pipeline-runs/{run_id}/cancel")
    emit(ctx, found, story(found))


@group.command()
@click.argument("run_id")
@click.pass_context
def retry(ctx: click.Context, run_id: str) -> None:
    """Queue a run with the same parameters; steps whose code and inputs are as they were are reused."""
    found = client(ctx).post(f"/pipeline-runs/{run_id}/retry")
    emit(ctx, found, f"{found['id']}\nExecute it here with: gateline run resume {found['id']}")


@group.command()
@click.argument("run_id")
@click.argument("step", required=False)
@click.option("--index", type=click.IntRange(0), default=0, show_default=True, help="Which item of a mapped step.")
@click.option("--follow", "following", is_flag=True, help="Wait for more, until the step is over.")
@click.pass_context
def logs(ctx: click.Context, run_id: str, step: str | None, index: int, following: bool) -> None:
    """Write what STEP of a run has written, or each step in turn."""
    api = client(ctx)
    if step:
        return follow_output(api, run_id, step, index, wait=following)
    for one in api.get(f"/pipeline-runs/{run_id}")["steps"]:
        if one["attempts"]:
            progress(f"[{one['name']}]")
            follow_output(api, run_id, one["node"], one["index"], wait=following)
    return None


@group.command()
@click.argument("run_id")
@click.pass_context
def attempts(ctx: click.Context, run_id: str) -> None:
    """List every attempt at the steps of a run: who made it, how it ended, what it used."""
    found = client(ctx).get(f"/pipeline-runs/{run_id}/attempts")
    rows = [{**one, "memory": one["peak_memory_bytes"] and f"{one['peak_memory_bytes'] >> 20} MiB"} for one in found]
    emit(ctx, found, table(rows, ("node", "index", "attempt", "runner", "outcome", "cpu_seconds", "memory", "job", "detail")))


for _verb in (apply, trials, schedule, trigger, limits, backfill, approvals, approve, reject):
    group.add_command(_verb)

for _name, _verb in (("show", show), ("cancel", cancel), ("logs", logs), ("list", list_runs), ("retry", retry)):
    run.add_command(_verb, _name)


@run.command("follow")
@click.argument("run_id")
@click.pass_context
def follow_run(ctx: click.Context, run_id: str) -> None:
    """Tell how a run goes that others execute, until it is over."""
    found = follow(client(ctx), run_id, Teller(), stop=lambda _: False)
    emit(ctx, found, story(found))
    _leave(ctx, found)


def _work(ctx: click.Context, api: Client, project: Project, run_id: str, *, cpus: float | None, inline: bool) -> None:
    """Execute a run here until it is over, and answer with it."""
    from gateline.sdk.running import Runner, run_inline
    from gateline.sdk.running.desk import unique_name

    teller = Teller()
    if inline:
        run_inline(api, project, run_id, name=unique_name(), tell=teller.event)
        found = api.get(f"/pipeline-runs/{run_id}")
    else:
        working = Runner(api, project, run_id=run_id, cpus=cpus, tell=teller.event)
        with _stopping(working.stop, lambda: _cancel(api, run_id)):
            working.run(lambda: _is_done(api, run_id, teller))
        found = api.get(f"/pipeline-runs/{run_id}")
        teller.show({**found, "over": True})
    emit(ctx, found, story(found))
    _leave(ctx, found)


def _is_done(api: Client, run_id: str, teller: Teller) -> bool:
    found = api.get(f"/pipeline-runs/{run_id}")
    teller.show(found)
    return bool(found["over"]) or found["state"] == "waiting"


def _cancel(api: Client, run_id: str) -> None:
    progress(f"Cancelling run {run_id} … Ctrl-C again leaves at once.")
    threading.Thread(target=lambda: api.post(f"/pipeline-runs/{run_id}/cancel"), daemon=True).start()


class _stopping:  # noqa: N801 - used like a function
    """While the block runs, Ctrl-C cancels, and a second one or SIGTERM stops the runner."""

    def __init__(self, stop: Callable[[], None], cancel: Callable[[], None]) -> None:
        self._stop = stop
        self._cancel = cancel
        self._before: dict[int, Any] = {}
        self._asked = False

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._handle) for number in _STOPS}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: Any) -> None:
        if number == signal.SIGINT and not self._asked:
            self._asked = True
            self._cancel()
        else:
            self._stop()


def _preview(ctx: click.Context, api: Client, project: Project, pipeline: str, given: dict[str, Any]) -> None:
    """Say what a run would do."""
    from gateline.sdk.execution import draw

    drawn = draw(project, {"pipeline": pipeline, "parameters": given})
    if "failure" in drawn:
        raise InvalidInput(drawn["failure"])
    found = api.post("/pipeline-plans/preview", json=drawn)
    emit(ctx, found, table([{"step": name, "would": verb} for name, verb in found.items()], ("step", "would")))


def _leave(ctx: click.Context, found: dict[str, Any]) -> None:
    """End with the status that says how the run ended."""
    if found["state"] == "waiting":
        waiting = ", ".join(step["name"] for step in found["steps"] if step["state"] == "waiting")
        progress(f"The run waits for approval, with {waiting}. Approve with: gateline pipeline approve {found['id']} STEP --reason …")
        ctx.exit(ExitCode.PENDING)
    if not found["over"]:
        progress(f"The run is not over. Go on with: gateline run resume {found['id']}")
        ctx.exit(ExitCode.PENDING)
    if found["state"] != "succeeded":
        ctx.exit(ExitCode.INTERRUPTED if found["state"] == "cancelled" else ExitCode.ERROR)
    ctx.exit({"fail": ExitCode.GATE_FAILED, "inconclusive": ExitCode.PENDING}.get(found["result"].get("verdict"), ExitCode.PASS))


def _project(folder: str) -> Project:
    from gateline.sdk.project import Project

    return Project.load(Path(folder))
