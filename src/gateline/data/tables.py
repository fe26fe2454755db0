"""The Delta tables of datasets: written as Parquet files of our own making, committed through `deltalake`, read file by file and hashed.

A dataset version is its record: the files with their digests. The Delta log lets other engines read the same tables; nothing here trusts
it for what a version holds. Files are written first, durably, under names that were never used; the Delta commit makes them visible;
the record, written last, makes them a version. A writer that dies leaves files, or a Delta version, that no record names: harmless, and
removed by `vacuum`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateline.data.delta import add_action, delta_errors, delta_schema, remove_action
from gateline.data.model import ColumnType, TableFile
from gateline.data.places import LocalPlace, RemotePlace, Stored
from gateline.kernel.canonical import sha256_bytes, sha256_file
from gateline.kernel.errors import Conflict, IntegrityFailure
from gateline.kernel.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl
    from deltalake import DeltaTable, Schema

    from gateline.data.model import Column

FILE_ROWS = 1 << 22
_ROW_GROUP_ROWS = 1 << 17
_ATTEMPTS = 10
# The log is what lets other engines read an earlier version, so it is kept; files are removed by our vacuum alone.
_CONFIGURATION: dict[str, str | None] = {"delta.enableExpiredLogCleanup": "false"}
_WRITER = "gateline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What a write left: the version of the Delta table, and all files that hold its rows, in order."""

    table_version: int
    files: tuple[TableFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """An application transaction of Delta Lake: the table remembers the newest number under each name.

    Attributes:
        name: Who counts.
        before: The number at which the writer found the table; 0 when there was none.
        number: The number that the commit leaves.
    """

    name: str
    before: int
    number: int


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
        with delta_errors(self._place.uri(dataset)):
            for _ in range(_ATTEMPTS):
                version = self._commit(dataset, files, schema, mode="overwrite")
                if version is not None:
                    return Commit(table_version=version, files=files)
        raise Conflict(f"The table of dataset '{dataset}' is being written by others.", next_step="Run the command again.")

    def append(
        self, dataset: str, path: str, frame: pl.DataFrame, schema: Sequence[Column], *, turn: Turn, instead: Sequence[str] = ()
    ) -> Commit | None:
        """Add a file of rows to the table, once: a path that it holds already is left as it is.

        Args:
            dataset: Name of the dataset.
            path: Path of the file, which says what rows it holds, so that a repeated call has the same.
            frame: The rows.
            schema: The columns of the table.
            turn: The application transaction of the commit. The caller looked at the table when it stood at `before`; if it does not any
                more, nothing is committed.
            instead: Paths whose rows the file holds too, to be taken out of the table in the same commit.

        Returns:
            The commit, or None when another writer came first and the caller must look again.

        Raises:
            StorageFull: the disk is full.
            IntegrityFailure: the Delta log is damaged.
        """
        held = self.head(dataset)
        with delta_errors(self._place.uri(dataset)):
            if path in held:
                place = self._place.fetch(dataset, path, "")
                file = TableFile(path=path, sha256=sha256_file(place), size_bytes=place.stat().st_size, rows=frame.height)
                return Commit(table_version=self._table(dataset).version(), files=(file,))
            file = self._put(dataset, path, frame)
            version = self._commit(dataset, (file,), schema, mode="append", turn=turn, removed=[one for one in instead if one in held])
        return None if version is None else Commit(table_version=version, files=(file,))

    def turn(self, dataset: str, name: str) -> int:
        """Return the number of the newest application transaction of a name; 0 when there was none."""
        from deltalake.exceptions import TableNotFoundError

        with delta_errors(self._place.uri(dataset)):
            try:
                return self._table(dataset).transaction_version(name) or 0
            except TableNotFoundError:
                return 0

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

        with delta_errors(self._place.uri(dataset)):
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

    def _commit(
        self,
        dataset: str,
        files: Sequence[TableFile],
        schema: Sequence[Column],
        *,
        mode: str,
        turn: Turn | None = None,
        removed: Sequence[str] = (),
    ) -> int | None:
        """Commit the files as the whole table, or as part of it, and return the version; None when another writer came first.

        Every commit names the same application transaction, so that Delta refuses the later of two commits upon one state: `overwrite`
        alone would keep the files of both.
        """
        from deltalake import CommitProperties, Transaction
        from deltalake.exceptions import CommitFailedError

        delta = delta_schema(schema)
        if not self._exists(dataset, delta):
            return None
        table = self._table(dataset)
        if any(column.dtype is ColumnType.NAIVE_DATETIME for column in schema) and not self._allow_naive(table):
            return None
        if turn is not None and (table.transaction_version(turn.name) or 0) != turn.before:
            return None
        before = table.version()
        turns = [
            Transaction(_WRITER, (table.transaction_version(_WRITER) or 0) + 1),
            *([Transaction(turn.name, turn.number)] if turn else []),
        ]
        try:
            table.create_write_transaction(
                [*(add_action(file, data_change=not removed) for file in files), *(remove_action(path) for path in removed)],
                mode=mode, schema=delta, commit_properties=CommitProperties(app_transactions=turns),
            )  # fmt: skip
        except CommitFailedError:
            return None
        return self._committed(dataset, before, files, alone=mode == "overwrite")

    def _exists(self, dataset: str, schema: Schema) -> bool:
        """Create the table when there is none yet; return False when another writer was about to."""
        from deltalake import DeltaTable
        from deltalake.exceptions import CommitFailedError

        uri = self._place.uri(dataset)
        if DeltaTable.is_deltatable(uri, self._options):
            return True
        try:
            DeltaTable.create(uri, schema=schema, mode="ignore", configuration=_CONFIGURATION, storage_options=self._options)
        except CommitFailedError:
            return False
        return True

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

    def _committed(self, dataset: str, before: int, files: Sequence[TableFile], *, alone: bool) -> int | None:
        """Return the first version after `before` that holds these files; None when others lie among files meant to be `alone`."""
        wanted = {file.path for file in files}
        for version in range(before + 1, self._table(dataset).version() + 1):
            held = set(self._table(dataset, version).get_add_actions().column("path").to_pylist())
            if wanted <= held:
                self._place.settle(dataset, f"_delta_log/{version:020d}.json")
                return version if wanted == held or not alone else None
        return None

    def _table(self, dataset: str, version: int | None = None) -> DeltaTable:
        from deltalake import DeltaTable

        return DeltaTable(self._place.uri(dataset), version=version, storage_options=self._options)


def encode(rows: pl.DataFrame) -> bytes:
    """Return the rows as a Parquet file."""
    content = io.BytesIO()
    rows.rechunk().write_parquet(content, compression="zstd", compression_level=3, statistics=True, row_group_size=_ROW_GROUP_ROWS)
    return content.getvalue()
