"""`gateline pipeline schedule|trigger|limits|backfill|approvals|approve|reject`: what starts runs by itself, and what holds them up."""

from __future__ import annotations

import json
from typing import Any

import click

from gateline.cli.output import client, emit, table
from gateline.kernel.errors import InvalidInput

_PIPELINE = click.option("--pipeline", required=True, help="The pipeline that is run.")
_PROJECT_NAME = click.option("--project", default="", help="Only runners of the project of this name. [default: any]")
_PRIORITY = click.option(
    "--priority", type=click.IntRange(-1000, 1000), default=0, show_default=True, help="Greater ones are worked on first."
)
_REASON = click.option("--reason", required=True, help="Why; it is kept.")


@click.group()
def schedule() -> None:
    """Schedules: pipelines by the clock."""


@schedule.command("add")
@click.argument("name")
@click.argument("parameters", nargs=-1)
@_PIPELINE
@click.option("--cron", required=True, help="Minute, hour, day of month, month, day of week: '30 2 * * 1-5'.")
@click.option("--zone", default="UTC", show_default=True, help="IANA time zone, such as Europe/Berlin.")
@click.option("--catch-up", type=click.Choice(["none", "last", "all"]), default="last", show_default=True, help="Missed times that run.")
@click.option("--catch-up-max", type=click.IntRange(1, 1000), default=1, show_default=True, help="Of `all`: at most so many, the newest.")
@click.option("--time-parameter", default="", help="The parameter that gets the nominal time as ISO text.")
@_PROJECT_NAME
@_PRIORITY
@click.pass_context
def add_schedule(ctx: click.Context, /, name: str, parameters: tuple[str, ...], **fields: Any) -> None:
    """Declare the schedule NAME, or declare it anew. PARAMETERS are name=value, the value JSON or text."""
    found = client(ctx).put(f"/pipeline-schedules/{name}", json={**fields, "parameters": arguments(parameters)})
    emit(ctx, found, _schedule_story(found))


@schedule.command("list")
@click.pass_context
def list_schedules(ctx: click.Context) -> None:
    """List schedules with the next time of each."""
    found = client(ctx).get("/pipeline-schedules")
    emit(ctx, found, table(found, ("name", "pipeline", "cron", "zone", "next", "paused_by", "last_decision")))


@schedule.command("show")
@click.argument("name")
@click.option("--next", "shown", type=click.IntRange(1, 100), default=5, show_default=True, help="How many coming times.")
@click.pass_context
def show_schedule(ctx: click.Context, name: str, shown: int) -> None:
    """Show a schedule with its next nominal times."""
    found = client(ctx).get(f"/pipeline-schedules/{name}", params={"shown": shown})
    emit(ctx, found, _schedule_story(found))


@schedule.command("pause")
@click.argument("name")
@click.pass_context
def pause_schedule(ctx: click.Context, name: str) -> None:
    """Let no time of a schedule start a run until it is resumed."""
    found = client(ctx).post(f"/pipeline-schedules/{name}/pause")
    emit(ctx, found, _schedule_story(found))


@schedule.command("resume")
@click.argument("name")
@click.pass_context
def resume_schedule(ctx: click.Context, name: str) -> None:
    """Go on with a schedule; times that passed meanwhile are not caught up: a backfill does that."""
    found = client(ctx).post(f"/pipeline-schedules/{name}/resume")
    emit(ctx, found, _schedule_story(found))


@schedule.command("remove")
@click.argument("name")
@click.pass_context
def remove_schedule(ctx: click.Context, name: str) -> None:
    """Remove a schedule; its runs stay."""
    client(ctx).delete(f"/pipeline-schedules/{name}")
    emit(ctx, {"removed": name}, f"Schedule {name} is removed.")


@click.group()
def trigger() -> None:
    """Triggers: alerts of an endpoint, or new versions of a dataset, start pipelines."""


@trigger.command("add")
@click.argument("name")
@click.argument("parameters", nargs=-1)
@_PIPELINE
@click.option("--endpoint", default="", help="Listen to alerts of this endpoint.")
@click.option("--on", "alert_kinds", multiple=True, help="Kinds of alert: drift, performance, … [default: drift, performance]")
@click.option("--dataset", default="", help="Listen to new versions of this dataset.")
@click.option("--cool-down", type=click.IntRange(0), default=0, help="Least seconds between two starts.")
@click.option("--parameter", default="", help="The parameter that gets the end of the alert's window, or the id of the version.")
@_PROJECT_NAME
@click.pass_context
def add_trigger(
    ctx: click.Context, /, name: str, parameters: tuple[str, ...], endpoint: str, alert_kinds: tuple[str, ...], dataset: str,
    cool_down: int, **fields: Any,
) -> None:  # fmt: skip
    """Declare the trigger NAME, or declare it anew. PARAMETERS are name=value, the value JSON or text."""
    if bool(endpoint) == bool(dataset):
        raise InvalidInput("A trigger listens to an endpoint or to a dataset.", next_step="Give --endpoint or --dataset.")
    kinds = list(alert_kinds or ("drift", "performance")) if endpoint else list(alert_kinds)
    body = {**fields, "source": "alert" if endpoint else "dataset", "subject": endpoint or dataset, "alert_kinds": kinds}
    body |= {"cool_down_seconds": cool_down, "parameters": arguments(parameters)}
    found = client(ctx).put(f"/pipeline-triggers/{name}", json=body)
    emit(ctx, found, f"Trigger {name} starts {found['pipeline']} on {found['source']} {found['subject']}.")


@trigger.command("list")
@click.pass_context
def list_triggers(ctx: click.Context) -> None:
    """List triggers with what each decided last."""
    found = client(ctx).get("/pipeline-triggers")
    emit(ctx, found, table(found, ("name", "pipeline", "source", "subject", "alert_kinds", "pending", "last_decision")))


@trigger.command("remove")
@click.argument("name")
@click.pass_context
def remove_trigger(ctx: click.Context, name: str) -> None:
    """Remove a trigger; its runs stay."""
    client(ctx).delete(f"/pipeline-triggers/{name}")
    emit(ctx, {"removed": name}, f"Trigger {name} is removed.")


@click.command()
@click.argument("pipeline")
@click.option("--concurrent", "concurrent_max", type=click.IntRange(0), help="Most runs under way at once; 0 for no limit.")
@click.option("--runs", "runs_max", type=click.IntRange(0), help="Most runs that begin within the period; 0 for no limit.")
@click.option("--period", "period_seconds", type=click.IntRange(1), help="Seconds of that period.")
@click.option("--cool-down", "cool_down_seconds", type=click.IntRange(0), help="Least seconds between the begins of two runs.")
@click.option("--deduplicate", "deduplicate_seconds", type=click.IntRange(0), help="Seconds in which an equal request is the same run.")
@click.pass_context
def limits(ctx: click.Context, /, pipeline: str, **given: int | None) -> None:
    """Show the limits of PIPELINE, or change those that are given. Runs beyond them wait in the queue."""
    api, path = client(ctx), f"/pipelines/{pipeline}/limits"
    found = api.get(path)
    changes = {name: value for name, value in given.items() if value is not None}
    if changes:
        kept = {name: changes.get(name, found[name]) for name in given}
        body = {name: None if name.endswith("_max") and value == 0 else value for name, value in kept.items()}
        found = api.put(path, json=body)
    emit(ctx, found, "\n".join(f"{name.replace('_', ' ')}: {'–' if value in (None, '') else value}" for name, value in found.items()))


@click.group()
def backfill() -> None:
    """Backfills: runs over a range of times or dataset versions."""


@backfill.command("start")
@click.argument("pipeline")
@click.argument("parameters", nargs=-1)
@click.option("--parameter", required=True, help="The parameter that gets the nominal time or the id of the version.")
@click.option("--schedule", "schedule_name", default="", help="Over the nominal times of this schedule.")
@click.option("--from", "start", default="", help="First time, such as 2026-01-01T00:00:00Z.")
@click.option("--to", "end", default="", help="Last time.")
@click.option("--dataset", default="", help="Over versions of this dataset.")
@click.option("--versions", default="", help="First and last version: 3-9.")
@click.option("--parallel", "parallel_max", type=click.IntRange(1, 100), default=1, show_default=True, help="How many runs at once.")
@_PROJECT_NAME
@_PRIORITY
@click.pass_context
def start_backfill(
    ctx: click.Context, /, pipeline: str, parameters: tuple[str, ...], schedule_name: str, versions: str, **fields: Any
) -> None:  # fmt: skip
    """Run PIPELINE once for each item of a range. PARAMETERS are name=value, the same for all."""
    body = {**fields, "pipeline": pipeline, "schedule": schedule_name, "parameters": arguments(parameters)}
    if versions:
        first, _, last = versions.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise InvalidInput(f"'{versions}' is no range of versions.", next_step="Write it as 3-9.")
        body |= {"first": int(first), "last": int(last or first)}
    found = client(ctx).post("/pipeline-backfills", json=body)
    emit(ctx, found, f"{found['id']}: {len(found['items'])} runs of {pipeline}, {found['parallel_max']} at once.")


@backfill.command("list")
@click.pass_context
def list_backfills(ctx: click.Context) -> None:
    """List the newest backfills."""
    found = client(ctx).get("/pipeline-backfills")
    emit(ctx, found, table([{**one, "runs": _counted(one)} for one in found], ("id", "pipeline", "state", "left", "runs", "created_by")))


@backfill.command("show")
@click.argument("backfill_id")
@click.pass_context
def show_backfill(ctx: click.Context, backfill_id: str) -> None:
    """Show a backfill with the number of its runs in each state."""
    found = client(ctx).get(f"/pipeline-backfills/{backfill_id}")
    emit(ctx, found, _backfill_story(found))


@backfill.command("cancel")
@click.argument("backfill_id")
@click.pass_context
def cancel_backfill(ctx: click.Context, backfill_id: str) -> None:
    """Ask for no more runs, and cancel those that are queued or under way."""
    found = client(ctx).post(f"/pipeline-backfills/{backfill_id}/cancel")
    emit(ctx, found, _backfill_story(found))


@backfill.command("resume")
@click.argument("backfill_id")
@click.pass_context
def resume_backfill(ctx: click.Context, backfill_id: str) -> None:
    """Go on with a backfill that is cancelled or done: items without a run that succeeded are run."""
    found = client(ctx).post(f"/pipeline-backfills/{backfill_id}/resume")
    emit(ctx, found, _backfill_story(found))


@click.command()
@click.argument("run_id", required=False)
@click.pass_context
def approvals(ctx: click.Context, run_id: str | None) -> None:
    """List the questions that steps wait with, or all of one run with their answers."""
    found = client(ctx).get(f"/pipeline-runs/{run_id}/approvals" if run_id else "/pipeline-approvals")
    emit(ctx, found, table(found, ("run_id", "node", "question", "state", "decided_by", "comment")))


@click.command()
@click.argument("run_id")
@click.argument("step")
@_REASON
@click.pass_context
def approve(ctx: click.Context, run_id: str, step: str, reason: str) -> None:
    """Let STEP of a run go on, which waits for approval; whoever asked for the run cannot."""
    _answer(ctx, run_id, step, "approve", reason)


@click.command()
@click.argument("run_id")
@click.argument("step")
@_REASON
@click.pass_context
def reject(ctx: click.Context, run_id: str, step: str, reason: str) -> None:
    """Let STEP of a run fail, which waits for approval, and with it the run; whoever asked for the run cannot."""
    _answer(ctx, run_id, step, "reject", reason)


def _answer(ctx: click.Context, run_id: str, step: str, verb: str, reason: str) -> None:
    found = client(ctx).post(f"/pipeline-runs/{run_id}/steps/{step}/{verb}", json={"reason": reason})
    emit(ctx, found, f"Step {step} of run {run_id} is {found['state']} by {found['decided_by']}: {found['comment']}")


def _schedule_story(found: dict[str, Any]) -> str:
    given = ", ".join(f"{name}={value}" for name, value in found["parameters"].items())
    lines = [f"{found['name']}: {found['pipeline']}({given}) at '{found['cron']}' in {found['zone']}, catch-up {found['catch_up']}"]
    lines += [f"  paused by {found['paused_by']}"] if found["paused_by"] else [f"  next {one}" for one in found["next"]]
    return "\n".join([*lines, *([f"  last {found['last_decision']}"] if found["last_decision"] else [])])


def _backfill_story(found: dict[str, Any]) -> str:
    return f"{found['id']}: {found['pipeline']} is {found['state']}; {found['left']} of {len(found['items'])} left; {_counted(found)}"


def _counted(found: dict[str, Any]) -> str:
    return ", ".join(f"{count} {state}" for state, count in found["counts"].items()) or "no runs yet"


def arguments(parameters: tuple[str, ...]) -> dict[str, Any]:
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
