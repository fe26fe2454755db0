"""`gateline dataset`: raw files that became versions."""

from __future__ import annotations

from typing import Any

import click

from gateline.cli.keeping import VERBS, column_types, moment
from gateline.cli.output import client, emit, progress, table
from gateline.kernel.clock import iso


@click.group("dataset")
def group() -> None:
    """Register, show, verify, keep and rebuild dataset versions."""


@group.command("register")
@click.argument("name")
@click.argument("file", type=click.Path())
@click.option("--source", required=True, help="Where the file came from.")
@click.option("--licence", required=True, help="Under which terms it may be used, such as CC0-1.0.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "csv.zip", "parquet", "arrow", "arrows", "jsonl"]),
    help="[default: what the file's name says]",
)
@click.option("--null", "null_values", multiple=True, help="A text of the CSV file that means missing, such as NA; may be repeated.")
@click.option("--type", "types", multiple=True, metavar="COLUMN=TYPE", help="A column type that must hold; may be repeated.")
@click.option("--description", default="", help="What the data holds.")
@click.option("--purpose", default="", help="What it was collected for.")
@click.option("--legal-basis", default="", help="By what right personal data in it is processed.")
@click.option("--collected-from", help="Begin of the time in which it was collected, such as 2013-01-01T00:00:00Z.")
@click.option("--collected-to", help="End of that time.")
@click.pass_context
def register(
    ctx: click.Context,
    name: str,
    file: str,
    source: str,
    licence: str,
    file_format: str | None,
    null_values: tuple[str, ...],
    types: tuple[str, ...],
    description: str,
    purpose: str,
    legal_basis: str,
    collected_from: str | None,
    collected_to: str | None,
) -> None:
    """Make FILE a version of dataset NAME; the same file and options again give the same version."""
    from gateline.sdk.data import register_dataset

    progress(f"Uploading {file} …")
    version = register_dataset(
        client(ctx), name, file, source=source, licence=licence, format=file_format, description=description, purpose=purpose,
        null_values=null_values, types=column_types(types), legal_basis=legal_basis,
        collected_from=moment(collected_from), collected_to=moment(collected_to),
    )  # fmt: skip
    emit(ctx, version.as_dict(), f"{version.id}: {version.row_count:,} rows, {len(version.schema)} columns, digest {version.digest}")


@group.command("fetch")
@click.argument("name")
@click.argument("connection")
@click.option("--query", default="", help="The SQL query.")
@click.option("--path", default="", help="The Delta table, below the connection.")
@click.option("--as-of", help="As of when: stands for :as_of in the query, or chooses the Delta version. [default: now]")
@click.option("--table-version", type=click.IntRange(min=0), help="Version of the Delta table. [default: the newest]")
@click.option("--source", required=True, help="Where the data came from.")
@click.option("--licence", required=True, help="Under which terms it may be used, such as CC0-1.0.")
@click.option("--type", "types", multiple=True, metavar="COLUMN=TYPE", help="A column type that must hold; may be repeated.")
@click.option("--description", default="", help="What the data holds.")
@click.option("--purpose", default="", help="What it was collected for.")
@click.option("--legal-basis", default="", help="By what right personal data in it is processed.")
@click.pass_context
def fetch(ctx: click.Context, /, name: str, connection: str, types: tuple[str, ...], as_of: str | None, **given: Any) -> None:
    """Let the server fetch rows from CONNECTION, which its operator configured, and make them a version of dataset NAME."""
    from gateline.sdk.data import fetch_dataset

    version = fetch_dataset(client(ctx), name, connection, types=column_types(types), as_of=moment(as_of), **given)
    emit(ctx, version.as_dict(), f"{version.id}: {version.row_count:,} rows, {len(version.schema)} columns, digest {version.digest}")


@group.command("list")
@click.argument("name", required=False)
@click.pass_context
def list_versions(ctx: click.Context, name: str | None) -> None:
    """List the versions of dataset NAME, or of all."""
    from gateline.sdk.data import datasets

    found = datasets(client(ctx), name)
    rows: list[dict[str, Any]] = [
        {
            "version": one.id,
            "rows": f"{one.row_count:,}",
            "columns": len(one.schema),
            "digest": one.digest[:12],
            "licence": one.licence,
            "registered": iso(one.created_at)[:19],
            "by": one.created_by,
        }
        for one in found
    ]
    columns = ["version", "rows", "columns", "digest", "licence", "registered", "by"]
    emit(ctx, [one.as_dict() for one in found], lambda: table(rows, columns) if rows else "No dataset is registered.")


@group.command("show")
@click.argument("version")
@click.pass_context
def show(ctx: click.Context, version: str) -> None:
    """Show VERSION (NAME for the newest, or NAME@NUMBER) with schema and profile."""
    from gateline.sdk.data import dataset

    found = dataset(client(ctx), version)
    head = (
        f"{found.id}  digest {found.digest}\n"
        f"{found.row_count:,} rows from {found.source} ({found.licence}), logical digest {found.logical_digest}\n"
        f"raw file {found.raw_sha256}, read {iso(found.as_of)}; table version {found.table_version} in {len(found.files)} files\n"
    )
    rows = [{"column": one.name, "type": one.dtype.value, **_summary(found.profile[one.name])} for one in found.schema]
    emit(
        ctx,
        found.as_dict(),
        lambda: f"{head}\n{table(rows, ['column', 'type', 'missing', 'distinct', 'min', 'mean', 'max', 'most frequent'])}",
    )


@group.command("verify")
@click.argument("version", required=False)
@click.pass_context
def verify(ctx: click.Context, version: str | None) -> None:
    """Hash raw file, table files and record of VERSION (or of every version) again; exit status 1 when something differs."""
    from gateline.sdk.data import dataset, datasets, verify_dataset

    connection = client(ctx)
    chosen = datasets(connection) if version is None else [dataset(connection, version)]
    found = [verify_dataset(connection, one.name, one.version) for one in chosen]
    lines = [f"{one.id}: raw file, table and record agree with their digests" for one in found]
    emit(ctx, {"verified": [one.id for one in found]}, "\n".join(lines) or "No dataset is registered.")


@group.command("diff")
@click.argument("before")
@click.argument("after")
@click.pass_context
def diff(ctx: click.Context, before: str, after: str) -> None:
    """Show what differs between BEFORE and AFTER (NAME for the newest, or NAME@NUMBER) in schema and profile."""
    from gateline.cli.difference import difference_text
    from gateline.sdk.contracts import diff_datasets

    found = diff_datasets(client(ctx), before, after)
    emit(ctx, found.as_dict(), lambda: difference_text(found))


def _summary(profile: dict[str, Any]) -> dict[str, Any]:
    mean = profile.get("mean")
    top = profile.get("top") or []
    return {
        "missing": f"{profile['missing']:,}",
        "distinct": profile.get("distinct"),
        "min": profile.get("min"),
        "mean": None if mean is None else f"{mean:.4g}",
        "max": profile.get("max"),
        "most frequent": ", ".join(str(one["value"]) for one in top[:3]),
    }


for _verb in VERBS:
    group.add_command(_verb)
