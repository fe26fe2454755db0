"""The command line: nouns and verbs, loaded only when they are used."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

from gateline.cli.output import ExitCode, Session, report, session
from gateline.kernel.errors import GatelineError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: dict[str, tuple[str, str]] = {
    "contract": ("contract:group", "What the versions of a dataset promise: propose, review, check."),
    "dataset": ("dataset:group", "Versions of data: register, look at, verify, keep, rebuild."),
    "demo": ("demo:demo", "Live through the whole loop on a year of real flights."),
    "doctor": ("doctor:doctor", "Say what is wrong with this installation, and what to do about it."),
    "endpoint": ("endpoint:group", "Where predictions are asked for, and which version answers."),
    "feature": ("feature:group", "Feature sets: register, look at, check for leaks."),
    "gate": ("gate:group", "What must be true of a model, and the verdicts."),
    "init": ("init:init", "Write a small project that runs as it is."),
    "label": ("monitor:label_group", "Record what became of predictions."),
    "ledger": ("ledger:group", "Read and verify the record of every change."),
    "lock": ("lock:group", "Pin the versions that a project uses."),
    "model": ("model:group", "Versions of models, their approvals and history."),
    "monitor": ("monitor:group", "Windows, drift, performance and alerts of an endpoint."),
    "notebook": ("notebook:group", "Check saved notebooks, and keep them with their runs."),
    "pipeline": ("pipeline:group", "Runs of pipelines."),
    "principal": ("access:principal_group", "People and services that may use Gateline."),
    "reproduce": ("reproduce:reproduce", "Make a model version again, and grade how alike it is."),
    "rollout": ("rollout:group", "Releases, canaries, probation and rollback."),
    "run": ("pipeline:run", "Run a pipeline of the project here, recorded; follow and stop runs."),
    "runner": ("pipeline:runner", "Execute queued runs of the project until stopped."),
    "status": ("status:status", "Say what runs and how much it holds."),
    "token": ("access:token_group", "API tokens of principals."),
    "tracking": ("run:group", "Tracked runs and their frozen snapshots."),
    "up": ("up:up", "Start the server."),
}
"""For each noun: the module below `gateline.cli` with the attribute that holds its command, and its line of help."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run; their help lines are known without that."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the nouns in alphabetical order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command, each of whose verbs takes --json."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"gateline.cli.{module}"), attribute)
        _accept_json(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of nouns without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in sorted(COMMANDS.items())])


def _accept_json(command: click.Command) -> None:
    """Give the command, or every verb of the group, the option --json."""
    if isinstance(command, click.Group):
        for verb in command.commands.values():
            _accept_json(verb)
    elif not any(parameter.name == "json" for parameter in command.params):
        command.params.append(_json_option())


def _json_option() -> click.Option:
    def remember(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        current = session(ctx)
        current.json = current.json or value

    return click.Option(
        ["--json"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=remember,
        help="Write JSON to standard output; errors as problem documents.",
    )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--home", type=click.Path(file_okay=False), help="Folder of the installation. [default: $GATELINE_HOME or .gateline]")
@click.option("--url", help="A server elsewhere. [default: $GATELINE_URL, or the local folder]")
@click.version_option(package_name="gateline", message="gateline %(version)s")
@click.pass_context
def root(ctx: click.Context, home: str | None, url: str | None) -> None:
    """The whole MLOps loop, with evidence.

    Exit status: 0 pass, 1 error, 2 usage, 3 gate failed, 4 pending or inconclusive, 5 alert.
    """
    session(ctx).choose(home=home, url=url)


root.params.append(_json_option())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; this is the only place where errors become text.

    Args:
        arguments: What follows `gateline` on the command line; those of this process when None.
    """
    current = Session()
    try:
        outcome: Any = root.main(
            args=None if arguments is None else list(arguments), prog_name="gateline", standalone_mode=False, obj=current
        )
        sys.stdout.flush()
        return outcome if isinstance(outcome, int) else ExitCode.PASS
    except click.UsageError as error:
        report(current, error)
        return ExitCode.USAGE
    except (GatelineError, click.ClickException, OSError) as error:
        report(current, error)
        return ExitCode.ERROR
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else ExitCode.ERROR
    except (click.Abort, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except Exception as error:
        report(current, error)
        return ExitCode.ERROR
    finally:
        current.close()
