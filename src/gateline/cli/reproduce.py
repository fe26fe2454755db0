"""`gateline reproduce`: make a model version again and grade how alike it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gateline.cli.output import ExitCode, client, emit, progress

_GRADES = ("R0", "R1", "R2", "R3")
_SHOWN = 20
_MEANING = {
    "R3": "bit-identical",
    "R2": "equal within 1e-6, the same decisions",
    "R1": "the loss is inside its interval",
    "R0": "different, or could not be made again",
}


@click.command()
@click.argument("version")
@click.option("--project", default=".", show_default=True, type=click.Path(file_okay=False), help="The project folder.")
@click.option(
    "--environment", type=click.Choice(["auto", "fresh", "present"]), default="auto", show_default=True,
    help="Where it is retrained: the present environment when it is equal to the recorded one, a fresh one, or the present one anyway.",
)  # fmt: skip
@click.option("--at-least", type=click.Choice(_GRADES), default="R2", show_default=True, help="A lower grade ends with exit status 3.")
@click.option("--keep", is_flag=True, help="Leave the folder with the code where it is.")
@click.pass_context
def reproduce(ctx: click.Context, version: str, project: str, environment: str, at_least: str, keep: bool) -> None:
    """Make VERSION, such as flight-delay@3, again from its records and grade how alike it is; the grade is recorded.

    R3: model and predictions are equal bit for bit. R2: predictions are equal within 1e-6, with the same decisions. R1: the loss is inside
    the interval of the recorded model's. R0: different, or it could not be made again. Code, environment and settings are rebuilt aside;
    gates, registration and whatever follows the training are not repeated.
    """
    from gateline.sdk.reproducing import EnvironmentChoice
    from gateline.sdk.reproducing import reproduce as make_again

    name, colon, number = version.rpartition(":")
    wanted = f"{name}@{number}" if colon and "@" not in version else version
    found = make_again(
        client(ctx), wanted, Path(project), environment=EnvironmentChoice(environment), keep=keep, tell=progress
    )  # fmt: skip
    emit(ctx, found, lambda: reproduction_text(found))
    if found["grade"] < at_least:
        ctx.exit(ExitCode.GATE_FAILED)


def reproduction_text(found: dict[str, Any]) -> str:
    """Return a reproduction as text: grade, why, what it was made from, and where it differs."""
    lines = [f"{found['grade']}: {_MEANING[found['grade']]}", found["sentence"]]
    if first := found["first_difference"]:
        lines.append(
            f"First difference: {first['stage']}, {first['name']}: recorded {_short(first['expected'])}, now {_short(first['found'])}"
        )
    lines += [f"{what.capitalize()}: {told}" for what, told in found["rebuilt"].items()]
    compared = found.get("compared", [])
    different = [one for one in compared if not one["equal"]]
    if compared:
        lines.append(f"Compared: {len(compared):,} things, {len(different):,} differ")
    lines += [f"  {one['stage']}  {one['name']}: {_short(one['expected'])} -> {_short(one['found'])}" for one in different[:_SHOWN]]
    return "\n".join([*lines, f"Record: {found['id']}"])


def _short(text: str) -> str:
    """Return a digest short, and words as they are; nothing as a dash."""
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:12] if is_digest else text[:200] or "-"
