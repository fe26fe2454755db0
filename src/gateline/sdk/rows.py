"""Datasets that are fed with rows, through the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.data import DatasetVersion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateline.sdk.client import Client


def open_spool(
    client: Client,
    name: str,
    types: Mapping[str, str],
    *,
    source: str,
    licence: str,
    description: str = "",
    purpose: str = "",
    legal_basis: str = "",
) -> dict[str, Any]:
    """Let a dataset be fed with rows of these columns, and return how far its rows have come; see `GET /datasets/{name}/spool`.

    Args:
        client: The connection.
        name: Name of the dataset.
        types: Column to type, in order.
        source: Where the rows come from.
        licence: Under which terms they may be used.
        description: What they hold.
        purpose: What they are collected for.
        legal_basis: By what right personal data in them is processed.

    Raises:
        Conflict: the dataset has versions made of files, or is fed with other columns.
    """
    body = {
        "types": {column: str(kind) for column, kind in types.items()}, "source": source, "licence": licence, "description": description,
        "purpose": purpose, "legal_basis": legal_basis,
    }  # fmt: skip
    found: dict[str, Any] = client.put(f"/datasets/{name}/spool", json=body)
    return found


def append_rows(client: Client, name: str, rows: Sequence[Mapping[str, Any]], *, key: str) -> dict[str, Any]:
    """Send a batch of rows, which are durable when this returns; the same key with the same rows counts once, so that it can be repeated.

    Raises:
        InvalidInput: rows do not fit the columns; none was taken.
        Conflict: the key was used for other rows.
    """
    found: dict[str, Any] = client.post(f"/datasets/{name}/rows", json={"key": key, "rows": [dict(row) for row in rows]})
    return found


def cut_dataset(client: Client, name: str) -> DatasetVersion:
    """Make all rows that came a version of the dataset; without new rows it is the version that was cut before."""
    return DatasetVersion.from_dict(client.post(f"/datasets/{name}/cut"))


def compact_dataset(client: Client, name: str) -> int:
    """Put small files of rows together, and return how many were replaced."""
    return int(client.post(f"/datasets/{name}/compact")["files"])


def checkpoint_dataset(client: Client, name: str) -> dict[str, int]:
    """Give the log of the dataset's table a checkpoint; return its `table_version`, and how many log files were `removed`."""
    return dict(client.post(f"/datasets/{name}/checkpoint"))
