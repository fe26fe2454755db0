"""Datasets, through the API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateline.data import DatasetVersion, FileFormat
from gateline.kernel.canonical import sha256_file
from gateline.kernel.errors import InvalidInput
from gateline.kernel.names import split_version_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateline.kernel.clock import Instant
    from gateline.sdk.client import Client

_SUFFIXES = {
    ".csv": FileFormat.CSV,
    ".csv.zip": FileFormat.CSV_ZIP,
    ".parquet": FileFormat.PARQUET,
    ".arrow": FileFormat.ARROW,
    ".feather": FileFormat.ARROW,
    ".ipc": FileFormat.ARROW,
    ".arrows": FileFormat.ARROW_STREAM,
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
}


def file_format(path: Path | str) -> FileFormat:
    """Return the format that the file's name says.

    >>> file_format("flights.csv.zip").value
    'csv.zip'

    Raises:
        InvalidInput: the name says none.
    """
    name = Path(path).name.lower()
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return _SUFFIXES[suffix]
    raise InvalidInput(f"The name of {path} says no format.", next_step=f"Give one: {', '.join(FileFormat)}.")


def register_dataset(
    client: Client,
    name: str,
    file: Path | str,
    *,
    source: str,
    licence: str,
    format: FileFormat | str | None = None,
    description: str = "",
    purpose: str = "",
    null_values: Sequence[str] = (),
    types: Mapping[str, str] | None = None,
    legal_basis: str = "",
    collected_from: Instant | None = None,
    collected_to: Instant | None = None,
) -> DatasetVersion:
    """Upload a file and make it a version of the dataset; the same call again returns the same version.

    Args:
        client: The connection.
        name: Name of the dataset.
        file: Path of a CSV, zipped CSV, Parquet, Arrow IPC (file or stream) or JSON-lines file.
        source: Where the file came from.
        licence: Under which terms it may be used.
        format: How it is written; by default what its name says.
        description: What it holds.
        purpose: What the data was collected for.
        null_values: Texts of a CSV file that mean "missing".
        types: Column types that must hold; other columns are inferred.
        legal_basis: By what right personal data in it is processed.
        collected_from: Begin of the time in which it was collected, UTC microseconds.
        collected_to: End of that time.

    Raises:
        InvalidInput: the file cannot be read as declared; every mistake is named.
        NotFound: there is no such file.
    """
    kind = str(format or file_format(file))
    body = {
        "file": client.upload(Path(file)), "format": kind, "source": source, "licence": licence, "description": description,
        "purpose": purpose, "null_values": list(null_values), "types": {column: str(dtype) for column, dtype in (types or {}).items()},
        "legal_basis": legal_basis, "collected_from": collected_from, "collected_to": collected_to, "origin": str(Path(file).absolute()),
    }  # fmt: skip
    return DatasetVersion.from_dict(client.post(f"/datasets/{name}/versions", json=body))


def fetch_dataset(
    client: Client,
    name: str,
    connection: str,
    *,
    source: str,
    licence: str,
    query: str = "",
    path: str = "",
    table_version: int | None = None,
    as_of: Instant | None = None,
    description: str = "",
    purpose: str = "",
    types: Mapping[str, str] | None = None,
    legal_basis: str = "",
    collected_from: Instant | None = None,
    collected_to: Instant | None = None,
) -> DatasetVersion:
    """Let the server fetch rows and make them a version of the dataset; the rows are kept as they came.

    Args:
        client: The connection to Gateline.
        name: Name of the dataset.
        connection: Name of a connection that the server's operator configured.
        source: Where the data came from.
        licence: Under which terms it may be used.
        query: The SQL query, in which `:as_of` stands for the time as of which it is read, or else
        path: the Delta table, below the connection.
        table_version: Version of the Delta table; by default the newest.
        as_of: As of when the source is read, UTC microseconds; by default now.
        description: What it holds.
        purpose: What the data was collected for.
        types: Column types that must hold.
        legal_basis: By what right personal data in it is processed.
        collected_from: Begin of the time in which it was collected, UTC microseconds.
        collected_to: End of that time.

    Raises:
        NotFound: there is no such connection or table.
        InvalidInput: the query failed, or its rows cannot become a table.
    """
    body = {
        "connection": connection, "query": query, "path": path, "table_version": table_version, "as_of": as_of, "source": source,
        "licence": licence, "description": description, "purpose": purpose,
        "types": {column: str(dtype) for column, dtype in (types or {}).items()},
        "legal_basis": legal_basis, "collected_from": collected_from, "collected_to": collected_to,
    }  # fmt: skip
    return DatasetVersion.from_dict(client.post(f"/datasets/{name}/fetch", json=body))


def dataset(client: Client, name: str, version: int | None = None) -> DatasetVersion:
    """Return a version by name and number, by id (`flights@1`), or the newest of a name; raises NotFound."""
    if version is None and "@" in name:
        name, version = split_version_id(name)
    if version is None:
        return datasets(client, name)[-1]
    return DatasetVersion.from_dict(client.get(f"/datasets/{name}/versions/{version}"))


def datasets(client: Client, name: str | None = None) -> list[DatasetVersion]:
    """Return the versions of a dataset, oldest first, or those of all; raises NotFound for an unknown name."""
    return [DatasetVersion.from_dict(one) for one in client.get("/datasets" if name is None else f"/datasets/{name}/versions")]


def verify_dataset(client: Client, name: str, version: int) -> DatasetVersion:
    """Hash raw file and table files of a version again; raises IntegrityFailure, which names every fault."""
    return DatasetVersion.from_dict(client.post(f"/datasets/{name}/versions/{version}/verify"))


def table(client: Client, version: DatasetVersion | str) -> tuple[Path, ...]:
    """Return the Parquet files of a version (or its id) in the order of its rows, downloaded into the local cache, their bytes checked."""
    found = dataset(client, version) if isinstance(version, str) else version
    return tuple(_cached(client, file.sha256) for file in found.files)


def _cached(client: Client, sha256: str) -> Path:
    path = client.home / "cache" / "tables" / f"{sha256}.parquet"
    if not path.is_file() or sha256_file(path) != sha256:
        client.download(sha256, path)
    return path
