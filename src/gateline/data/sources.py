"""Fetching rows on the server: SQL queries and Delta tables, from connections that the operator named in the settings and no others.

A caller names a connection and says what to read from it; he never names a host, a path of the server, or a secret. Without a configured
connection nothing can be fetched. What was fetched is kept as a raw Parquet file, so that the version can be rebuilt without the source.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gateline.data import rules
from gateline.data.building import Given
from gateline.data.model import ColumnType, FileFormat, Provenance, ReadOptions, Source, SourceKind
from gateline.kernel.errors import InvalidInput, NotFound, TooLarge, Unavailable
from gateline.kernel.limits import TEXT_LENGTH_MAX, UPLOAD_BYTES_MAX
from gateline.kernel.names import valid_name
from gateline.kernel.secrets import Resolved, resolve_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl
    from deltalake import DeltaTable
    from sqlalchemy import Connection

    from gateline.data.model import DatasetVersion
    from gateline.data.objects import ObjectStore
    from gateline.data.service import Datasets
    from gateline.kernel.clock import Clock

_BATCH_ROWS = 100_000
# What a reader of Parquet files by the log must know of. Anything else, such as deletion vectors or column mapping, changes what the
# files mean, and would be misread.
_DELTA_FEATURES = frozenset({"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})


class Sources:
    """Rows that the server fetches itself.

    Args:
        datasets: Where they become versions.
        objects: Where they are kept as they came.
        connections: Name to SQLAlchemy URL, or to the folder or URL above Delta tables, with `secret://` references.
        clock: Says when a source was read.
        variable: Looks up an environment variable.
    """

    def __init__(
        self,
        datasets: Datasets,
        objects: ObjectStore,
        connections: Mapping[str, str],
        *,
        clock: Clock,
        variable: Callable[[str], str | None],
    ) -> None:
        self._datasets = datasets
        self._objects = objects
        self._connections = connections
        self._clock = clock
        self._variable = variable

    def names(self) -> tuple[str, ...]:
        """Return the names of the configured connections."""
        return tuple(sorted(self._connections))

    def fetch(
        self, actor: str, name: str, *, wanted: Source, provenance: Provenance, types: Mapping[str, ColumnType] | None = None
    ) -> DatasetVersion:
        """Fetch rows and make them a version of the dataset, or return the version that the same rows made before.

        Args:
            actor: Name of the principal.
            name: Name of the dataset.
            wanted: The connection, and the query or the table to read from it.
            provenance: Where the data came from, and its terms.
            types: Column types that must hold.

        Raises:
            InvalidInput: the request is wrong, the query fails, or the rows cannot become a table; the message says why.
            NotFound: there is no such connection or table.
            TooLarge: there are more rows than one version may hold.
            Unavailable: the source does not answer.
            ConfigurationError: a secret of the connection is not set.
        """
        from gateline.data.tables import encode

        valid_name("dataset", name)
        rules.check_provenance(provenance)
        as_of = self._clock.now()
        frame, made_of = self._query(wanted) if wanted.kind is SourceKind.SQL else self._delta(wanted)
        if not frame.width or not frame.height:
            raise InvalidInput("The source holds no rows.", next_step="Fetch at least one row.")
        raw = self._objects.put_bytes(encode(frame))
        options = ReadOptions(format=FileFormat.PARQUET, types=types or {})
        given = Given(name=name, raw=raw, made_of=made_of, options=options, provenance=provenance, as_of=as_of)
        return self._datasets.make(actor, given)

    def _location(self, connection: str) -> Resolved:
        try:
            text = self._connections[connection]
        except KeyError:
            known = f"Known are {', '.join(self.names())}." if self._connections else "None is configured."
            raise NotFound(
                f"There is no connection '{connection[:100]}'. {known}", next_step="An operator names connections in GATELINE_CONNECTIONS."
            ) from None
        return resolve_secrets(text, variable=self._variable)

    def _query(self, wanted: Source) -> tuple[pl.DataFrame, Source]:
        from sqlalchemy import create_engine
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

        if not wanted.query.strip() or len(wanted.query) > TEXT_LENGTH_MAX:
            raise InvalidInput(f"A query is needed, of at most {TEXT_LENGTH_MAX:,} characters.")
        location = self._location(wanted.connection)
        try:
            engine = create_engine(location.reveal(), hide_parameters=True)
        except (ArgumentError, NoSuchModuleError, ImportError):
            raise InvalidInput(
                f"The connection '{wanted.connection}' is no SQL database that this server can reach.",
                next_step="An operator corrects GATELINE_CONNECTIONS, or installs the driver.",
            ) from None
        try:
            with engine.connect() as connection:
                _read_only(connection)
                frame = _rows(connection, wanted.query)
                connection.rollback()
        except OperationalError as error:
            raise Unavailable(
                f"The connection '{wanted.connection}' does not answer the query: {location.redact(_first_line(error.orig))}.",
                next_step="Check the query and the database, and try again.",
            ) from None
        except SQLAlchemyError as error:
            raise InvalidInput(
                f"The query to '{wanted.connection}' failed: {location.redact(_first_line(getattr(error, 'orig', None) or error))}.",
                next_step="Correct the query.",
            ) from None
        finally:
            engine.dispose()
        return frame, Source(kind=SourceKind.SQL, connection=wanted.connection, query=wanted.query)

    def _delta(self, wanted: Source) -> tuple[pl.DataFrame, Source]:
        import polars as pl
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        location = self._location(wanted.connection)
        uri = _below(location.reveal(), wanted.path)
        try:
            table = DeltaTable(uri, version=wanted.table_version)
            _check_delta(table, f"{wanted.connection}/{wanted.path}")
            frame = pl.read_delta(table)
        except (DeltaError, OSError) as error:
            raise NotFound(
                f"The Delta table '{wanted.path}' of '{wanted.connection}' cannot be read: {location.redact(_first_line(error))}.",
                next_step="Check path and version.",
            ) from None
        _check_size(frame.estimated_size())
        return frame, Source(kind=SourceKind.DELTA, connection=wanted.connection, path=wanted.path, table_version=table.version())


def _below(location: str, path: str) -> str:
    """Return the place of a table below a configured location; refuses paths and links that lead out of it."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "://" in path:
        raise InvalidInput(f"'{path[:200]}' is no path below the connection.", next_step="Write it as folder/table.")
    if "://" in location:
        return "/".join((location.rstrip("/"), *parts))
    root = Path(location).resolve()
    place = root.joinpath(*parts).resolve()
    if not place.is_relative_to(root):
        raise InvalidInput(f"'{path[:200]}' leads out of the connection.", next_step="Write it as folder/table.")
    return str(place)


def _check_delta(table: DeltaTable, name: str) -> None:
    """Refuse tables whose files do not mean what they say, or lie elsewhere."""
    protocol = table.protocol()
    features = set(protocol.reader_features or ()) - _DELTA_FEATURES
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        features.add("columnMapping")
    if features:
        raise InvalidInput(
            f"The Delta table '{name}' uses {', '.join(sorted(features))}, which this Gateline would misread.",
            next_step="Copy it into a table without these features.",
        )
    paths = table.get_add_actions().column("path").to_pylist()
    if any("://" in path or path.startswith("/") or ".." in PurePosixPath(path).parts for path in paths):
        raise InvalidInput(f"The Delta table '{name}' names files outside its folder.", next_step="Copy it into a table of its own.")


def _read_only(connection: Connection) -> None:
    """Keep a query from writing where the database can be told so; in any case the transaction is rolled back."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    elif connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")


def _rows(connection: Connection, query: str) -> pl.DataFrame:
    """Return the rows of a query. Every column has one type over all rows; nothing is widened or guessed to make it so."""
    import polars as pl
    from polars.exceptions import PolarsError
    from sqlalchemy import text

    result = connection.execution_options(stream_results=True).execute(text(query))
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
            _check_size(size := size + frames[-1].estimated_size())
        return pl.concat(_filled(frames)) if frames else pl.DataFrame()
    except (PolarsError, TypeError, OverflowError) as error:
        raise InvalidInput(f"The rows of the query cannot become a table: {_first_line(error)}.", next_step="Cast in the query.") from None


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


def _check_size(size_bytes: float) -> None:
    if size_bytes > UPLOAD_BYTES_MAX:
        raise TooLarge(f"The rows take more than {UPLOAD_BYTES_MAX:,} bytes.", next_step="Fetch them in parts, as several datasets.")


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
