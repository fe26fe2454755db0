"""The Delta tables of datasets: written as Parquet files of our own making, committed through `deltalake`, read file by file and hashed.

A dataset version is its record: the files with their digests. The Delta log lets other engines read the same tables; nothing here trusts
it for what a version holds. Files are written first, durably, under names that were never used; the Delta commit makes them visible;
the record, written last, makes them a version. A writer that dies leaves files, or a Delta version, that no record names: harmless, and
removed by `vacuum`.
"""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateline.data.model import ColumnType, TableFile
from gateline.data.places import LocalPlace, RemotePlace, Stored
from gateline.kernel.canonical import sha256_bytes, sha256_file
from gateline.kernel.errors import Conflict, IntegrityFailure, StorageFull
from gateline.kernel.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import polars as pl
    from deltalake import DeltaTable, Schema
    from deltalake.transaction import AddAction

    from gateline.data.model import Column

FILE_ROWS = 1 << 22
_ROW_GROUP_ROWS = 1 << 17
_ATTEMPTS = 10
_DELTA_TYPES = {
    ColumnType.INT64: "long",
    ColumnType.FLOAT64: "double",
    ColumnType.STRING: "string",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.DATE: "date",
    ColumnType.DATETIME: "timestamp",
    ColumnType.NAIVE_DATETIME: "timestamp_ntz",
}
# The log is what lets other engines read an earlier version, so it is kept; files are removed by our vacuum alone.
_CONFIGURATION: dict[str, str | None] = {"delta.enableExpiredLogCleanup": "false"}
_WRITER = "gateline"
_FULL = ("no space left on device", "disk quota exceeded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What a write left: the version of the Delta table, and all files that hold its rows, in order."""

    table_version: int
    files: tuple[TableFile, ...]


class Tables:
    """The Delta tables of all datasets, one folder for each, shared by any number of processes.

    Callers may rely on: a committed file is never changed; two writers of one table commit one after the other, each on top of the other.

    Args:
        location: A folder, or a URL such as `s3://bucket/tables`.
        cache: Folder for local copies of remote files.
        storage_options: What `deltalake` needs to reach a URL.
        file_rows: Most rows of one file.
    """

    def __init__(self, location: str, *, cache: Path, storage_options: Mapping[str, str] | None = None, file_rows: int = FILE_ROWS) -> None:
        self._options = dict(storage_options or {})
        self._place = RemotePlace(location, self._options, cache) if "://" in location else LocalPlace(location)
        self._file_rows = file_rows

    def replace(self, dataset: str, frame: pl.DataFrame, schema: Sequence[Column]) -> Commit:
        """Make the frame the newest state of the dataset's table; earlier states stay readable.

        Raises:
            StorageFull: the disk is full; nothing refers to what was written.
            Conflict: other writers came first too often.
            IntegrityFailure: the Delta log is damaged.
        """
        files = self._write(dataset, frame)
        with _delta_errors(self._place.uri(dataset)):
            for _ in range(_ATTEMPTS):
                version = self._commit(dataset, files, schema)
                if version is not None:
                    return Commit(table_version=version, files=files)
        raise Conflict(f"The table of dataset '{dataset}' is being written by others.", next_step="Run the command again.")

    def path(self, dataset: str, file: TableFile) -> Path:
        """Return a local path of a table file after hashing it again.

        Raises:
            NotFound: the file is missing.
            IntegrityFailure: its bytes changed; the error names file, expected and found digest.
        """
        place = self._place.fetch(dataset, file.path, file.sha256)
        found = sha256_file(place)
        if found != file.sha256:
            raise IntegrityFailure(
                f"The table file {place} changed: expected SHA-256 {file.sha256}, found {found}.",
                next_step="Restore it with: gateline dataset reconstruct NAME@N --restore; and find out who changed it.",
                facts={"file": str(place), "expected": file.sha256, "found": found},
            )
        return place

    def check_presence(self, dataset: str, files: Sequence[TableFile]) -> None:
        """Refuse when a file is gone.

        Raises:
            Conflict: a vacuum whose clock ran ahead removed files that were just being registered.
        """
        if gone := [file.path for file in files if not self._place.has(dataset, file.path)]:
            raise Conflict(
                f"The files {', '.join(gone)} of dataset '{dataset}' were removed while they were being registered.",
                next_step="Run the command again.",
            )

    def head(self, dataset: str) -> frozenset[str]:
        """Return the paths of the newest state of the Delta table; none when there is no table yet."""
        from deltalake.exceptions import TableNotFoundError

        with _delta_errors(self._place.uri(dataset)):
            try:
                return frozenset(self._table(dataset).get_add_actions().column("path").to_pylist())
            except TableNotFoundError:
                return frozenset()

    def stored(self, dataset: str) -> dict[str, Stored]:
        """Return path to size and age of every data file that lies in the dataset's table."""
        return self._place.stored(dataset)

    def remove(self, dataset: str, path: str) -> None:
        """Remove a data file; only `Retention` decides which."""
        self._place.remove(dataset, path)

    def restore(self, dataset: str, file: TableFile, content: bytes) -> None:
        """Write the very bytes of a table file again."""
        self._place.put(dataset, file.path, content)

    def _write(self, dataset: str, frame: pl.DataFrame) -> tuple[TableFile, ...]:
        """Store the rows as Parquet files. Equal rows give equal bytes with one Polars version."""
        return tuple(
            self._put(dataset, f"{new_id('part')}.parquet", frame.slice(start, self._file_rows))
            for start in range(0, frame.height, self._file_rows)
        )

    def _put(self, dataset: str, path: str, rows: pl.DataFrame) -> TableFile:
        content = encode(rows)
        self._place.put(dataset, path, content)
        return TableFile(path=path, sha256=sha256_bytes(content), size_bytes=len(content), rows=rows.height)

    def _commit(self, dataset: str, files: Sequence[TableFile], schema: Sequence[Column]) -> int | None:
        """Commit the files as the whole table, and return the version; None when another writer came first.

        Every commit names the same application transaction, so that Delta refuses the later of two commits upon one state: `overwrite`
        alone would keep the files of both.
        """
        from deltalake import CommitProperties, DeltaTable, Transaction
        from deltalake.exceptions import CommitFailedError

        delta = _delta_schema(schema)
        DeltaTable.create(
            self._place.uri(dataset), schema=delta, mode="ignore", configuration=_CONFIGURATION, storage_options=self._options
        )
        table = self._table(dataset)
        if any(column.dtype is ColumnType.NAIVE_DATETIME for column in schema) and not self._allow_naive(table):
            return None
        before = table.version()
        turn = Transaction(_WRITER, (table.transaction_version(_WRITER) or 0) + 1)
        try:
            table.create_write_transaction(
                [_add_action(file) for file in files], mode="overwrite", schema=delta,
                commit_properties=CommitProperties(app_transactions=[turn]),
            )  # fmt: skip
        except CommitFailedError:
            return None
        return self._committed(dataset, before, files)

    @staticmethod
    def _allow_naive(table: DeltaTable) -> bool:
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

    def _committed(self, dataset: str, before: int, files: Sequence[TableFile]) -> int | None:
        """Return the version after `before` that holds exactly these files; None when a foreign writer mixed its own in."""
        wanted = {file.path for file in files}
        for version in range(before + 1, self._table(dataset).version() + 1):
            held = set(self._table(dataset, version).get_add_actions().column("path").to_pylist())
            if wanted <= held:
                self._place.settle(dataset, f"_delta_log/{version:020d}.json")
                return version if wanted == held else None
        return None

    def _table(self, dataset: str, version: int | None = None) -> DeltaTable:
        from deltalake import DeltaTable

        return DeltaTable(self._place.uri(dataset), version=version, storage_options=self._options)


def encode(rows: pl.DataFrame) -> bytes:
    """Return the rows as a Parquet file."""
    content = io.BytesIO()
    rows.write_parquet(content, compression="zstd", compression_level=3, statistics=True, row_group_size=_ROW_GROUP_ROWS)
    return content.getvalue()


def _add_action(file: TableFile) -> AddAction:
    from deltalake.transaction import AddAction

    return AddAction(
        path=file.path, size=file.size_bytes, partition_values={}, modification_time=0, data_change=True,
        stats=json.dumps({"numRecords": file.rows}),
    )  # fmt: skip


def _delta_schema(schema: Sequence[Column]) -> Schema:
    from deltalake import Field, Schema
    from deltalake.schema import PrimitiveType

    return Schema([Field(column.name, PrimitiveType(_DELTA_TYPES[column.dtype]), nullable=True) for column in schema])


@contextmanager
def _delta_errors(uri: str) -> Iterator[None]:
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
