"""`gateline init`: a small project that runs as it is, or a notebook as a project."""

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
@click.option("--from-notebook", "notebook", type=click.Path(dir_okay=False, path_type=Path), help="Make the project of this .ipynb file.")
@click.pass_context
def init(ctx: click.Context, folder: Path, notebook: Path | None) -> None:
    """Write a small project that runs as it is into FOLDER, this one by default. Existing files are never overwritten.

    With --from-notebook it is the notebook as a project: sections become steps, and what could not be carried over is said.
    """
    if notebook is None:
        files = dict(sorted(_files(resources.files("gateline.cli").joinpath("project"), "")))
        _write(folder, files)
        emit(ctx, {"folder": str(folder.absolute()), "files": list(files)}, _written(folder, len(files), "train"))
        return
    from gateline.sdk.notebook import convert, read_notebook

    made = convert(read_notebook(notebook), notebook.absolute().parent)
    _write(folder, made.files)
    answer = {
        "folder": str(folder.absolute()), "files": sorted(made.files), "pipeline": made.pipeline, "steps": list(made.steps),
        "left": list(made.left), "findings": [one.as_dict() for one in made.findings],
    }  # fmt: skip
    left = ["Not carried over:", *(f"  {one}" for one in made.left)] if made.left else ["Everything was carried over."]
    emit(ctx, answer, "\n".join([f"Steps: {', '.join(made.steps)}", *left, _written(folder, len(made.files), made.pipeline)]))


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write files; none when one of them is there."""
    existing = [name for name in files if (folder / name).exists()]
    if existing:
        raise Conflict(
            f"{folder.absolute()} already holds {', '.join(existing)}; nothing was written.",
            next_step="Choose another folder: gateline init DIR",
        )
    for name, content in files.items():
        write_atomic(folder / name, content)


def _written(folder: Path, number: int, pipeline: str) -> str:
    step_in = "" if folder.resolve() == Path.cwd() else f"cd '{folder}' && "
    return f"Wrote {number} files into {folder.absolute()}. Try it:\n  {step_in}gateline run {pipeline}"


def _files(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    """Return the relative name and content of every file below a packaged folder."""
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += [] if entry.name == "__pycache__" else _files(entry, f"{prefix}{entry.name}/")
        else:
            found.append((prefix + _RENAMED.get(entry.name, entry.name), entry.read_bytes()))
    return found
