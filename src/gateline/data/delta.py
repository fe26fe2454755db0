"""What Gateline says to `deltalake`, and what it answers, in the words of either."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateline.data.model import ColumnType
from gateline.kernel.errors import IntegrityFailure, StorageFull

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deltalake import Schema
    from deltalake.transaction import AddAction, RemoveAction

    from gateline.data.model import Column, TableFile

_DELTA_TYPES = {
    ColumnType.INT64: "long",
    ColumnType.FLOAT64: "double",
    ColumnType.STRING: "string",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.DATE: "date",
    ColumnType.DATETIME: "timestamp",
    ColumnType.NAIVE_DATETIME: "timestamp_ntz",
}
_FULL = ("no space left on device", "disk quota exceeded")


def add_action(file: TableFile, *, data_change: bool) -> AddAction:
    """Return what adds a file to a table."""
    from deltalake.transaction import AddAction

    return AddAction(
        path=file.path, size=file.size_bytes, partition_values={}, modification_time=0, data_change=data_change,
        stats=json.dumps({"numRecords": file.rows}),
    )  # fmt: skip


def remove_action(path: str) -> RemoveAction:
    """Return what takes a file out of a table whose rows another file holds too."""
    from deltalake.transaction import RemoveAction

    return RemoveAction(path=path, data_change=False, deletion_timestamp=0)


def delta_schema(schema: Sequence[Column]) -> Schema:
    """Return the schema of a table; every column may hold missing values."""
    from deltalake import Field, Schema
    from deltalake.schema import PrimitiveType

    return Schema([Field(column.name, PrimitiveType(_DELTA_TYPES[column.dtype]), nullable=True) for column in schema])


@contextmanager
def delta_errors(uri: str) -> Iterator[None]:
    """Turn what Delta Lake raises into errors of the tree."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except (DeltaError, OSError) as error:
        words = str(error).strip().splitlines()
        if any(sign in str(error).lower() for sign in _FULL):
            raise StorageFull(
                f"No space is left for the table {uri}.", next_step="Free space and run the command again; nothing recorded is touched."
            ) from error
        raise IntegrityFailure(
            f"The Delta table {uri} cannot be written: {words[0] if words else type(error).__name__}.",
            next_step="See whether its _delta_log is whole; versions that are recorded stay readable without it.",
            facts={"table": uri},
        ) from error
