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
    """How the raw file is written. All text is UTF-8."""

    CSV = "csv"
    CSV_ZIP = "csv.zip"
    PARQUET = "parquet"
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
    """Where a raw file came from, under which licence it may be used, and what for."""

    source: str
    licence: str
    description: str = ""
    purpose: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"source": self.source, "licence": self.licence, "description": self.description, "purpose": self.purpose}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """One immutable version of a dataset.

    Attributes:
        id: Name and number, such as `flights@1`.
        digest: Canonical digest of raw file, options, provenance, schema, rows and table; it identifies the version anywhere.
        schema: The columns of the table, in order.
        row_count: Number of rows of the table, at least 1.
        profile: For each column: missing values, and range, moments and quantiles, or the most frequent categories.
        options: How the raw file was read.
        raw: The file as it came.
        table: The Parquet file made of it.
        created_at: UTC microseconds.
    """

    id: DatasetVersionId
    name: str
    version: int
    digest: str
    schema: tuple[Column, ...]
    row_count: int
    profile: dict[str, Any]
    options: ReadOptions
    provenance: Provenance
    raw: StoredFile
    table: StoredFile
    created_at: Instant
    created_by: str

    @property
    def source(self) -> str:
        """Where the raw file came from."""
        return self.provenance.source

    @property
    def licence(self) -> str:
        """The licence of the raw file."""
        return self.provenance.licence

    @property
    def raw_sha256(self) -> str:
        """SHA-256 of the file as it came."""
        return self.raw.sha256

    @property
    def table_sha256(self) -> str:
        """SHA-256 of the Parquet table."""
        return self.table.sha256

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
            "schema": [column.as_dict() for column in self.schema],
            "row_count": self.row_count,
            "profile": self.profile,
            "options": self.options.as_dict(),
            "provenance": self.provenance.as_dict(),
            "raw": self.raw.as_dict(),
            "table": self.table.as_dict(),
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
            schema=tuple(Column(name=one["name"], dtype=ColumnType(one["dtype"]), nullable=one["nullable"]) for one in fields["schema"]),
            row_count=fields["row_count"],
            profile=dict(fields["profile"]),
            options=ReadOptions(
                format=FileFormat(options["format"]),
                null_values=tuple(options["null_values"]),
                types={column: ColumnType(kind) for column, kind in options["types"].items()},
            ),
            provenance=Provenance(**fields["provenance"]),
            raw=StoredFile(**fields["raw"]),
            table=StoredFile(**fields["table"]),
            created_at=fields["created_at"],
            created_by=fields["created_by"],
        )
