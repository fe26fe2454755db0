"""`gateline init`: a small project that runs as it is."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateline.cli.output import emit
from gateline.kernel.errors import Conflict
from gateline.kernel.files import write_atomic

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_RENAMED = {"gitignore": ".gitignore"}  # a file of that name would hide its neighbours from our own version control


@click.command("init")
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.pass_context
def init(ctx: click.Context, folder: Path) -> None:
    """Write a small project that runs as it is into FOLDER, this one by default. Existing files are never overwritten."""
    files = dict(sorted(_files(resources.files("gateline.cli").joinpath("project"), "")))
    existing = [name for name in files if (folder / name).exists()]
    if existing:
        raise Conflict(
            f"{folder.absolute()} already holds {', '.join(existing)}; nothing was written.",
            next_step="Choose another folder: gateline init DIR",
        )
    for name, content in files.items():
        write_atomic(folder / name, content)
    step_in = "" if folder.resolve() == Path.cwd() else f"cd '{folder}' && "
    text = f"Wrote {len(files)} files into {folder.absolute()}. Try it:\n  {step_in}gateline run train"
    emit(ctx, {"folder": str(folder.absolute()), "files": list(files)}, text)


def _files(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    """Return the relative name and content of every file below a packaged folder."""
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += [] if entry.name == "__pycache__" else _files(entry, f"{prefix}{entry.name}/")
        else:
            found.append((prefix + _RENAMED.get(entry.name, entry.name), entry.read_bytes()))
    return found
