"""What a dataset must satisfy, and what its digest is taken of. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import digest
from gateline.kernel.errors import IntegrityFailure, InvalidInput, TooLarge
from gateline.kernel.limits import NAME_LENGTH_MAX, TABLE_COLUMNS_MAX, TEXT_LENGTH_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateline.data.model import Column, DatasetVersion, Provenance, ReadOptions, StoredFile


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
    if any(not column.strip() for column in columns):
        mistakes.append("it has a column without a name")
    if long := [column[:40] + "…" for column in columns if len(column) > NAME_LENGTH_MAX]:
        mistakes.append(f"the names of {_listed(long)} are longer than {NAME_LENGTH_MAX} characters")
    if unknown := [column for column in declared if column not in columns]:
        mistakes.append(f"types are declared for columns it does not have: {_listed(unknown)}; it has {_listed(columns)}")
    if mistakes:
        raise InvalidInput(f"{name} cannot become a table: {'; '.join(mistakes)}.", next_step="Correct the header or the declaration.")


def check_provenance(provenance: Provenance) -> None:
    """Refuse provenance without source or licence, or longer than 10,000 characters.

    Raises:
        InvalidInput: a field is missing or too long; all are named.
    """
    fields = provenance.as_dict()
    mistakes = [f"'{field}' is missing" for field in ("source", "licence") if not fields[field].strip()]
    mistakes += [
        f"'{field}' is longer than {TEXT_LENGTH_MAX:,} characters" for field, text in fields.items() if len(text) > TEXT_LENGTH_MAX
    ]
    if mistakes:
        raise InvalidInput(
            f"The provenance of the dataset is incomplete: {'; '.join(mistakes)}.", next_step="Say where the data came from."
        )


def request_digest(name: str, raw_sha256: str, options: ReadOptions, provenance: Provenance) -> str:
    """Return the digest of what was asked for: the same bytes, options and provenance under the same name are the same version."""
    return digest("dataset.request", {"name": name, "raw": raw_sha256, "options": options.as_dict(), "provenance": provenance.as_dict()})


def manifest(
    *, raw: StoredFile, table: StoredFile, schema: Sequence[Column], row_count: int, options: ReadOptions, provenance: Provenance
) -> dict[str, Any]:
    """Return what identifies a dataset version; its digest is the version's digest."""
    return {
        "format": 1,
        "raw": raw.as_dict(),
        "table": table.as_dict(),
        "schema": [column.as_dict() for column in schema],
        "row_count": row_count,
        "options": options.as_dict(),
        "provenance": provenance.as_dict(),
    }


def manifest_digest(content: dict[str, Any]) -> str:
    """Return the digest of a manifest."""
    return digest("dataset.version", content)


def check_record(version: DatasetVersion) -> None:
    """Recompute the digest of a stored version.

    Raises:
        IntegrityFailure: a recorded field differs from what was registered.
    """
    content = manifest(
        raw=version.raw, table=version.table, schema=version.schema, row_count=version.row_count, options=version.options,
        provenance=version.provenance,
    )  # fmt: skip
    found = manifest_digest(content)
    if found != version.digest:
        raise IntegrityFailure(
            f"The record of {version.id} differs from its digest: expected {version.digest}, found {found}.",
            next_step="Run: gateline ledger verify.",
            facts={"expected": version.digest, "found": found},
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:12])
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"
