"""`gateline feature`: feature sets and the search for leaks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from gateline.cli.output import ExitCode, client, emit, progress, table
from gateline.kernel.clock import iso
from gateline.kernel.errors import Conflict, NotFound


@click.group("feature")
def group() -> None:
    """Register, show and check feature sets."""


@group.command("register")
@click.argument("names", nargs=-1)
@click.option("--project", type=click.Path(file_okay=False), default=".", help="Folder with gateline.toml. [default: this folder]")
@click.pass_context
def register(ctx: click.Context, names: tuple[str, ...], project: str) -> None:
    """Register the feature sets NAMES of the project, by default all that [features] of gateline.toml declares."""
    from gateline.sdk.features import project_feature_sets, register_feature_set
    from gateline.sdk.project import Project

    feature_sets = project_feature_sets(Project.load(Path(project)))
    if unknown := [name for name in names if name not in feature_sets]:
        raise NotFound(
            f"gateline.toml declares no feature set {', '.join(unknown)}.", next_step=f"It declares: {', '.join(feature_sets) or 'none'}."
        )
    found = []
    for name in names or feature_sets:
        progress(f"Checking {name} against its data …")
        found.append(register_feature_set(client(ctx), feature_sets[name]))
    lines = [
        f"{one.id}: {len(one.features)} features over {', '.join(one.dataset_versions.values())}, digest {one.digest}" for one in found
    ]
    emit(ctx, [one.as_dict() for one in found], "\n".join(lines) or "gateline.toml declares no feature sets under [features].")


@group.command("list")
@click.argument("name", required=False)
@click.pass_context
def list_versions(ctx: click.Context, name: str | None) -> None:
    """List the versions of feature set NAME, or of all."""
    from gateline.sdk.features import feature_sets

    found = feature_sets(client(ctx), name)
    rows: list[dict[str, Any]] = [
        {
            "version": one.id,
            "features": len(one.features),
            "datasets": sorted(one.dataset_versions.values()),
            "digest": one.digest[:12],
            "registered": iso(one.created_at)[:19],
            "by": one.created_by,
        }
        for one in found
    ]
    columns = ["version", "features", "datasets", "digest", "registered", "by"]
    emit(ctx, [one.as_dict() for one in found], lambda: table(rows, columns) if rows else "No feature set is registered.")


@group.command("show")
@click.argument("version")
@click.pass_context
def show(ctx: click.Context, version: str) -> None:
    """Show VERSION (NAME for the newest, or NAME@NUMBER) with its features."""
    from gateline.sdk.features import feature_set

    found = feature_set(client(ctx), version)
    parts = {name: part for part in found.definition.plan.parts for name in part.outputs}
    rows = [
        {
            "feature": one.name,
            "type": one.dtype,
            "kind": one.kind.value,
            "from": f"{type(parts[one.name]).__name__.lower()} of {parts[one.name].source.name}" if one.name in parts else "the request",
        }
        for one in found.features
    ]
    head = f"{found.id}  digest {found.digest}\n{found.definition.description}\nreads {', '.join(found.dataset_versions.values())}\n"
    emit(ctx, found.as_dict(), lambda: f"{head}\n{table(rows, ['feature', 'type', 'kind', 'from'])}")


@group.command("check")
@click.argument("version")
@click.option("--rows", type=click.IntRange(0, 10_000), default=200, show_default=True, help="Rows tried; 0 compares declared times only.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sample of rows.")
@click.pass_context
def check(ctx: click.Context, version: str, rows: int, seed: int) -> None:
    """Search VERSION for features that see the future; exit status 3 when one does."""
    from gateline.sdk.features import check_feature_set, feature_set

    connection = client(ctx)
    found = feature_set(connection, version)
    leaks = check_feature_set(connection, found, seed=seed, rows=rows)
    good = (
        f"{found.id}: no feature sees the future (all declared times, and {rows} rows tried with what came later taken away and altered)."
    )
    bad = "\n".join([f"{found.id}: {len(leaks)} features see the future.", *(f"  {leak.detail}" for leak in leaks)])
    emit(ctx, {"id": found.id, "seed": seed, "rows": rows, "leaks": [leak.as_dict() for leak in leaks]}, bad if leaks else good)
    if leaks:
        ctx.exit(ExitCode.GATE_FAILED)


@group.command("compute")
@click.argument("version")
@click.option("--engine", type=click.Choice(["polars", "spark"]), default="polars", show_default=True, help="What computes the features.")
@click.option("--out", type=click.Path(dir_okay=False), help="New Parquet file for the rows.")
@click.pass_context
def compute(ctx: click.Context, version: str, engine: str, out: str | None) -> None:
    """Compute VERSION over the data it pins, and tell rows, logical digest and seconds.

    Both engines give the same whole numbers and texts; fractions agree to 1e-9 of their size, so that their digests may differ.
    """
    from gateline.local.computing import compute_with, rows_digest, write_rows
    from gateline.sdk.features import feature_set, tables

    if out is not None and Path(out).exists():
        raise Conflict(f"The file {out} exists already.", next_step="Choose another name, or remove the file first.")
    connection = client(ctx)
    found = feature_set(connection, version)
    files = tables(connection, found)
    progress(f"Computing {found.id} with {engine} …")
    started = time.monotonic()
    rows = compute_with(engine, found.definition, files)
    seconds = round(time.monotonic() - started, 2)
    if out is not None:
        write_rows(rows, Path(out))
    answer = {"id": found.id, "engine": engine, "rows": rows.height, "digest": rows_digest(rows), "seconds": seconds, "out": out}
    text = f"{found.id}: {rows.height:,} rows, digest {answer['digest']}, {seconds} s with {engine}"
    emit(ctx, answer, text + (f", written to {out}" if out is not None else ""))


@group.command("import-feast")
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--out", type=click.Path(dir_okay=False), default="features.py", show_default=True, help="New Python file.")
@click.pass_context
def import_feast(ctx: click.Context, folder: str, out: str) -> None:
    """Write the definitions of the Feast repository in FOLDER as Gateline's, with a note for each difference in meaning.

    The repository's code is read and never run.
    """
    from gateline.local.computing import import_feast as imported

    if Path(out).exists():
        raise Conflict(f"The file {out} exists already.", next_step="Choose another name with --out, or remove the file first.")
    found = imported(Path(folder))
    Path(out).write_text(found.code, encoding="utf-8")
    names = f"{len(found.views)} views and {len(found.sets)} feature sets"
    lines = [f"{out}: {names} from {folder}", *(f"  note: {note}" for note in found.notes)]
    emit(ctx, {"out": out, "views": list(found.views), "sets": list(found.sets), "notes": list(found.notes)}, "\n".join(lines))


@group.command("export-feast")
@click.argument("version")
@click.argument("folder", type=click.Path(file_okay=False))
@click.pass_context
def export_feast(ctx: click.Context, version: str, folder: str) -> None:
    """Write VERSION as a Feast repository into the new FOLDER: its values at every instant at which one changes.

    Feast's lookup of the newest row then gives the same values, windows included.
    """
    from gateline.local.computing import export_feast as exported
    from gateline.sdk.features import feature_set, tables

    if Path(folder).exists():
        raise Conflict(f"The folder {folder} exists already.", next_step="Choose another name, or remove it first.")
    connection = client(ctx)
    found = feature_set(connection, version)
    written = exported(found.definition, tables(connection, found), Path(folder))
    lines = [f"{found.id}: {folder}", *(f"  {name}: {rows:,} rows" for name, rows in written.rows.items())]
    emit(ctx, {"id": found.id, "folder": folder, "rows": written.rows, "notes": list(written.notes)},
         "\n".join([*lines, *(f"  note: {note}" for note in written.notes)]))  # fmt: skip
