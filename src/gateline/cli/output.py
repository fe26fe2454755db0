"""What every command shares: where it is connected, how it answers, and how it ends."""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateline.kernel.errors import ConfigurationError, GatelineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateline.kernel.settings import Settings
    from gateline.sdk.client import Client


class ExitCode(IntEnum):
    """How a command ended. Leave with `ctx.exit(ExitCode.…)`."""

    PASS = 0
    ERROR = 1
    USAGE = 2
    GATE_FAILED = 3
    PENDING = 4
    ALERT = 5
    INTERRUPTED = 130


@dataclass(slots=True, kw_only=True)
class Session:
    """What the options of the command line say, and the connection made from them.

    Attributes:
        json: Whether standard output gets JSON.
        home: The folder of `--home`; None leaves it to the settings.
        url: The server of `--url`; None leaves it to the settings.
    """

    json: bool = False
    home: Path | None = None
    url: str | None = None
    _client: Client | None = field(default=None, init=False)

    def choose(self, *, home: str | None, url: str | None) -> None:
        """Take the options of the root command."""
        self.home, self.url = (None if home is None else Path(home)), url

    def client(self) -> Client:
        """Return the connection, made when it is first wanted."""
        if self._client is None:
            from gateline.sdk.client import Client

            self._client = Client(url=self.url, home=self.home)
        return self._client

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None


def session(ctx: click.Context) -> Session:
    """Return the session of the running command."""
    found = ctx.find_object(Session)
    if found is None:
        raise ConfigurationError("The command was not started by gateline.cli.main.")
    return found


def client(ctx: click.Context) -> Client:
    """Return a client of the server that the options, the environment or the local folder name."""
    return session(ctx).client()


def settings(ctx: click.Context, **options: Any) -> Settings:
    """Return the settings of this installation, where options that are not None replace `GATELINE_…` variables.

    Raises:
        ConfigurationError: values are not allowed; every mistake is named.
    """
    from pydantic import ValidationError

    from gateline.kernel.settings import Settings

    given = {"home": session(ctx).home, **options}
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        mistakes = [f"{'GATELINE_' + str(one['loc'][0]).upper() if one['loc'] else 'settings'}: {one['msg']}" for one in error.errors()]
        raise ConfigurationError(
            f"The settings are wrong: {'; '.join(mistakes)}.", next_step="Mend the GATELINE_… variables or the options of the command."
        ) from error


def emit(ctx: click.Context, data: Any, text: str | Callable[[], str]) -> None:
    """Answer the caller on standard output: `data` as JSON with --json, else `text`."""
    if session(ctx).json:
        print(json.dumps(data, indent=2, ensure_ascii=False, default=str), flush=True)
    else:
        print(text if isinstance(text, str) else text(), flush=True)


def progress(message: str) -> None:
    """Say on standard error what is going on; standard output stays for the answer."""
    print(message, file=sys.stderr, flush=True)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as aligned plain text under a heading; missing values are shown as a dash."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    lines = [[column.replace("_", " ") for column in columns], *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def report(current: Session, error: Exception) -> None:
    """Write one clear message about an error to standard error, and with --json a problem document to standard output."""
    code, status, message, next_step, facts = _describe(error)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader is gone: nothing more can be said there
        return
    print(f"gateline: {message}" + (f"\n{next_step}" if next_step else ""), file=sys.stderr)
    if not isinstance(error, (GatelineError, click.ClickException, OSError)):
        traceback.print_exception(error, file=sys.stderr)
    if current.json:
        problem = {"type": f"urn:gateline:error:{code}", "title": code.replace("_", " ").capitalize(), "status": status, "detail": message}
        print(json.dumps({**problem, "code": code, "next_step": next_step, "facts": facts}, indent=2, ensure_ascii=False, default=str))


def _describe(error: Exception) -> tuple[str, int, str, str, dict[str, Any]]:
    """Return code, status, message, next step and facts of any error."""
    if isinstance(error, GatelineError):
        return error.code, error.status, error.message, error.next_step, error.facts
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx is not None else "gateline"
        return "usage", 400, error.format_message(), f"Try '{command} --help'.", {}
    if isinstance(error, click.ClickException):
        return "usage", 400, error.format_message(), "", {}
    if isinstance(error, OSError):
        what = f"{error.filename}: " if error.filename else ""
        return "error", 500, f"{what}{error.strerror or error}.", "Check the path, its permissions and the space on its disk.", {}
    return GatelineError.code, 500, f"Gateline failed in a way nobody foresaw: {error!r}.", "Please report it with the lines below.", {}
