"""The embedded online store: one SQLite file."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateline.features.online.store import Change, Entry, Extent, Mark, new_revision
from gateline.kernel.errors import IntegrityFailure, StorageFull, Unavailable
from gateline.kernel.files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SCHEMA_VERSION = 1
_KEYS_MAX = 500
_PAGE = 1_000
_BUSY_SECONDS = 20.0
_TABLES = """
CREATE TABLE IF NOT EXISTS view (
  id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, watermark INTEGER, covered INTEGER, horizon INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS state (
  view INTEGER NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, blob BLOB NOT NULL, PRIMARY KEY (view, key)
) STRICT, WITHOUT ROWID;
"""
_INSERT = "INSERT INTO state (view, key, revision, blob) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_REPLACE = "UPDATE state SET revision = ?, blob = ? WHERE view = ? AND key = ? AND revision = ?"
_REMOVE = "DELETE FROM state WHERE view = ? AND key = ? AND revision = ?"
_KEPT = "SELECT fingerprint FROM view WHERE watermark IS NOT NULL OR covered IS NOT NULL ORDER BY fingerprint"
_ADVANCE = """
UPDATE view SET watermark = CASE WHEN ?1 IS NULL OR watermark >= ?1 THEN watermark ELSE ?1 END,
  covered = CASE WHEN ?2 IS NULL OR covered >= ?2 THEN covered ELSE ?2 END,
  horizon = CASE WHEN ?3 IS NULL OR horizon >= ?3 THEN horizon ELSE ?3 END WHERE id = ?4
"""


class SqliteOnlineStore:
    """The embedded online store: one SQLite file in WAL mode, which several processes may share. A commit survives a power cut.

    Args:
        path: The file; it is made when it is missing.

    Raises:
        StorageFull: there is no room for the file.
        IntegrityFailure: the file is none of ours, or is broken.
        Unavailable: another process holds it for too long.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._guard = threading.Lock()
        self._open: list[sqlite3.Connection] = []
        self._ids: dict[str, int] = {}
        self._selects: dict[tuple[str, int], str] = {}
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._errors():
            connection = self._connection()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in {0, SCHEMA_VERSION}:
                raise IntegrityFailure(
                    f"The online store {path} has layout {version}; this version of Gateline reads {SCHEMA_VERSION}.",
                    next_step="Give it another file by GATELINE_ONLINE_URL and materialise the views again.",
                )
            connection.executescript(f"BEGIN IMMEDIATE;{_TABLES}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")

    def get_many(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        """Return the blob of each key, in order; None where there is none."""
        try:  # no context manager here: it would cost as much as the rest
            number = self._ids.get(view) or self._id(view)
            if number is None:
                return [None] * len(keys)
            if len(keys) == 1:
                row = self._connection().execute("SELECT blob FROM state WHERE view = ? AND key = ?", (number, keys[0])).fetchone()
                return [None if row is None else row[0]]
            found: dict[str, bytes] = {}
            for part in _parts(keys):
                found.update(self._connection().execute(self._select("blob", len(part)), (number, *part)).fetchall())
            return [found.get(key) for key in keys]
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def entries(self, view: str, keys: Sequence[str]) -> list[Entry | None]:
        """Return blob and revision of each key, in order; None where there is none."""
        with self._errors():
            number = self._id(view)
            if number is None:
                return [None] * len(keys)
            found: dict[str, Entry] = {}
            for part in _parts(keys):
                for key, blob, revision in self._connection().execute(self._select("blob, revision", len(part)), (number, *part)):
                    found[key] = Entry(revision=revision, blob=blob)
            return [found.get(key) for key in keys]

    def commit(self, changes: Sequence[Change], marks: Mapping[str, Mark]) -> bool:
        """Write all changes and advance the marks, durably, or nothing; False when an entry is no longer the expected one."""
        revision = new_revision()
        with self._errors():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                ids = {view: self._made_id(connection, view) for view in dict.fromkeys([*marks, *(change.view for change in changes)])}
                fits = _write(connection, changes, ids, revision)
                if fits:
                    for view, mark in marks.items():
                        connection.execute(_ADVANCE, (mark.watermark, mark.covered, mark.horizon, ids[view]))
                connection.execute("COMMIT" if fits else "ROLLBACK")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        return fits

    def mark(self, view: str) -> Mark:
        """Return how far the view has come."""
        with self._errors():
            row = self._connection().execute("SELECT watermark, covered, horizon FROM view WHERE fingerprint = ?", (view,)).fetchone()
        return Mark() if row is None else Mark(watermark=row[0], covered=row[1], horizon=row[2])

    def keys(self, view: str) -> Iterator[str]:
        """Yield the key of every entry, in no order; of entries that are written meanwhile, some may be left out or come twice."""
        query = "SELECT key FROM state WHERE view = ? AND key > ? ORDER BY key LIMIT ?"
        last = ""
        while True:
            with self._errors():
                page = [key for (key,) in self._connection().execute(query, (self._id(view), last, _PAGE))]
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1]

    def extent(self, view: str) -> Extent:
        """Return how much is kept of the view."""
        query = "SELECT COUNT(*), COALESCE(SUM(LENGTH(blob)), 0) FROM state WHERE view = ?"
        with self._errors():
            keys, size = self._connection().execute(query, (self._id(view),)).fetchone()
        return Extent(keys=keys, size_bytes=size)

    def views(self) -> list[str]:
        """Return the fingerprints of all views of which something is kept, sorted."""
        with self._errors():
            return [view for (view,) in self._connection().execute(_KEPT)]

    def drop(self, view: str) -> None:
        """Remove everything of the view."""
        with self._errors():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute("DELETE FROM state WHERE view = (SELECT id FROM view WHERE fingerprint = ?)", (view,))
                # The row stays, without marks: its number must never become another view's while a process remembers it.
                connection.execute("UPDATE view SET watermark = NULL, covered = NULL, horizon = NULL WHERE fingerprint = ?", (view,))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Give back every connection."""
        with self._guard:
            for connection in self._open:
                connection.close()
            self._open.clear()
            self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        """Return the connection of this thread."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is not None:
            return found
        made = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        with self._guard:
            self._open.append(made)
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            made.execute(f"PRAGMA {pragma}")
        self._local.connection = made
        return made

    def _id(self, view: str) -> int | None:
        """Return the number that stands for a fingerprint in this file; None when nothing was ever written of it."""
        if view not in self._ids:
            row = self._connection().execute("SELECT id FROM view WHERE fingerprint = ?", (view,)).fetchone()
            if row is None:
                return None
            self._ids[view] = row[0]
        return self._ids[view]

    def _made_id(self, connection: sqlite3.Connection, view: str) -> int:
        """Return the number of a fingerprint inside a transaction, which may still be rolled back: so it is not remembered here."""
        connection.execute("INSERT INTO view (fingerprint) VALUES (?) ON CONFLICT DO NOTHING", (view,))
        found: tuple[int] = connection.execute("SELECT id FROM view WHERE fingerprint = ?", (view,)).fetchone()
        return found[0]

    def _select(self, columns: str, count: int) -> str:
        """Return the statement that reads `count` keys; its text is kept, so that SQLite's prepared statement is found again."""
        if (columns, count) not in self._selects:
            places = ",".join("?" * count)
            self._selects[columns, count] = f"SELECT key, {columns} FROM state WHERE view = ? AND key IN ({places})"  # noqa: S608 - no input
        return self._selects[columns, count]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what SQLite raises into errors of the tree."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.Error) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and "full" in str(error)):
            return StorageFull(
                f"The online store {self._path} has no space left; nothing was written.", next_step="Free space on its disk and try again."
            )
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return IntegrityFailure(
                f"The online store {self._path} is broken: {error}.",
                next_step="Move the file away and materialise the views again: they are rebuilt from the datasets.",
            )
        return Unavailable(
            f"The online store {self._path} does not answer: {error}.", next_step="Try again; if it stays, see which process holds it."
        )


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _KEYS_MAX):
        yield keys[start : start + _KEYS_MAX]


def _write(connection: sqlite3.Connection, changes: Sequence[Change], ids: Mapping[str, int], revision: int) -> bool:
    """Write the changes inside a transaction; False as soon as an entry is not the expected one."""
    fresh = [one for one in changes if one.expected is None and one.blob is not None]
    known = [one for one in changes if one.expected and one.blob is not None]
    gone = [one for one in changes if one.expected and one.blob is None]
    # Rows are made one at a time: so many of them at once would set off a search for garbage.
    for statement, wanted, rows in (
        (_INSERT, fresh, ((ids[one.view], one.key, revision, one.blob) for one in fresh)),
        (_REPLACE, known, ((revision, one.blob, ids[one.view], one.key, one.expected) for one in known)),
        (_REMOVE, gone, ((ids[one.view], one.key, one.expected) for one in gone)),
    ):
        if wanted and connection.executemany(statement, rows).rowcount != len(wanted):
            return False
    return True
