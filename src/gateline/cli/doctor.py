"""`gateline doctor`: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateline.cli.output import ExitCode, emit, settings
from gateline.kernel.errors import GatelineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateline.cli.checks import Check


@click.command("doctor")
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Say what is wrong with this installation, and what to do about it; exit status 1 when something is."""
    checks = list(_checks(ctx))
    failed = sum(not check.good for check in checks)
    verdict = "Nothing is wrong." if not failed else f"{failed} of {len(checks)} checks found something wrong."

    def text() -> str:
        lines = []
        for check in checks:
            lines.append(f"{'ok ' if check.good else 'BAD'}  {check.name}: {check.finding}")
            if not check.good and check.next_step:
                lines.append(f"     {check.next_step}")
        return "\n".join([*lines, verdict])

    emit(ctx, {"good": not failed, "checks": [check.as_dict() for check in checks]}, text)
    if failed:
        ctx.exit(ExitCode.ERROR)


def _checks(ctx: click.Context) -> Iterator[Check]:
    """Yield what each check found; wrong settings end the list, since nothing else can be looked at without them."""
    from gateline.cli import checks

    yield checks.python_version()
    yield checks.packages()
    yield checks.unknown_variables()
    try:
        chosen = settings(ctx)
    except GatelineError as error:
        yield checks.Check.from_error("settings", error)
        return
    yield checks.Check(name="settings", good=True, finding=f"home is {chosen.home.absolute()}")
    yield checks.home_folder(chosen)
    yield checks.disk_space(chosen)
    yield checks.key_files(chosen)
    yield checks.server_lock(chosen)
    yield from checks.ports(chosen)
    yield from checks.records(chosen)
