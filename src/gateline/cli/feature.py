"""`gateline feature`: feature sets and the search for leaks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateline.cli.output import ExitCode, client, emit, progress, table
from gateline.kernel.clock import iso
from gateline.kernel.errors import NotFound

if TYPE_CHECKING:
    from gateline.features import FeatureMarks


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
    from gateline.sdk.marks import feature_marks

    found = feature_set(client(ctx), version)
    marks = {one.feature: one for one in feature_marks(client(ctx), found)}
    parts = {name: part for part in found.definition.plan.parts for name in part.outputs}
    rows = [
        {
            "feature": one.name,
            "type": one.dtype,
            "kind": one.kind.value,
            "from": f"{type(parts[one.name]).__name__.lower()} of {parts[one.name].source.name}" if one.name in parts else "the request",
            "marks": _marks(marks[one.name]),
        }
        for one in found.features
    ]
    head = f"{found.id}  digest {found.digest}\n{found.definition.description}\nreads {', '.join(found.dataset_versions.values())}\n"
    content = found.as_dict() | {"marks": [one.as_dict() for one in marks.values()]}
    emit(ctx, content, lambda: f"{head}\n{table(rows, ['feature', 'type', 'kind', 'from', 'marks'])}")


def _marks(marks: FeatureMarks) -> list[str] | None:
    """Return what a feature derives from, as far as contracts say it."""
    removed = f" (declared not personal by {marks.removal.declared_by}: {marks.removal.reason})" if marks.removal else ""
    found = [f"{one.kind} by {one.dataset}.{one.column}" for one in marks.protected]
    if marks.personal:
        columns = " and ".join(f"{one.dataset}.{one.column} ({one.kind})" for one in marks.personal)
        found.append(f"personal by {columns}{removed}")
    return [*found, *(f"unknown: {dataset} has no contract" for dataset in marks.undeclared)] or None


@group.command("not-personal")
@click.argument("version")
@click.argument("feature")
@click.option("--reason", required=True, help="Why the values are no personal data.")
@click.pass_context
def not_personal(ctx: click.Context, version: str, feature: str, reason: str) -> None:
    """Declare that FEATURE of VERSION, made of personal columns, is no personal data; it holds until feature or marks change."""
    from gateline.sdk.features import feature_set
    from gateline.sdk.marks import declare_not_personal

    connection = client(ctx)
    found = declare_not_personal(connection, feature_set(connection, version), feature, reason)
    emit(ctx, found.as_dict(), f"Feature {feature} of {version} is recorded as no personal data: {reason}")


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
