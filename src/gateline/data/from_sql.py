"""Rows of a SQL query, with their types, as of a time when the query asks for one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gateline.data import rules
from gateline.kernel.errors import InvalidInput, TooLarge, Unavailable
from gateline.kernel.limits import TEXT_LENGTH_MAX, UPLOAD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from sqlalchemy import Connection, TextClause

    from gateline.kernel.clock import Instant
    from gateline.kernel.secrets import Resolved

_BATCH_ROWS = 100_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AS_OF = "as_of"


def takes_as_of(query: str) -> bool:
    """Return whether a query has the parameter `:as_of`.

    >>> takes_as_of("SELECT * FROM price WHERE known_at <= :as_of"), takes_as_of("SELECT '10:30'::text")
    (True, False)

    Raises:
        InvalidInput: there is no query, it is too long, or it has other parameters.
    """
    from sqlalchemy import text

    if not query.strip() or len(query) > TEXT_LENGTH_MAX:
        raise InvalidInput(f"A query is needed, of at most {TEXT_LENGTH_MAX:,} characters.")
    parameters = set(text(query).compile().params)
    if unknown := sorted(parameters - {AS_OF}):
        raise InvalidInput(
            f"The query has the parameters {', '.join(f':{name}' for name in unknown)}, which nothing is given for.",
            next_step=f"Write the values into the query; only :{AS_OF} is bound. A colon that names no parameter is written as \\:.",
        )
    return AS_OF in parameters


def query_rows(location: Resolved, name: str, query: str, as_of: Instant | None) -> pl.DataFrame:
    """Return the rows of a query in a transaction that is rolled back.

    Args:
        location: The SQLAlchemy URL.
        name: What errors call the connection.
        query: The SQL text.
        as_of: What stands for `:as_of`, UTC microseconds: on PostgreSQL a time stamp with its zone, in a session whose zone is UTC; in
            other databases a time stamp in UTC without one, which SQLite compares as text such as 2013-01-31 10:00:00.000000.

    Raises:
        InvalidInput: the query fails, or its rows cannot become a table.
        TooLarge: there are more rows than one version may hold.
        Unavailable: the database does not answer.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

    try:
        engine = create_engine(location.reveal(), hide_parameters=True)
    except (ArgumentError, NoSuchModuleError, ImportError):
        raise InvalidInput(
            f"The connection '{name}' is no SQL database that this server can reach.",
            next_step="An operator corrects GATELINE_CONNECTIONS, or installs the driver.",
        ) from None
    try:
        with engine.connect() as connection:
            _read_only(connection)
            frame = _rows(connection, _statement(connection, query, as_of))
            connection.rollback()
    except SQLAlchemyError as error:
        words = location.redact(first_line(getattr(error, "orig", None) or error))
        if isinstance(error, OperationalError) and not words.startswith("no such "):  # SQLite's word for a missing table or column
            raise Unavailable(
                f"The connection '{name}' does not answer the query: {words}.", next_step="Check the query and the database, and try again."
            ) from None
        raise InvalidInput(f"The query to '{name}' failed: {words}.", next_step="Correct the query.") from None
    finally:
        engine.dispose()
    return frame


def _statement(connection: Connection, query: str, as_of: Instant | None) -> TextClause:
    from sqlalchemy import DateTime, bindparam, text

    if as_of is None:
        return text(query)
    moment, zoned = _EPOCH + timedelta(microseconds=as_of), connection.dialect.name == "postgresql"
    if zoned:
        connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")
    value = moment if zoned else moment.replace(tzinfo=None)
    return text(query).bindparams(bindparam(AS_OF, value, type_=DateTime(timezone=zoned)))


def _read_only(connection: Connection) -> None:
    """Keep a query from writing where the database can be told so; in any case the transaction is rolled back."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    elif connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")


def _rows(connection: Connection, statement: TextClause) -> pl.DataFrame:
    """Return the rows of a query. Every column has one type over all rows; nothing is widened or guessed to make it so."""
    import polars as pl
    from polars.exceptions import PolarsError

    result = connection.execution_options(stream_results=True).execute(statement)
    if not result.returns_rows:
        raise InvalidInput("The query returns no rows.", next_step="Write a SELECT.")
    names = list(result.keys())
    rules.check_header(names, name="The result of the query")
    frames: list[pl.DataFrame] = []
    kinds: dict[str, set[str]] = {name: set() for name in names}
    size = 0.0
    try:
        for batch in result.partitions(_BATCH_ROWS):
            columns = dict(zip(names, zip(*batch, strict=True), strict=True))
            for name, values in columns.items():
                kinds[name] |= set(map(_kind, values)) - {"NoneType"}
            _check_kinds(kinds)
            frames.append(pl.DataFrame([pl.Series(name, values, strict=True) for name, values in columns.items()]))
            check_size(size := size + frames[-1].estimated_size())
        return pl.concat(_filled(frames)) if frames else pl.DataFrame()
    except (PolarsError, TypeError, OverflowError) as error:
        raise InvalidInput(f"The rows of the query cannot become a table: {first_line(error)}.", next_step="Cast in the query.") from None


def _kind(value: object) -> str:
    zone = isinstance(value, datetime) and value.tzinfo is not None
    return "datetime with zone" if zone else type(value).__name__


def _check_kinds(kinds: Mapping[str, set[str]]) -> None:
    if mixed := [f"'{name}' holds {' and '.join(sorted(found))}" for name, found in kinds.items() if len(found) > 1]:
        raise InvalidInput(f"The rows of the query have mixed types: {'; '.join(mixed)}.", next_step="Cast in the query.")


def _filled(frames: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the frames with columns that were wholly missing in one of them in the type that they have in the others."""
    import polars as pl

    types = {name: dtype for frame in frames for name, dtype in frame.schema.items() if dtype != pl.Null()}
    return [
        frame.cast({name: types[name] for name, dtype in frame.schema.items() if dtype == pl.Null() and name in types}) for frame in frames
    ]


def check_size(size_bytes: float) -> None:
    """Refuse rows that take more than 2 GiB; raises TooLarge."""
    if size_bytes > UPLOAD_BYTES_MAX:
        raise TooLarge(f"The rows take more than {UPLOAD_BYTES_MAX:,} bytes.", next_step="Fetch them in parts, as several datasets.")


def first_line(error: object) -> str:
    """Return the first line of what an error says, or its name when it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
