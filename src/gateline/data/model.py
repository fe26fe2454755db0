"""What a dataset version is: bytes as they came, the typed table made of them, and where they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

from gateline.kernel.clock import Instant
from gateline.kernel.names import split_version_id

DatasetVersionId = NewType("DatasetVersionId", str)


class FileFormat(StrEnum):
    """How the raw file is written: `arrow` is the Arrow IPC file format, `arrows` its stream. All text is UTF-8."""

    CSV = "csv"
    CSV_ZIP = "csv.zip"
    PARQUET = "parquet"
    ARROW = "arrow"
    ARROW_STREAM = "arrows"
    JSONL = "jsonl"


class ColumnType(StrEnum):
    """The closed set of column types. Time stamps are UTC microseconds; those without a zone stay apart as `naive_datetime`."""

    INT64 = "int64"
    FLOAT64 = "float64"
    STRING = "string"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    NAIVE_DATETIME = "naive_datetime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table: `nullable` says whether this version holds a missing value in it."""

    name: str
    dtype: ColumnType
    nullable: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"name": self.name, "dtype": self.dtype.value, "nullable": self.nullable}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file in the object store: its SHA-256 (hex) and size in bytes."""

    sha256: str
    size_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"sha256": self.sha256, "size_bytes": self.size_bytes}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """One Parquet file of a version's table. The rows of a version are those of its files, in the order of the record.

    Attributes:
        path: Where it lies, relative to the dataset's table; empty when it is kept in the object store alone.
        sha256: Hex SHA-256 of its bytes.
        rows: Number of rows in it.
    """

    path: str
    sha256: str
    size_bytes: int
    rows: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"path": self.path, "sha256": self.sha256, "size_bytes": self.size_bytes, "rows": self.rows}


class SourceKind(StrEnum):
    """What a version was made of."""

    FILE = "file"
    SQL = "sql"
    DELTA = "delta"
    SPOOL = "spool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a version was made of. Whatever it was, the rows as they came are kept as a raw file too.

    The first five attributes belong to what identifies a version. The others say how its source is found again; equal rows are the same
    version wherever and whenever they were read.

    Attributes:
        kind: An uploaded file, the result of a query, a Delta table, or rows that were sent in batches.
        connection: Name of the configured connection that was read from.
        query: The SQL text.
        path: Where the Delta table lies below its connection.
        table_version: The version of the Delta table that was read.
        table_id: The id that the Delta table gave itself when it was made; a table made anew has another.
        origin: Where an uploaded file lay on the machine that sent it, as an absolute path.
        as_of: The time as of which the source was read, UTC microseconds: what stood for `:as_of` in the query, or what chose the
            version of the Delta table; None when the source was read as it was.
    """

    kind: SourceKind = SourceKind.FILE
    connection: str = ""
    query: str = ""
    path: str = ""
    table_version: int | None = None
    table_id: str = ""
    origin: str = ""
    as_of: Instant | None = None

    def identity(self) -> dict[str, Any]:
        """Return the fields that identify a version and are set, for JSON."""
        fields = {"connection": self.connection, "query": self.query, "path": self.path, "table_version": self.table_version}
        return {"kind": self.kind.value} | _set(fields)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that are set, for JSON."""
        return self.identity() | _set({"table_id": self.table_id, "origin": self.origin, "as_of": self.as_of})

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Source:
        """Return the source that `as_dict` described."""
        return cls(**{**fields, "kind": SourceKind(fields["kind"])})


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in {"", None}}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a raw file becomes a table. Equal bytes and options give an equal table.

    Attributes:
        format: How the file is written.
        null_values: Texts of a CSV file that mean "missing", such as NA; an empty field always does.
        types: Column types that must hold; a value that does not fit is refused. Other columns are inferred.
    """

    format: FileFormat
    null_values: tuple[str, ...] = ()
    types: Mapping[str, ColumnType] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "format": self.format.value,
            "null_values": sorted(self.null_values),
            "types": {name: kind.value for name, kind in sorted(self.types.items())},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where data came from, under which licence it may be used, what it was collected for, and by what right.

    Attributes:
        source: Where it came from, in words.
        licence: Under which terms it may be used.
        description: What it holds.
        purpose: What it was collected for.
        legal_basis: By what right personal data in it is processed; empty when it holds none.
        collected_from: Begin of the time in which it was collected, in UTC microseconds; None when unknown.
        collected_to: End of that time.
    """

    source: str
    licence: str
    description: str = ""
    purpose: str = ""
    legal_basis: str = ""
    collected_from: Instant | None = None
    collected_to: Instant | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "source": self.source, "licence": self.licence, "description": self.description, "purpose": self.purpose,
            "legal_basis": self.legal_basis, "collected_from": self.collected_from, "collected_to": self.collected_to,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """One immutable version of a dataset.

    Attributes:
        id: Name and number, such as `flights@1`.
        digest: Canonical digest of raw file, source, options, provenance, schema and rows; it identifies the version anywhere.
        logical_digest: Digest of the rows alone: equal for equal rows in any order, file layout and engine.
        schema: The columns of the table, in order.
        row_count: Number of rows of the table, at least 1.
        profile: For each column: missing values, and range, moments and quantiles, or the most frequent categories.
        options: How the raw file is read.
        made_of: What it was made of.
        raw: The file as it came, or the rows as they were fetched.
        files: The Parquet files of its table, in order.
        table_version: Version of the Delta table that holds these files; -1 when they are kept in the object store alone.
        as_of: When the source was read, in UTC microseconds.
        created_at: UTC microseconds.
    """

    id: DatasetVersionId
    name: str
    version: int
    digest: str
    logical_digest: str
    schema: tuple[Column, ...]
    row_count: int
    profile: dict[str, Any]
    options: ReadOptions
    provenance: Provenance
    made_of: Source
    raw: StoredFile
    files: tuple[TableFile, ...]
    table_version: int
    as_of: Instant
    created_at: Instant
    created_by: str

    @property
    def source(self) -> str:
        """Where the data came from."""
        return self.provenance.source

    @property
    def licence(self) -> str:
        """The licence of the data."""
        return self.provenance.licence

    @property
    def raw_sha256(self) -> str:
        """SHA-256 of the file as it came."""
        return self.raw.sha256

    @property
    def types(self) -> dict[str, ColumnType]:
        """Column name to column type, in order."""
        return {column.name: column.dtype for column in self.schema}

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "logical_digest": self.logical_digest,
            "schema": [column.as_dict() for column in self.schema],
            "row_count": self.row_count,
            "profile": self.profile,
            "options": self.options.as_dict(),
            "provenance": self.provenance.as_dict(),
            "made_of": self.made_of.as_dict(),
            "raw": self.raw.as_dict(),
            "files": [file.as_dict() for file in self.files],
            "table_version": self.table_version,
            "as_of": self.as_of,
            "created_at": self.created_at,
            "created_by": self.created_by,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> DatasetVersion:
        """Return the version that `as_dict` described."""
        options = fields["options"]
        name, number = split_version_id(fields["id"])
        return cls(
            id=DatasetVersionId(fields["id"]),
            name=name,
            version=number,
            digest=fields["digest"],
            logical_digest=fields["logical_digest"],
            schema=tuple(Column(name=one["name"], dtype=ColumnType(one["dtype"]), nullable=one["nullable"]) for one in fields["schema"]),
            row_count=fields["row_count"],
            profile=dict(fields["profile"]),
            options=ReadOptions(
                format=FileFormat(options["format"]),
                null_values=tuple(options["null_values"]),
                types={column: ColumnType(kind) for column, kind in options["types"].items()},
            ),
            provenance=Provenance(**fields["provenance"]),
            made_of=Source.from_dict(fields["made_of"]),
            raw=StoredFile(**fields["raw"]),
            files=tuple(TableFile(**file) for file in fields["files"]),
            table_version=fields["table_version"],
            as_of=fields["as_of"],
            created_at=fields["created_at"],
            created_by=fields["created_by"],
        )
