"""The records database: SQLite in WAL mode, or PostgreSQL, behind one set of rows and queries."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Dialect, Text, TypeDecorator, create_engine, event, make_url, text
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.orm import DeclarativeBase, MappedAsDataclass, Session, sessionmaker

from gateline.kernel.canonical import canonical_bytes
from gateline.kernel.changes import Changes
from gateline.kernel.errors import ConfigurationError, InvalidInput, StorageFull, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine, Select


class Json(TypeDecorator[Any]):
    """A JSON value kept as canonical text, so that it reads back byte for byte on both databases."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Encode for the database."""
        return None if value is None else canonical_bytes(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """Decode from the database."""
        return None if value is None else json.loads(value)


class Row(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """The base of every table row. Whole numbers are 64 bits wide."""

    type_annotation_map = {int: BigInteger, dict[str, Any]: Json, list[Any]: Json}  # noqa: RUF012


def _prepare_sqlite(engine: Engine) -> None:
    """Set durable WAL mode, foreign keys and an immediate write lock per transaction."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=20000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        mode = "DEFERRED" if connection.get_execution_options().get("read_only") else "IMMEDIATE"
        connection.exec_driver_sql(f"BEGIN {mode}")


_MIGRATION_LOCK = 0x6D69_6772
_FULL = ("database or disk is full", "no space left on device", "disk full")
_BUSY = ("database is locked", "database table is locked", "could not connect", "connection refused", "server closed the connection")


_UNFIT = ("too large to convert to SQLite INTEGER", "surrogates not allowed")


def _unfit(error: BaseException) -> InvalidInput:
    return InvalidInput(
        f"The records database cannot hold one of the values: {str(error).partition(chr(10))[0]:.200}.",
        next_step="Whole numbers have at most 64 bits; text holds no NUL and no half of a surrogate pair.",
    )


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what a database refuses into errors of the tree: no space, no answer, a value it cannot hold; the change was rolled back."""
    try:
        yield
    except DataError as error:
        raise _unfit(error.orig or error) from error
    except (OverflowError, UnicodeEncodeError) as error:
        if not any(sign in str(error) for sign in _UNFIT):
            raise
        raise _unfit(error) from error
    except OperationalError as error:
        words = str(error.orig).lower()
        if any(sign in words for sign in _FULL):
            raise StorageFull(
                "The records database has no space left; the change was rolled back.",
                next_step="Free space on its disk and try again; nothing half-written stays.",
            ) from error
        if any(sign in words for sign in _BUSY):
            raise Unavailable(
                f"The records database does not answer: {error.orig}.", next_step="Try again; if it stays, see whether it runs."
            ) from error
        raise


class Records:
    """The records database of one installation.

    Args:
        url: SQLAlchemy URL, `sqlite:///…` or `postgresql://…` (psycopg 3).

    Attributes:
        changes: Which tables this process has changed.
    """

    def __init__(self, url: str) -> None:
        location = make_url(url)
        self.is_sqlite = location.get_backend_name() == "sqlite"
        if self.is_sqlite:
            Path(location.database or "").parent.mkdir(parents=True, exist_ok=True)
        else:
            location = location.set(drivername="postgresql+psycopg")
        self.engine: Engine = create_engine(location, pool_pre_ping=not self.is_sqlite)
        if self.is_sqlite:
            _prepare_sqlite(self.engine)
        self.changes = Changes(self.engine)
        self._writing = sessionmaker(self.engine, expire_on_commit=False)
        self._reader = self.engine.execution_options(read_only=True)
        self._reading = sessionmaker(self._reader, expire_on_commit=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading one consistent state; rows stay readable afterwards, nothing is committed."""
        with database_errors(), self._reading() as session:
            try:
                yield session
            finally:
                session.expunge_all()
                session.rollback()

    def column(self, statement: Select[Any], parameters: dict[str, Any]) -> set[str]:
        """Return the values of one column, without a session around the query: for what each request asks."""
        with database_errors(), self._reader.connect() as connection:
            return set(connection.scalars(statement, parameters))

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open the transaction of a change. Domains use `Ledger.transaction`, which adds the ledger entry."""
        with database_errors(), self.changes.writing(), self._writing.begin() as session:
            yield session

    def migrate(self) -> None:
        """Bring the schema to the newest revision; a second process waits, then finds nothing to do.

        Raises:
            ConfigurationError: a newer Gateline has brought it further; nothing was changed.
        """
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
        with database_errors(), self.engine.begin() as connection:
            if not self.is_sqlite:  # SQLite's write lock, taken at BEGIN, does the same
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise ConfigurationError(
                    f"The records database is of another Gateline than this one, most likely a newer one: {error}.",
                    next_step="Start the newer Gateline, or restore the records that were kept before the upgrade. Nothing was changed.",
                ) from error

    def close(self) -> None:
        """Return every connection."""
        self.engine.dispose()
