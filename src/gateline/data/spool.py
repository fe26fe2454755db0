"""Rows that come in small batches: durable before they are acknowledged, in the Delta table once, a version when it is cut.

Batches wait in the records database, which writes through to the disk at every commit and which all replicas share. Each dataset numbers
its batches without gaps. A step writes the batches after the last committed one into a file whose name says which they are, commits it to
Delta with the number of the last batch, and then records the file and drops the batches. A process that dies after the Delta commit
leaves its number there: the next step takes exactly the batches up to it, finds the file in the table, and goes on with the record.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update

from gateline.data import rules, store
from gateline.data.batches import Batch, Feed, columns_of, opened, take, typed_batch
from gateline.data.building import Given
from gateline.data.model import Column, ColumnType, FileFormat, Provenance, ReadOptions, Source, SourceKind, TableFile
from gateline.data.rows import typed_rows
from gateline.data.store import DatasetBatchRow, DatasetSpoolFileRow, DatasetSpoolRow
from gateline.data.tables import Commit, Turn, encode
from gateline.kernel.canonical import digest
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import Conflict, InvalidInput, TooLarge
from gateline.kernel.limits import NAME_LENGTH_MAX, SPOOL_ROWS_MAX
from gateline.kernel.names import valid_name
from gateline.kernel.passes import step_each

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from gateline.data.model import DatasetVersion
    from gateline.data.objects import ObjectStore
    from gateline.data.service import Datasets
    from gateline.data.tables import Tables
    from gateline.ledger import Ledger

ACTOR = "gateline"
COMMIT_SECONDS = 30
COMMIT_ROWS = 10_000
COMPACT_FILES = 32
_ROWS = "gateline.rows"
_COMPACTION = "gateline.compaction"
_PATH = re.compile(r"rows-(\d{12})-(\d{12})\.parquet")
_BATCHES = 10_000
_FILE_ROWS = 1_000_000
_ATTEMPTS = 10


class Spool:
    """Datasets that are fed with rows.

    Callers may rely on: a batch that was acknowledged is in the next version that is cut, once; the same key with the same rows is
    acknowledged again and counted once; rows keep the order in which their batches were acknowledged.
    """

    def __init__(self, ledger: Ledger, datasets: Datasets, objects: ObjectStore, tables: Tables) -> None:
        self._ledger = ledger
        self._datasets = datasets
        self._objects = objects
        self._tables = tables

    def open(self, actor: str, name: str, *, types: Mapping[str, ColumnType], provenance: Provenance) -> None:
        """Let a dataset be fed with rows of these columns; opening it again in the same way changes nothing.

        Raises:
            InvalidInput: name, columns or provenance are wrong.
            Conflict: it is open in another way, or has versions that were made of files.
        """
        valid_name("dataset", name)
        rules.check_provenance(provenance)
        rules.check_header(list(types), name=f"Dataset '{name}'")
        columns = [[column, kind.value] for column, kind in types.items()]
        with self._ledger.transaction(actor) as tx:
            store.lock(tx.session, name)
            known = store.spool(tx.session, name)
            if known is not None and (known.columns, known.provenance) == (columns, provenance.as_dict()):
                return
            if known is not None or store.newest_number(tx.session, name):
                what = "is fed with rows of other columns or terms" if known is not None else "has versions that were made otherwise"
                raise Conflict(f"Dataset '{name}' {what}.", next_step="Choose another name.")
            row = DatasetSpoolRow(
                name=name, columns=columns, provenance=provenance.as_dict(), received=0, committed=0, opened_at=tx.now, opened_by=actor
            )
            tx.session.add(row)
            tx.record("dataset.spool.opened", name, {"columns": columns, **provenance.as_dict()})

    def append(self, actor: str, name: str, rows: Sequence[Mapping[str, Any]], *, key: str) -> dict[str, Any]:
        """Take a batch of rows; when this returns, they are durable.

        Args:
            actor: Name of the principal.
            name: Name of the dataset.
            rows: Column to value; see `typed_rows` for how each type is written.
            key: Names the batch: the same key again is the same batch.

        Returns:
            The batch's `position` (from 1, in the order of acknowledgement), `rows`, and `repeated`.

        Raises:
            NotFound: the dataset is not fed with rows.
            InvalidInput: rows do not fit the columns; none was taken.
            ContractBroken: rows break what the contract in force promises of single rows; none was taken.
            TooLarge: there are too many rows in one batch.
            Conflict: the key was used for other rows.
            StorageFull: the disk is full; nothing was taken.
        """
        if not key or len(key) > NAME_LENGTH_MAX or not rows:
            raise InvalidInput(f"A batch needs rows, and a key of at most {NAME_LENGTH_MAX} characters.")
        if len(rows) > SPOOL_ROWS_MAX:
            raise TooLarge(f"The batch has {len(rows):,} rows; the limit is {SPOOL_ROWS_MAX:,}.", next_step="Send smaller batches.")
        frame = self.typed(name, rows)
        batch = Batch(key=key, digest=digest("dataset.rows.batch", [dict(row) for row in rows]), rows=rows)
        ((taken,),) = self.append_each(actor, [Feed(name=name, frame=frame, batches=[batch])])
        return taken

    def is_open(self, name: str) -> bool:
        """Return whether the dataset is fed with rows."""
        with self._ledger.records.read() as session:
            return store.spool(session, name) is not None

    def typed(self, name: str, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        """Return rows with the columns of the dataset; what a row leaves out is missing in it.

        Raises:
            NotFound: the dataset is not fed with rows.
            InvalidInput: rows do not fit the columns.
        """
        return typed_batch(self._ledger, name, rows)

    def append_each(self, actor: str, feeds: Sequence[Feed]) -> list[list[dict[str, Any]]]:
        """Take batches of checked rows, all of them or none; see `append` for what is promised of each, `take` for arguments and errors."""
        return take(self._ledger, actor, feeds)

    def status(self, name: str) -> dict[str, Any]:
        """Return how many batches were received and committed, how many rows wait, and in how many files the others lie."""
        with self._ledger.records.read() as session:
            spool = opened(store.spool(session, name), name)
            waiting = select(func.coalesce(func.sum(DatasetBatchRow.rows), 0)).where(
                DatasetBatchRow.name == name, DatasetBatchRow.position > spool.committed
            )
            files = store.spool_files(session, name)
            return {
                "name": name, "columns": [list(one) for one in spool.columns], "batches_received": spool.received,
                "batches_committed": spool.committed, "rows_waiting": int(session.scalar(waiting) or 0),
                "rows_committed": sum(file.rows for file in files), "files": len(files),
            }  # fmt: skip

    def reconcile(self) -> int:
        """Commit the datasets whose rows have waited 30 seconds or number 10,000, and compact those of many small files."""
        return step_each({name: name for name in self._due()}, self.commit, what="the commit of rows") + step_each(
            {name: name for name in self._scattered()}, self.compact, what="the compaction of rows"
        )

    def commit(self, name: str) -> int:
        """Bring every waiting batch of a dataset into its Delta table; return how many were brought.

        Raises:
            NotFound: the dataset is not fed with rows.
            Conflict: other processes came first too often.
            StorageFull: the disk is full; the batches wait on.
        """
        total = 0
        for _ in range(_ATTEMPTS):
            while (done := self._commit_some(name)) is not None:
                if not done:
                    return total
                total += done
        raise Conflict(f"The rows of dataset '{name}' are being committed by others.", next_step="Try again.")

    def cut(self, actor: str, name: str) -> DatasetVersion:
        """Make all rows acknowledged so far a version of the dataset; without new rows it is the version that was cut before.

        Raises:
            NotFound: the dataset is not fed with rows.
            InvalidInput: no row has come yet.
            IntegrityFailure: a file of the table changed.
        """
        as_of = self._ledger.clock.now()
        self.commit(name)
        with self._ledger.records.read() as session:
            spool, files = opened(store.spool(session, name), name), store.spool_files(session, name)
        if not files:
            raise InvalidInput(f"No row of dataset '{name}' has come yet.", next_step="Send rows first.")
        raw = self._objects.put_bytes(encode(self._read(name, files)))
        options = ReadOptions(format=FileFormat.PARQUET, types=columns_of(spool, name))
        given = Given(
            name=name,
            raw=raw,
            made_of=Source(kind=SourceKind.SPOOL),
            options=options,
            provenance=Provenance(**spool.provenance),
            as_of=as_of,
        )
        commit = Commit(table_version=max(file.table_version for file in files), files=tuple(map(_file, files)))
        return self._datasets.make(actor, given, commit)

    def compact(self, name: str) -> int:
        """Put the small files at the end of a dataset's rows into one; versions that were cut keep theirs. Return how many it replaced."""
        compactions = self._tables.turn(name, _COMPACTION)
        with self._ledger.records.read() as session:
            spool, files = opened(store.spool(session, name), name), store.spool_files(session, name)
        start = next((place for place, file in enumerate(files) if file.rows < COMMIT_ROWS), len(files))
        run = files[start:]
        if len(run) < 2:
            return 0
        frame, first, last = self._read(name, run), run[0].first, run[-1].last
        turn, instead = Turn(name=_COMPACTION, before=compactions, number=compactions + 1), self._within(name, first, last)
        commit = self._tables.append(name, _path(first, last), frame, _columns(spool), turn=turn, instead=instead)
        if commit is None:
            return 0
        with self._ledger.transaction(ACTOR) as tx:
            store.lock(tx.session, name)
            now = [file for file in store.spool_files(tx.session, name) if first <= file.first and file.last <= last]
            if [file.path for file in now] != [file.path for file in run]:
                return 0
            for file in now:
                tx.session.delete(file)
            tx.session.flush()
            _record(tx.session, name, first, last, commit)
            tx.record("dataset.rows.compacted", name, {"files": len(run), **commit.files[0].as_dict()})
        return len(run)

    def _commit_some(self, name: str) -> int | None:
        """Commit some waiting batches; return how many, or None when another process came first."""
        reached = self._tables.turn(name, _ROWS)  # before the records: a commit after this moment makes ours fail, and we look again
        with self._ledger.records.read() as session:
            spool = opened(store.spool(session, name), name)
            # Beyond what is recorded, a process died, or still stands, between the Delta commit and the record.
            beyond = reached > spool.committed
            last = reached if beyond else store.waiting_until(session, spool, batches=_BATCHES, rows=_FILE_ROWS)
            batches = store.pending_batches(session, spool, last)
        if not batches:
            return 0
        first, last = batches[0].position, batches[-1].position
        frame = typed_rows(columns_of(spool, name), [row for batch in batches for row in batch.content or []])
        commit = self._tables.append(name, _path(first, last), frame, _columns(spool), turn=Turn(name=_ROWS, before=reached, number=last))
        if commit is None:
            return None
        with self._ledger.transaction(ACTOR) as tx:
            store.lock(tx.session, name)
            now = opened(store.spool(tx.session, name), name)
            if now.committed != first - 1:
                return None
            now.committed = last
            _record(tx.session, name, first, last, commit)
            mine = (DatasetBatchRow.name == name) & DatasetBatchRow.position.between(first, last)
            tx.session.execute(update(DatasetBatchRow).where(mine).values(content=None))
            tx.record("dataset.rows.committed", name, {"first": first, "last": last, **commit.files[0].as_dict()})
        return len(batches)

    def _within(self, name: str, first: int, last: int) -> list[str]:
        """Return the files of the Delta table whose batches lie in the range, whatever the record says: a compaction may have died."""
        found = ((path, _PATH.fullmatch(path)) for path in self._tables.head(name))
        return [path for path, match in found if match is not None and first <= int(match[1]) and int(match[2]) <= last]

    def _due(self) -> list[str]:
        """Return the datasets with rows that have waited long enough or are many; a clock that was set back commits early."""
        now = self._ledger.clock.now()
        query = (
            select(DatasetBatchRow.name, func.sum(DatasetBatchRow.rows), func.min(DatasetBatchRow.received_at))
            .join(DatasetSpoolRow, DatasetSpoolRow.name == DatasetBatchRow.name)
            .where(DatasetBatchRow.position > DatasetSpoolRow.committed)
            .group_by(DatasetBatchRow.name)
        )
        with self._ledger.records.read() as session:
            waiting = session.execute(query).all()
        return [name for name, rows, since in waiting if rows >= COMMIT_ROWS or not 0 <= now - since < COMMIT_SECONDS * SECOND]

    def _scattered(self) -> list[str]:
        small = select(DatasetSpoolFileRow.name).where(DatasetSpoolFileRow.rows < COMMIT_ROWS).group_by(DatasetSpoolFileRow.name)
        with self._ledger.records.read() as session:
            return list(session.scalars(small.having(func.count() >= COMPACT_FILES)))

    def _read(self, name: str, files: Sequence[DatasetSpoolFileRow]) -> pl.DataFrame:
        import polars as pl

        return pl.read_parquet([self._tables.path(name, _file(file)) for file in files])


def _columns(spool: DatasetSpoolRow) -> tuple[Column, ...]:
    return tuple(Column(name=name, dtype=kind, nullable=True) for name, kind in columns_of(spool, spool.name).items())


def _path(first: int, last: int) -> str:
    return f"rows-{first:012d}-{last:012d}.parquet"


def _file(row: DatasetSpoolFileRow) -> TableFile:
    return TableFile(path=row.path, sha256=row.sha256, size_bytes=row.size_bytes, rows=row.rows)


def _record(session: Any, name: str, first: int, last: int, commit: Commit) -> None:
    session.add(DatasetSpoolFileRow(name=name, first=first, last=last, table_version=commit.table_version, **commit.files[0].as_dict()))
