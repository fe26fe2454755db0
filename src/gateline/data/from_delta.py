"""Rows of a Delta table at one of its versions, read by its log."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gateline.data.delta import store_trouble
from gateline.data.from_sql import check_size, first_line
from gateline.data.places import LocalPlace, RemotePlace
from gateline.kernel.clock import iso
from gateline.kernel.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import polars as pl
    from deltalake import DeltaTable

    from gateline.data.model import Source
    from gateline.data.places import Stored
    from gateline.kernel.clock import Instant
    from gateline.kernel.secrets import Resolved

_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.")
# What a reader of Parquet files by the log must know of. Anything else, such as deletion vectors or column mapping, changes what the
# files mean, and would be misread.
_DELTA_FEATURES = frozenset({"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})


def table_rows(location: Resolved, wanted: Source) -> tuple[pl.DataFrame, Source]:
    """Return the rows of a Delta table, and the source with the version and the id of the table that was read.

    Args:
        location: The folder or URL above the table.
        wanted: The path below it, and the version, or the time as of which the table is read, or neither for the newest version.

    Raises:
        InvalidInput: the path leads out of the location, both version and time are given, the log leads to no version as old as the time,
            or the table has features that would be misread.
        NotFound: there is no such table or version, or files of it are gone.
        TooLarge: there are more rows than one version may hold.
        ConfigurationError: the object store refuses the credentials.
        Unavailable: the object store does not answer.
    """
    import polars as pl
    from deltalake.exceptions import DeltaError

    if wanted.table_version is not None and wanted.as_of is not None:
        raise InvalidInput("A version of the Delta table and a time are both given.", next_step="Give one of them.")
    name = f"{wanted.connection}/{wanted.path}"
    uri = _below(location.reveal(), wanted.path)
    try:
        table = _open(uri, wanted)
        _check_delta(table, name)
        frame = pl.read_delta(table)
    except (DeltaError, OSError) as error:
        if (trouble := store_trouble(error, f"the Delta table '{name}'")) is not None:
            raise trouble from None
        raise NotFound(
            f"The Delta table '{wanted.path}' of '{wanted.connection}' cannot be read: {location.redact(first_line(error))}.",
            next_step="Check path and version.",
        ) from None
    check_size(frame.estimated_size())
    return frame, replace(wanted, table_version=table.version(), table_id=str(table.metadata().id))


def _open(uri: str, wanted: Source) -> DeltaTable:
    from deltalake import DeltaTable

    return DeltaTable(uri, version=wanted.table_version if wanted.as_of is None else _version_at(uri, wanted, wanted.as_of))


def _version_at(uri: str, wanted: Source, as_of: Instant) -> int:
    """Return the newest version that was committed by a time; as in the protocol, when its log entry was written.

    `DeltaTable.load_as_version` would answer an earlier time with the oldest version that it finds, which holds later rows.
    """
    place = RemotePlace(uri, {}, Path()) if "://" in uri else LocalPlace(uri)
    committed = list(_commits(place.listed("_delta_log")))
    if not committed:
        raise NotFound(f"The Delta table '{wanted.path}' of '{wanted.connection}' has no log to read.", next_step="Check the path.")
    if as_of < (earliest := committed[0][1]):
        raise InvalidInput(
            f"The Delta table '{wanted.path}' of '{wanted.connection}' cannot be read as of {iso(as_of)}: the earliest version that its "
            f"log leads to is of {iso(earliest)}.",
            next_step=f"Give {iso(earliest)}, or a later time.",
        )
    return [version for version, _ in takewhile(lambda one: one[1] <= as_of, committed)][-1]


def _commits(log: Mapping[str, Stored]) -> Iterator[tuple[int, Instant]]:
    """Yield the versions that can be read, each with the time of its log entry, in UTC microseconds."""
    checkpoints = {int(match[1]) for path in log if (match := _CHECKPOINT.match(path))}
    before = -1
    for path, version in sorted((path, int(match[1])) for path in log if (match := _COMMIT.fullmatch(path))):
        if version in checkpoints or version - 1 in checkpoints or version - 1 == before:
            before = version
            yield version, log[path].modified_at


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
