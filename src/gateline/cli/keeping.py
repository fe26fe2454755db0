"""Verbs of `gateline dataset` that keep, remove and rebuild versions, and feed datasets with rows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateline.cli.output import ExitCode, client, emit, table
from gateline.kernel.clock import iso, parse_iso
from gateline.kernel.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from gateline.data import Pin, Reconstruction
    from gateline.kernel.clock import Instant

_BATCH_ROWS = 5_000


@click.command("reconstruct")
@click.argument("version")
@click.option(
    "--from",
    "build_from",
    type=click.Choice(["sources", "kept", "auto"]),
    default="auto",
    show_default=True,
    help="Read the source again, or take the rows that were kept, or whichever of them gives the version.",
)
@click.option("--file", type=click.Path(), help="Where its uploaded file lies now. [default: where it lay when it was registered]")
@click.option("--restore", is_flag=True, help="Write missing and damaged table files again.")
@click.pass_context
def reconstruct(ctx: click.Context, version: str, build_from: str, file: str | None, restore: bool) -> int:
    """Build VERSION (NAME@NUMBER) again and compare. Exit status 1 when it differs or a file stays lost, 4 when no source was read."""
    from gateline.data import SourceState
    from gateline.sdk.retention import reconstruct_dataset

    found = reconstruct_dataset(client(ctx), version, build_from=build_from, file=file, restore=restore)
    emit(ctx, found.as_dict(), lambda: _reconstruction_text(found))
    if found.equal and not found.unrestorable:
        return ExitCode.PASS
    unread = {SourceState.UNREACHABLE, SourceState.NOT_RECORDED, SourceState.NOT_READ}
    pending = build_from == "sources" and found.source is not None and found.source.state in unread
    return ExitCode.PENDING if pending else ExitCode.ERROR


def _reconstruction_text(found: Reconstruction) -> str:
    from gateline.cli.difference import difference_text

    origin = "its source" if found.built_from == "sources" else "its kept rows"
    lines, source = [], found.source
    if found.equal:
        lines.append(f"{found.version}: equal to what was registered, built from {origin}")
    elif found.built_from == "kept" or (source is not None and source.state == "different"):
        lines.append(f"{found.version}: differs, built from {origin}: {'; '.join(found.differences)}")
    else:
        lines.append(f"{found.version}: not built from its source")
    if source is not None:
        more = f": {'; '.join(source.differences)}" if source.differences and found.built_from == "kept" else ""
        lines.append(f"source {source.state.replace('_', ' ')}: {source.sentence}{more}")
        lines += [source.next_step] if source.next_step else []
        lines += ["", difference_text(source.diff), ""] if source.diff is not None else []
    lines += [f"restored {path}" for path in found.restored]
    lines += [f"the very bytes of {path} cannot be made again; register the raw file as a new version" for path in found.unrestorable]
    return "\n".join(lines).rstrip()


@click.command("pin")
@click.argument("version")
@click.option("--reason", required=True, help="Why the version is kept.")
@click.option("--until", help="When the pin ends by itself, such as 2030-01-01T00:00:00Z. [default: never]")
@click.option("--legal-hold", is_flag=True, help="Only an administrator may release it.")
@click.option("--evidence", is_flag=True, help="Copy the files into the object store too.")
@click.pass_context
def pin(ctx: click.Context, version: str, reason: str, until: str | None, legal_hold: bool, evidence: bool) -> None:
    """Keep the files of VERSION (NAME@NUMBER)."""
    from gateline.sdk.retention import pin_dataset

    found = pin_dataset(client(ctx), version, reason=reason, until=moment(until), legal_hold=legal_hold, evidence=evidence)
    emit(ctx, found.as_dict(), f"{found.version} is kept by {found.id}")


@click.command("unpin")
@click.argument("pin_id", metavar="PIN")
@click.option("--reason", required=True, help="Why it is no longer kept.")
@click.pass_context
def unpin(ctx: click.Context, pin_id: str, reason: str) -> None:
    """Release PIN; a legal hold takes an administrator."""
    from gateline.sdk.retention import unpin_dataset

    found = unpin_dataset(client(ctx), pin_id, reason=reason)
    emit(ctx, found.as_dict(), f"{found.version} is no longer kept by {found.id}")


@click.command("pins")
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


@click.command("vacuum")
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


@click.command("spool")
@click.argument("name")
@click.option("--type", "types", multiple=True, required=True, metavar="COLUMN=TYPE", help="A column of the rows, in order; repeated.")
@click.option("--source", required=True, help="Where the rows come from.")
@click.option("--licence", required=True, help="Under which terms they may be used, such as CC0-1.0.")
@click.option("--purpose", default="", help="What they are collected for.")
@click.option("--legal-basis", default="", help="By what right personal data in them is processed.")
@click.pass_context
def spool(ctx: click.Context, name: str, types: tuple[str, ...], source: str, licence: str, purpose: str, legal_basis: str) -> None:
    """Let dataset NAME be fed with rows."""
    from gateline.sdk.rows import open_spool

    found = open_spool(client(ctx), name, column_types(types), source=source, licence=licence, purpose=purpose, legal_basis=legal_basis)
    emit(ctx, found, f"{name} takes rows of {len(found['columns'])} columns; {found['rows_committed'] + found['rows_waiting']:,} have come")


def json_lines(path: Path) -> tuple[list[str], list[Any]]:
    """Return the lines of a file that are not empty, and the JSON value of each.

    Raises:
        NotFound: there is no such file.
        InvalidInput: a line is no JSON.
    """
    if not path.is_file():
        raise NotFound(f"There is no file {path}.", next_step="Check the path.")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        return lines, [json.loads(line) for line in lines]
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON lines: {error}.", next_step="Write one JSON object on each line.") from error


@click.command("append")
@click.argument("name")
@click.argument("file", type=click.Path())
@click.pass_context
def append(ctx: click.Context, name: str, file: str) -> None:
    """Feed dataset NAME with the rows of a JSON-lines FILE, in batches named by their content and place: repeating it adds nothing."""
    from gateline.sdk.rows import append_rows

    lines, rows = json_lines(Path(file))
    state, repeated = hashlib.sha256(), 0
    for start in range(0, len(rows), _BATCH_ROWS):
        state.update("\n".join(lines[start : start + _BATCH_ROWS]).encode())
        answer = append_rows(client(ctx), name, rows[start : start + _BATCH_ROWS], key=f"file-{state.hexdigest()}")
        repeated += answer["rows"] if answer["repeated"] else 0
    emit(ctx, {"rows": len(rows), "repeated": repeated}, f"{name}: {len(rows) - repeated:,} rows taken, {repeated:,} were there before")


@click.command("cut")
@click.argument("name")
@click.pass_context
def cut(ctx: click.Context, name: str) -> None:
    """Make the rows that dataset NAME was fed with a version."""
    from gateline.sdk.rows import cut_dataset

    found = cut_dataset(client(ctx), name)
    emit(ctx, found.as_dict(), f"{found.id}: {found.row_count:,} rows, {len(found.schema)} columns, digest {found.digest}")


@click.command("compact")
@click.argument("name")
@click.pass_context
def compact(ctx: click.Context, name: str) -> None:
    """Put small files of rows of dataset NAME together; versions keep the files that they were cut with."""
    from gateline.sdk.rows import compact_dataset

    files = compact_dataset(client(ctx), name)
    emit(ctx, {"files": files}, f"{files} files of {name} became one" if files else f"{name} has no small files to put together")


@click.command("checkpoint")
@click.argument("name")
@click.pass_context
def checkpoint(ctx: click.Context, name: str) -> None:
    """Give the log of dataset NAME's table a checkpoint, and remove old log entries that no version needs; a server does so by itself."""
    from gateline.sdk.rows import checkpoint_dataset

    found = checkpoint_dataset(client(ctx), name)
    emit(ctx, found, f"{name} has a checkpoint at table version {found['table_version']}; {found['removed']} files of its log were removed")


def moment(text: str | None) -> Instant | None:
    """Return the time that an option names; None when it was not given."""
    return None if text is None else parse_iso(text)


def column_types(declared: tuple[str, ...]) -> dict[str, str]:
    """Return column to type of options written COLUMN=TYPE.

    Raises:
        InvalidInput: some are not; all are named.
    """
    pairs = [text.rpartition("=") for text in declared]
    if wrong := [text for text, (column, _, dtype) in zip(declared, pairs, strict=True) if not column or not dtype]:
        raise InvalidInput(f"--type must be COLUMN=TYPE, not {', '.join(wrong)}.", next_step="For example: --type zip_code=string")
    return {column: dtype for column, _, dtype in pairs}


VERBS: tuple[click.Command, ...] = (reconstruct, pin, unpin, list_pins, vacuum, spool, append, cut, compact, checkpoint)
