"""`gateline gate`: policies and judgements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateline.cli.output import ExitCode, client, emit, progress

if TYPE_CHECKING:
    from gateline.gates import GateRun, Verdict

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group("gate")
def group() -> None:
    """Judge models by the project's policy."""


@group.command("policy")
@click.argument("file", type=_FILE, default=Path("gateline.toml"))
@click.pass_context
def record(ctx: click.Context, file: Path) -> None:
    """Record the [gates] table of FILE; do it before training."""
    from gateline.kernel.clock import iso
    from gateline.sdk.gates import read_policy, record_policy

    recorded = record_policy(client(ctx), read_policy(file))
    emit(ctx, recorded.as_dict(), f"Policy {recorded.digest} was recorded {iso(recorded.recorded_at)} by {recorded.recorded_by}.")


@group.command("run")
@click.option("--run-id", required=True, help="The tracked run that trained the model.")
@click.option("--form", required=True, type=_FOLDER, help="Folder with the served form: serving.json and its files.")
@click.option("--frame", required=True, type=_FILE, help="Parquet file with the holdout rows.")
@click.option("--training-frame", required=True, type=_FILE, help="Parquet file with exactly the rows it was trained on.")
@click.option("--trained-until", required=True, help="End of the training period, such as 2013-04-01T00:00:00Z.")
@click.option("--policy", "policy_file", type=_FILE, default=Path("gateline.toml"), show_default=True, help="File with the [gates] table.")
@click.option("--champion", default="", help="Version to compare with, such as flight-delay@1.")
@click.option("--check", "checks", multiple=True, help="Check to make; may be repeated. [default: those the policy requires]")
@click.option("--force", is_flag=True, help="Judge again what was judged already.")
@click.pass_context
def run(
    ctx: click.Context,
    *,
    run_id: str,
    form: Path,
    frame: Path,
    training_frame: Path,
    trained_until: str,
    policy_file: Path,
    champion: str,
    checks: tuple[str, ...],
    force: bool,
) -> None:
    """Have a model judged. Exit status: 0 pass, 1 error, 3 fail, 4 inconclusive."""
    from gateline.gates import table
    from gateline.kernel.clock import parse_iso
    from gateline.sdk.gates import read_policy, run_gates

    until, policy, connection = parse_iso(trained_until), read_policy(policy_file), client(ctx)
    progress("Uploading the model and its rows.")
    files = {path.relative_to(form).as_posix(): connection.upload(path) for path in sorted(form.rglob("*")) if path.is_file()}
    rows, trained_on = connection.upload(frame), connection.upload(training_frame)
    progress("Judging.")
    found = run_gates(
        connection, run_id=run_id, files=files, training_frame=trained_on, trained_until=until, frame=rows, policy=policy,
        champion=champion, suite=checks or None, force=force,
    )  # fmt: skip
    emit(ctx, found.as_dict(), lambda: table(found))
    ctx.exit(_exit_code(found.verdict))


@group.command("show")
@click.argument("gate_run_id")
@click.pass_context
def show(ctx: click.Context, gate_run_id: str) -> None:
    """Show a judgement. Exit status: 0 pass, 1 error, 3 fail, 4 inconclusive."""
    from gateline.gates import table
    from gateline.sdk.gates import gate_run

    found: GateRun = gate_run(client(ctx), gate_run_id)
    emit(ctx, found.as_dict(), lambda: table(found))
    ctx.exit(_exit_code(found.verdict))


def _exit_code(verdict: Verdict) -> ExitCode:
    """Return how a command ends whose answer is this verdict; unknown ones end as an error."""
    return {"pass": ExitCode.PASS, "fail": ExitCode.GATE_FAILED, "inconclusive": ExitCode.PENDING}.get(verdict.value, ExitCode.ERROR)
