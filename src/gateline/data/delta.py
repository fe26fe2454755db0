"""What Gateline says to `deltalake`, and what it answers, in the words of either."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateline.data.model import ColumnType
from gateline.kernel.errors import ConfigurationError, GatelineError, IntegrityFailure, StorageFull, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from deltalake import DeltaTable, Schema
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
NO_SPACE = ("no space left on device", "disk quota exceeded")
_REFUSED = ("403 forbidden", "401 unauthorized", "lacked the necessary privileges", "lacked valid authentication")
_UNANSWERED = ("error sending request", "error performing", "generic s3 error", "generic gcs error", "generic microsoftazure error")


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


def opened_or_made(uri: str, schema: Schema, configuration: Mapping[str, str | None], options: Mapping[str, str]) -> DeltaTable | None:
    """Return the table, made when there is none yet; None when another writer was about to make it.

    `DeltaTable.is_deltatable` would let no other thread run while it waits for an object store.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import CommitFailedError, TableNotFoundError

    try:
        return DeltaTable(uri, storage_options=dict(options))
    except TableNotFoundError:
        pass
    try:
        DeltaTable.create(uri, schema=schema, mode="ignore", configuration=dict(configuration), storage_options=dict(options))
    except CommitFailedError:
        return None
    return DeltaTable(uri, storage_options=dict(options))


def allow_naive(table: DeltaTable) -> bool:
    """Let the table hold time stamps without a zone; return False when another writer came first.

    A commit of such a column to a table without this feature would succeed and leave the table unreadable.
    """
    from deltalake import TableFeatures
    from deltalake.exceptions import CommitFailedError

    if "timestampNtz" not in (table.protocol().writer_features or ()):
        try:
            table.alter.add_feature(TableFeatures.TimestampWithoutTimezone, allow_protocol_versions_increase=True)
        except CommitFailedError:
            return False
        table.update_incremental()
    return True


def store_trouble(error: Exception, what: str) -> GatelineError | None:
    """Return what an error says of the object store behind a table: it refuses, or does not answer; None when the trouble lies elsewhere.

    The answer of the store is not shown: it may name keys.
    """
    words = str(error).lower()
    if any(sign in words for sign in _REFUSED):
        return ConfigurationError(
            f"The object store refuses the credentials for {what}.",
            next_step="Correct them in GATELINE_TABLES_OPTIONS, in the AWS_… variables, or in the store's own policy, and start again.",
        )
    if any(sign in words for sign in _UNANSWERED):
        return Unavailable(
            f"The object store does not answer for {what}.", next_step="See whether it is up, and try again; nothing recorded is touched."
        )
    return None


@contextmanager
def delta_errors(uri: str) -> Iterator[None]:
    """Turn what Delta Lake raises into errors of the tree."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except (DeltaError, OSError) as error:
        words = str(error).strip().splitlines()
        if any(sign in str(error).lower() for sign in NO_SPACE):
            raise StorageFull(
                f"No space is left for the table {uri}.", next_step="Free space and run the command again; nothing recorded is touched."
            ) from error
        if (trouble := store_trouble(error, f"the table {uri}")) is not None:
            raise trouble from None
        raise IntegrityFailure(
            f"The Delta table {uri} cannot be written: {words[0] if words else type(error).__name__}.",
            next_step="See whether its _delta_log is whole; versions that are recorded stay readable without it.",
            facts={"table": uri},
        ) from error
