"""The Delta tables of datasets: written as Parquet files of our own making, committed through `deltalake`, read file by file and hashed.

A dataset version is its record: the files with their digests. The Delta log lets other engines read the same tables; nothing here trusts
it for what a version holds. Files are written first, durably, under names that were never used; the Delta commit makes them visible;
the record, written last, makes them a version. A writer that dies leaves files, or a Delta version, that no record names: harmless, and
removed by `vacuum`.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateline.data.delta import add_action, allow_naive, delta_errors, delta_schema, opened_or_made, remove_action
from gateline.data.model import ColumnType, TableFile
from gateline.data.places import LocalPlace, RemotePlace, Stored
from gateline.kernel.canonical import sha256_bytes, sha256_file
from gateline.kernel.errors import Conflict, IntegrityFailure, NotFound
from gateline.kernel.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl
    from deltalake import DeltaTable

    from gateline.data.model import Column

FILE_ROWS = 1 << 22
_ROW_GROUP_ROWS = 1 << 17
_ATTEMPTS = 10
# The log is what lets other engines read an earlier version, so it is kept; files are removed by our vacuum alone.
_CONFIGURATION: dict[str, str | None] = {"delta.enableExpiredLogCleanup": "false"}
_PATIENCE = {"retry_timeout": "30s"}  # of the client of an object store: a store that hangs is given up within a minute, not three
_WRITER = "gateline"
LOG = "_delta_log"


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
        patience = _PATIENCE if "://" in location else {}
        self._options = {**patience, **(storage_options or {})}
        self._place = RemotePlace(location, self._options, cache) if "://" in location else LocalPlace(location)
        self._file_rows = file_rows

    def replace(self, dataset: str, frame: pl.DataFrame, schema: Sequence[Column]) -> Commit:
        """Make the frame the newest state of the dataset's table; earlier states stay readable.

        Raises:
            StorageFull: the disk is full; nothing refers to what was written.
            Conflict: other writers came first too often.
            IntegrityFailure: the Delta log is damaged.
        """
        with delta_errors(self._place.uri(dataset)):
            files = self._write(dataset, frame)
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
        if gone := self.missing(dataset, files):
            raise Conflict(
                f"The files {', '.join(gone)} of dataset '{dataset}' were removed while they were being registered.",
                next_step="Run the command again.",
            )

    def missing(self, dataset: str, files: Sequence[TableFile]) -> list[str]:
        """Return the paths that are not there."""
        return [file.path for file in files if not self._place.has(dataset, file.path)]

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
        return {path: file for path, file in self._place.listed(dataset).items() if not path.startswith(LOG)}

    def logged(self, dataset: str) -> dict[str, Stored]:
        """Return path to size and age of every file of the Delta log."""
        return {path: file for path, file in self._place.listed(dataset).items() if path.startswith(LOG)}

    def checkpointed(self, dataset: str) -> int:
        """Return the Delta version of the newest checkpoint, from which the table is opened; -1 when there is none."""
        try:
            return int(json.loads(self._place.fetch(dataset, f"{LOG}/_last_checkpoint", "").read_bytes())["version"])
        except (NotFound, ValueError, KeyError, TypeError):
            return -1  # Delta Lake then looks for it in the list of the log

    def checkpoint(self, dataset: str) -> int:
        """Write the state of the newest Delta version into one file, so that the table opens without the commits before it.

        Returns:
            The Delta version; two writers of one checkpoint write the same.

        Raises:
            StorageFull: the disk is full; the log is as it was.
            IntegrityFailure: there is no table, or its log is damaged.
            Unavailable: the object store does not answer.
        """
        with delta_errors(self._place.uri(dataset)):
            table = self._table(dataset)
            table.create_checkpoint()
            version = table.version()
            for name in (f"{version:020d}.checkpoint.parquet", "_last_checkpoint"):
                self._place.settle(dataset, f"{LOG}/{name}")
        return version

    def check_readable(self, dataset: str, version: int) -> None:
        """Open the table at one of its Delta versions; raises IntegrityFailure when its log does not lead there."""
        with delta_errors(self._place.uri(dataset)):
            self._table(dataset, version).get_add_actions()

    def remove(self, dataset: str, path: str) -> None:
        """Remove a data file, or a file of the log; only `Retention` and `Checkpoints` decide which."""
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
        table = opened_or_made(self._place.uri(dataset), delta, _CONFIGURATION, self._options)
        if table is None:
            return None
        if any(column.dtype is ColumnType.NAIVE_DATETIME for column in schema) and not allow_naive(table):
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

    def _committed(self, dataset: str, before: int, files: Sequence[TableFile], *, alone: bool) -> int | None:
        """Return the first version after `before` that holds these files; None when others lie among files meant to be `alone`."""
        wanted = {file.path for file in files}
        for version in range(before + 1, self._table(dataset).version() + 1):
            held = set(self._table(dataset, version).get_add_actions().column("path").to_pylist())
            if wanted <= held:
                self._place.settle(dataset, f"{LOG}/{version:020d}.json")
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
