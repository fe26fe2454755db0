"""Rows of a Delta table at one of its versions, read by its log."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gateline.data.delta import store_trouble
from gateline.data.from_sql import check_size, first_line
from gateline.kernel.clock import iso
from gateline.kernel.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import polars as pl
    from deltalake import DeltaTable

    from gateline.data.model import Source
    from gateline.kernel.secrets import Resolved

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What a reader of Parquet files by the log must know of. Anything else, such as deletion vectors or column mapping, changes what the
# files mean, and would be misread.
_DELTA_FEATURES = frozenset({"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})


def table_rows(location: Resolved, wanted: Source) -> tuple[pl.DataFrame, Source]:
    """Return the rows of a Delta table, and the source with the version and the id of the table that was read.

    Args:
        location: The folder or URL above the table.
        wanted: The path below it, and the version, or the time as of which the table is read, or neither for the newest version.

    Raises:
        InvalidInput: the path leads out of the location, both version and time are given, the table began later than the time, or it has
            features that would be misread.
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

    table = DeltaTable(uri, version=wanted.table_version)
    if wanted.as_of is not None:
        table.load_as_version(_EPOCH + timedelta(microseconds=wanted.as_of))
        first = next((one for one in table.history() if one.get("version") == 0), {}) if table.version() == 0 else {}
        made = first.get("timestamp", 0) * 1000
        if made > wanted.as_of:  # Delta answers with its first version, which did not exist yet
            raise InvalidInput(
                f"The Delta table '{wanted.path}' of '{wanted.connection}' began at {iso(made)}, after {iso(wanted.as_of)}.",
                next_step="Give a later time.",
            )
    return table


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
