"""Checkpoints of Delta logs on a timer, and the end of log entries that no recorded version needs.

A checkpoint is the state of a Delta version in one file: other engines, and we, open the table from it instead of from every commit since
the first. It repeats the log and changes nothing. A process that dies meanwhile leaves a log that reads as before: the checkpoint is one
file, put whole, and the pointer to it is written after it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, union_all

from gateline.data import store
from gateline.data.store import DatasetRemovalRow, DatasetSpoolFileRow, DatasetVersionRow
from gateline.data.tables import LOG
from gateline.kernel.clock import DAY, SECOND
from gateline.kernel.errors import NotFound
from gateline.kernel.passes import step_each

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gateline.data.tables import Tables
    from gateline.kernel.clock import Instant
    from gateline.ledger import Ledger

ACTOR = "gateline"
_REST = 60 * SECOND  # after a failure, so that a store that is down is not asked in every pass
_FIRST = f"{LOG}/{0:020d}.json"
_NUMBERED = re.compile(re.escape(LOG) + r"/(\d{20})\.")
_CHECKPOINT = re.compile(re.escape(LOG) + r"/(\d{20})\.checkpoint\.parquet")


class Checkpoints:
    """Keeps the logs of all tables short to read.

    Callers may rely on: every recorded version whose files were never removed stays readable at its Delta version by other engines; so does
    one that was restored, when its log had not been trimmed before.

    Args:
        ledger: Where removals are recorded.
        tables: The tables.
        commits: Commits after which a table gets a checkpoint.
        interval_seconds: Time after which it gets one for fewer commits.
        log_days: Age from which log entries that no recorded version needs are removed; 0 keeps them for ever.
    """

    def __init__(
        self, ledger: Ledger, tables: Tables, *, commits: int = 20, interval_seconds: float = 600.0, log_days: float = 30.0
    ) -> None:
        self._ledger = ledger
        self._tables = tables
        self._commits = commits
        self._interval = round(interval_seconds * SECOND)
        self._log_age = round(log_days * DAY)
        self._seen: dict[str, tuple[int, Instant]] = {}
        self._failed: dict[str, Instant] = {}

    def reconcile(self) -> int:
        """Give every table that is due a checkpoint; return how many got one."""
        return step_each({name: name for name in self._due()}, self._pass, what="the checkpoint of a table")

    def checkpoint(self, name: str, actor: str = ACTOR) -> dict[str, Any]:
        """Give a table a checkpoint now, and remove what its log no longer needs.

        Returns:
            `table_version`, the Delta version of the checkpoint, and `removed`, the number of log files that were removed.

        Raises:
            NotFound: the dataset has no table.
            StorageFull: the disk is full; the log is as it was.
            IntegrityFailure: the log is damaged.
        """
        with self._ledger.records.read() as session:
            if name not in _newest(session):
                raise NotFound(f"Dataset '{name}' has no table.", next_step="Register a file, or send rows, first.")
        version = self._tables.checkpoint(name)
        self._seen[name] = version, self._ledger.clock.now()
        return {"table_version": version, "removed": self._trim(actor, name) if self._log_age else 0}

    def _pass(self, name: str) -> int:
        self._failed[name] = self._ledger.clock.now()
        done = self._tables.checkpointed(name)
        self._seen[name] = done, self._ledger.clock.now()
        with self._ledger.records.read() as session:
            newest = _newest(session)[name]
        if newest > done:
            self.checkpoint(name)
        del self._failed[name]
        return int(newest > done)

    def _due(self) -> list[str]:
        """Return the tables with enough commits, or old ones, since the newest checkpoint that is known; a clock set back is early."""
        now = self._ledger.clock.now()
        with self._ledger.records.read() as session:
            newest = _newest(session)
        due = []
        for name, version in newest.items():
            done, since = self._seen.setdefault(name, (-1, now))
            if name in self._failed and 0 <= now - self._failed[name] < _REST:
                continue
            if version - done >= self._commits or (version > done and not 0 <= now - since < self._interval):
                due.append(name)
        return due

    def _trim(self, actor: str, name: str) -> int:
        """Remove old log entries before the newest checkpoint that still leads to every version that is kept; return how many."""
        log = self._tables.logged(name)
        checkpoints = [int(found[1]) for path in log if (found := _CHECKPOINT.fullmatch(path))]
        reached = 0 if _FIRST in log else min(checkpoints, default=0)
        with self._ledger.records.read() as session:
            kept = _oldest_kept(session, name, reached)
        start = max((one for one in checkpoints if kept is None or one <= kept), default=0)
        old = self._ledger.clock.now() - self._log_age
        entries = sorted((int(found[1]), path) for path in log if (found := _NUMBERED.match(path)))
        gone = [path for version, path in entries if version < start and log[path].modified_at < old]
        if not gone:
            return 0
        self._tables.check_readable(name, start)
        with self._ledger.transaction(actor) as tx:
            store.lock(tx.session, name)
            if _oldest_kept(tx.session, name, reached) != kept:
                return 0  # a version was restored meanwhile; the next pass looks again
            tx.record("dataset.log.trimmed", name, {"before": start, "files": len(gone)})
        for path in gone:  # oldest first, so that what a process leaves that dies here is still a log
            self._tables.remove(name, path)
        return len(gone)


def _newest(session: Session) -> dict[str, int]:
    """Return dataset to the newest Delta version that a record names, for all that have a table."""
    of_versions = select(DatasetVersionRow.name, DatasetVersionRow.table_version)
    both = union_all(of_versions, select(DatasetSpoolFileRow.name, DatasetSpoolFileRow.table_version)).subquery()
    query = select(both.c.name, func.max(both.c.table_version)).where(both.c.table_version >= 0).group_by(both.c.name)
    return {str(row[0]): int(row[1]) for row in session.execute(query.order_by(both.c.name))}


def _oldest_kept(session: Session, name: str, reached: int) -> int | None:
    """Return the oldest Delta version, of those that the log still reaches, of a recorded version whose files were not removed.

    A version that was restored after its log had gone has its files again, but no entries that could be kept for it.
    """
    removed = select(DatasetRemovalRow.version_id)
    query = select(func.min(DatasetVersionRow.table_version)).where(
        DatasetVersionRow.name == name, DatasetVersionRow.table_version >= reached, DatasetVersionRow.id.not_in(removed)
    )
    return session.scalar(query)
