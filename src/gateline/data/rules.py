"""What a dataset must satisfy, and what its digest is taken of. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import digest
from gateline.kernel.clock import iso
from gateline.kernel.errors import IntegrityFailure, InvalidInput, TooLarge
from gateline.kernel.limits import NAME_LENGTH_MAX, TABLE_COLUMNS_MAX, TEXT_LENGTH_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateline.data.model import Column, DatasetVersion, Provenance, ReadOptions, Source, StoredFile


def check_header(columns: Sequence[str], *, name: str, declared: Sequence[str] = ()) -> None:
    """Refuse missing, repeated, unnamed or too many columns, and declared columns that are not there; all mistakes at once.

    >>> check_header(["a", "b"], name="x.csv")

    Raises:
        InvalidInput: the header is wrong.
        TooLarge: there are more than 4,096 columns.
    """
    if len(columns) > TABLE_COLUMNS_MAX:
        raise TooLarge(f"{name} has {len(columns):,} columns; the limit is {TABLE_COLUMNS_MAX:,}.", next_step="Split the table.")
    mistakes = []
    if not columns:
        mistakes.append("it has no columns")
    if repeated := [column for column, count in Counter(columns).items() if count > 1]:
        mistakes.append(f"it repeats the columns {_listed(repeated)}")
    folded = Counter(column.casefold() for column in set(columns))
    if alike := sorted({column for column in columns if folded[column.casefold()] > 1}):
        mistakes.append(f"the names of {_listed(alike)} differ only by case, which Delta tables cannot tell apart")
    if any(not column.strip() for column in columns):
        mistakes.append("it has a column without a name")
    if long := [column[:40] + "…" for column in columns if len(column) > NAME_LENGTH_MAX]:
        mistakes.append(f"the names of {_listed(long)} are longer than {NAME_LENGTH_MAX} characters")
    if unknown := [column for column in declared if column not in columns]:
        mistakes.append(f"types are declared for columns it does not have: {_listed(unknown)}; it has {_listed(columns)}")
    if mistakes:
        raise InvalidInput(f"{name} cannot become a table: {'; '.join(mistakes)}.", next_step="Correct the header or the declaration.")


def check_provenance(provenance: Provenance) -> None:
    """Refuse provenance without source or licence, with a text longer than 10,000 characters, or collected backwards in time.

    Raises:
        InvalidInput: a field is missing, too long or wrong; all are named.
    """
    texts = {field: text for field, text in provenance.as_dict().items() if isinstance(text, str)}
    mistakes = [f"'{field}' is missing" for field in ("source", "licence") if not texts[field].strip()]
    mistakes += [f"'{field}' is longer than {TEXT_LENGTH_MAX:,} characters" for field, text in texts.items() if len(text) > TEXT_LENGTH_MAX]
    begin, end = provenance.collected_from, provenance.collected_to
    if begin is not None and end is not None and begin > end:
        mistakes.append(f"'collected_from' ({iso(begin)}) is later than 'collected_to' ({iso(end)})")
    if mistakes:
        raise InvalidInput(
            f"The provenance of the dataset is incomplete: {'; '.join(mistakes)}.", next_step="Say where the data came from."
        )


def request_digest(name: str, raw_sha256: str, made_of: Source, options: ReadOptions, provenance: Provenance) -> str:
    """Return the digest of what was asked for: the same rows, source, options and provenance under the same name are the same version."""
    asked = {"raw": raw_sha256, "made_of": made_of.identity(), "options": options.as_dict(), "provenance": provenance.as_dict()}
    return digest("dataset.request", {"name": name} | asked)


def manifest(
    *,
    raw: StoredFile,
    made_of: Source,
    options: ReadOptions,
    provenance: Provenance,
    schema: Sequence[Column],
    row_count: int,
    logical_digest: str,
) -> dict[str, Any]:
    """Return what identifies a dataset version; its digest is the version's digest, equal on any machine."""
    return {
        "format": 2,
        "raw": raw.as_dict(),
        "made_of": made_of.identity(),
        "options": options.as_dict(),
        "provenance": provenance.as_dict(),
        "schema": [column.as_dict() for column in schema],
        "row_count": row_count,
        "logical_digest": logical_digest,
    }


def first_manifest(version: DatasetVersion) -> dict[str, Any]:
    """Return what identified a version made before datasets were Delta tables: one Parquet file in the object store, by its digest."""
    provenance = version.provenance.as_dict()
    return {
        "format": 1,
        "raw": version.raw.as_dict(),
        "table": {"sha256": version.files[0].sha256, "size_bytes": version.files[0].size_bytes},
        "schema": [column.as_dict() for column in version.schema],
        "row_count": version.row_count,
        "options": version.options.as_dict(),
        "provenance": {name: provenance[name] for name in ("source", "licence", "description", "purpose")},
    }


def manifest_digest(content: dict[str, Any]) -> str:
    """Return the digest of a manifest."""
    return digest("dataset.version", content)


def registration_entry(version: DatasetVersion) -> dict[str, Any]:
    """Return what the ledger says of a new version: what identifies it, and the very files that hold it."""
    return {
        "digest": version.digest,
        "logical_digest": version.logical_digest,
        "raw_sha256": version.raw.sha256,
        "made_of": version.made_of.as_dict(),
        "files": [file.as_dict() for file in version.files],
        "table_version": version.table_version,
        "row_count": version.row_count,
        "as_of": version.as_of,
        **version.provenance.as_dict(),
    }


def check_record(version: DatasetVersion, entry: Mapping[str, Any]) -> None:
    """Recompute the digest of a stored version, and compare the record with the ledger's entry of its registration.

    Raises:
        IntegrityFailure: a recorded field differs from what was registered.
    """
    first = version.table_version < 0
    content = first_manifest(version) if first else manifest(
        raw=version.raw, made_of=version.made_of, options=version.options, provenance=version.provenance, schema=version.schema,
        row_count=version.row_count, logical_digest=version.logical_digest,
    )  # fmt: skip
    found = manifest_digest(content)
    if found != version.digest:
        raise IntegrityFailure(
            f"The record of {version.id} differs from its digest: expected {version.digest}, found {found}.",
            next_step="Run: gateline ledger verify.",
            facts={"expected": version.digest, "found": found},
        )
    now = {"digest": version.digest} if first else registration_entry(version)
    if changed := sorted(field for field, value in now.items() if entry.get(field) != value):
        raise IntegrityFailure(
            f"The record of {version.id} differs from the ledger's entry of its registration in {', '.join(changed)}.",
            next_step="Run: gateline ledger verify.",
            facts={"fields": changed},
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:12])
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"
