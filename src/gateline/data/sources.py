"""Fetching rows on the server: SQL queries and Delta tables, from connections that the operator named in the settings and no others.

A caller names a connection and says what to read from it; he never names a host, a path of the server, or a secret. Without a configured
connection nothing can be fetched. What was fetched is kept as a raw Parquet file, so that the version can be rebuilt without the source.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateline.data import rules
from gateline.data.building import Given
from gateline.data.from_delta import table_rows
from gateline.data.from_sql import query_rows, takes_as_of
from gateline.data.model import ColumnType, FileFormat, Provenance, ReadOptions, Source, SourceKind
from gateline.kernel.errors import InvalidInput, NotFound
from gateline.kernel.names import valid_name
from gateline.kernel.secrets import Resolved, resolve_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

    from gateline.data.model import DatasetVersion
    from gateline.data.objects import ObjectStore
    from gateline.data.service import Datasets
    from gateline.kernel.clock import Clock, Instant


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
        if wanted.kind is SourceKind.SQL and wanted.table_version is not None:
            raise InvalidInput(
                f"Version {wanted.table_version} of a Delta table is given, but a query reads no such table.",
                next_step="Leave out the table version, or give the path of a Delta table instead of the query.",
            )
        as_of = self._clock.now()
        frame, made_of = self.read(wanted, now=as_of)
        if not frame.width or not frame.height:
            raise InvalidInput("The source holds no rows.", next_step="Fetch at least one row.")
        raw = self._objects.put_bytes(encode(frame))
        options = ReadOptions(format=FileFormat.PARQUET, types=types or {})
        given = Given(name=name, raw=raw, made_of=made_of, options=options, provenance=provenance, as_of=as_of)
        return self._datasets.make(actor, given)

    def read(self, wanted: Source, *, now: Instant) -> tuple[pl.DataFrame, Source]:
        """Return the rows of a source, and the source with all that is needed to read the same rows again.

        Args:
            wanted: The connection, what to read from it, and as of when.
            now: What stands for `:as_of` in a query when no time is given, UTC microseconds.

        Raises:
            InvalidInput: the request is wrong, the query fails, or the rows cannot become a table; the message says why.
            NotFound: there is no such connection, table or version.
            TooLarge: there are more rows than one version may hold.
            Unavailable: the source does not answer.
            ConfigurationError: a secret of the connection is not set, or the source refuses it.
        """
        if wanted.kind is SourceKind.DELTA:
            return table_rows(self._location(wanted.connection), wanted)
        timed = takes_as_of(wanted.query)
        if wanted.as_of is not None and not timed:
            raise InvalidInput(
                "A time is given, but the query has no parameter :as_of, so that it reads the source as it is now.",
                next_step="Compare a column with :as_of in the query, or leave out the time.",
            )
        read = replace(wanted, as_of=now) if timed and wanted.as_of is None else wanted
        return query_rows(self._location(wanted.connection), wanted.connection, read.query, read.as_of), read

    def _location(self, connection: str) -> Resolved:
        try:
            text = self._connections[connection]
        except KeyError:
            known = f"Known are {', '.join(self.names())}." if self._connections else "None is configured."
            raise NotFound(
                f"There is no connection '{connection[:100]}'. {known}", next_step="An operator names connections in GATELINE_CONNECTIONS."
            ) from None
        return resolve_secrets(text, variable=self._variable)
