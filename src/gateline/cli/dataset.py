"""`gateline dataset`: raw files that became versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gateline.cli.output import ExitCode, client, emit, progress, table
from gateline.kernel.clock import iso, parse_iso
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from gateline.data import Pin


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
        null_values=null_values, types=_types(types), legal_basis=legal_basis,
        collected_from=None if collected_from is None else parse_iso(collected_from),
        collected_to=None if collected_to is None else parse_iso(collected_to),
    )  # fmt: skip
    emit(ctx, version.as_dict(), f"{version.id}: {version.row_count:,} rows, {len(version.schema)} columns, digest {version.digest}")


@group.command("fetch")
@click.argument("name")
@click.argument("connection")
@click.option("--query", default="", help="The SQL query.")
@click.option("--path", default="", help="The Delta table, below the connection.")
@click.option("--table-version", type=click.IntRange(min=0), help="Version of the Delta table. [default: the newest]")
@click.option("--source", required=True, help="Where the data came from.")
@click.option("--licence", required=True, help="Under which terms it may be used, such as CC0-1.0.")
@click.option("--type", "types", multiple=True, metavar="COLUMN=TYPE", help="A column type that must hold; may be repeated.")
@click.option("--description", default="", help="What the data holds.")
@click.option("--purpose", default="", help="What it was collected for.")
@click.option("--legal-basis", default="", help="By what right personal data in it is processed.")
@click.pass_context
def fetch(ctx: click.Context, /, name: str, connection: str, types: tuple[str, ...], **given: Any) -> None:
    """Let the server fetch rows from CONNECTION, which its operator configured, and make them a version of dataset NAME."""
    from gateline.sdk.data import fetch_dataset

    version = fetch_dataset(client(ctx), name, connection, types=_types(types), **given)
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


@group.command("reconstruct")
@click.argument("version")
@click.option("--restore", is_flag=True, help="Write missing and damaged table files again.")
@click.pass_context
def reconstruct(ctx: click.Context, version: str, restore: bool) -> int:
    """Build VERSION (NAME@NUMBER) again from its raw rows and compare; exit status 1 when it differs or a file stays lost."""
    from gateline.sdk.retention import reconstruct_dataset

    found = reconstruct_dataset(client(ctx), version, restore=restore)
    lines = [f"{found.version}: " + ("equal to what was registered" if found.equal else f"differs: {'; '.join(found.differences)}")]
    lines += [f"restored {path}" for path in found.restored]
    lines += [f"the very bytes of {path} cannot be made again; register the raw file as a new version" for path in found.unrestorable]
    emit(ctx, found.as_dict(), "\n".join(lines))
    return ExitCode.PASS if found.equal and not found.unrestorable else ExitCode.ERROR


@group.command("pin")
@click.argument("version")
@click.option("--reason", required=True, help="Why the version is kept.")
@click.option("--until", help="When the pin ends by itself, such as 2030-01-01T00:00:00Z. [default: never]")
@click.option("--legal-hold", is_flag=True, help="Only an administrator may release it.")
@click.option("--evidence", is_flag=True, help="Copy the files into the object store too.")
@click.pass_context
def pin(ctx: click.Context, version: str, reason: str, until: str | None, legal_hold: bool, evidence: bool) -> None:
    """Keep the files of VERSION (NAME@NUMBER)."""
    from gateline.sdk.retention import pin_dataset

    found = pin_dataset(
        client(ctx), version, reason=reason, until=None if until is None else parse_iso(until), legal_hold=legal_hold, evidence=evidence
    )
    emit(ctx, found.as_dict(), f"{found.version} is kept by {found.id}")


@group.command("unpin")
@click.argument("pin_id", metavar="PIN")
@click.option("--reason", required=True, help="Why it is no longer kept.")
@click.pass_context
def unpin(ctx: click.Context, pin_id: str, reason: str) -> None:
    """Release PIN; a legal hold takes an administrator."""
    from gateline.sdk.retention import unpin_dataset

    found = unpin_dataset(client(ctx), pin_id, reason=reason)
    emit(ctx, found.as_dict(), f"{found.version} is no longer kept by {found.id}")


@group.command("pins")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Pins that ended too.")
@click.pass_context
def list_pins(ctx: click.Context, name: str | None, everything: bool) -> None:
    """List the pins of dataset NAME, or of all."""
    from gateline.sdk.retention import dataset_pins

    found = dataset_pins(client(ctx), name, everything=everything)
    rows = [
        one.as_dict() | {"kind": _pin_kind(one), "until": "" if one.until is None else iso(one.until)[:19], "by": one.created_by}
        for one in found
    ]
    emit(
        ctx,
        [one.as_dict() for one in found],
        lambda: table(rows, ["id", "version", "kind", "until", "reason", "by"]) if rows else "No version is pinned.",
    )


@group.command("vacuum")
@click.argument("name")
@click.option("--apply", is_flag=True, help="Remove the files. [default: only name them]")
@click.option("--older-than-days", type=click.FloatRange(min=0), help="Versions older than this lose their files. [default: none does]")
@click.option("--rebuildable", is_flag=True, help="Also versions that a registered model was made from, since they can be rebuilt.")
@click.option("--orphan-hours", type=click.FloatRange(min=0), default=24.0, show_default=True, help="Age of files that no record names.")
@click.pass_context
def vacuum(ctx: click.Context, name: str, apply: bool, older_than_days: float | None, rebuildable: bool, orphan_hours: float) -> None:
    """Remove table files of dataset NAME that nothing keeps; what has lost its files can be rebuilt with `reconstruct --restore`."""
    from gateline.sdk.retention import vacuum_dataset

    found = vacuum_dataset(
        client(ctx), name, apply=apply, older_than_days=older_than_days, rebuildable=rebuildable, orphan_hours=orphan_hours
    )
    verb = "removed" if found.applied else "would remove"
    lines = [f"{verb} {len(paths)} files of {version}" for version, paths in found.versions.items()]
    lines += [f"{verb} {len(found.orphans)} files that no record names"] if found.orphans else []
    lines += [f"kept {version}: {why}" for version, why in found.kept.items()]
    lines += [f"{found.bytes:,} bytes" + ("" if found.applied else "; remove them with --apply")]
    emit(ctx, found.as_dict(), "\n".join(lines))


def _pin_kind(pin: Pin) -> str:
    words = ["legal hold"] if pin.legal_hold else []
    return ", ".join([*words, *(["evidence"] if pin.evidence else []), *(["released"] if pin.released_at is not None else [])]) or "pin"


def _types(declared: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.rpartition("=") for text in declared]
    if wrong := [text for text, (column, _, dtype) in zip(declared, pairs, strict=True) if not column or not dtype]:
        raise InvalidInput(f"--type must be COLUMN=TYPE, not {', '.join(wrong)}.", next_step="For example: --type zip_code=string")
    return {column: dtype for column, _, dtype in pairs}


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
