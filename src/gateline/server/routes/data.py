"""Datasets and their versions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.data import ColumnType, FileFormat, Provenance, Source, SourceKind
from gateline.kernel.errors import InvalidInput
from gateline.server.security import Application, Caller, permission

router = APIRouter(prefix="/datasets", tags=["datasets"])


class DatasetRequest(BaseModel):
    """An uploaded file that becomes a dataset version, and how it is read."""

    model_config = ConfigDict(extra="forbid")

    file: str = Field(description="SHA-256 of the uploaded raw file.")
    format: FileFormat
    source: str = Field(description="Where the file came from.")
    licence: str = Field(description="Under which terms it may be used.")
    description: str = ""
    purpose: str = Field(default="", description="What the data was collected for.")
    legal_basis: str = Field(default="", description="By what right personal data in it is processed.")
    collected_from: int | None = Field(default=None, description="Begin of the time in which it was collected, UTC microseconds.")
    collected_to: int | None = Field(default=None, description="End of that time, UTC microseconds.")
    null_values: list[str] = Field(default=[], max_length=100, description="Texts of a CSV file that mean missing.")
    types: dict[str, ColumnType] = Field(default={}, description="Column types that must hold; other columns are inferred.")
    origin: str = Field(default="", description="Where the file lay on the machine that sent it, so that it can be looked for again.")


class FetchRequest(BaseModel):
    """Rows that the server fetches from a configured connection: by a query, or a Delta table below it."""

    model_config = ConfigDict(extra="forbid")

    connection: str = Field(description="Name of a connection in GATELINE_CONNECTIONS.")
    query: str = Field(default="", description="The SQL query; the transaction is rolled back. Only the parameter :as_of is bound.")
    path: str = Field(default="", description="The Delta table, below the connection.")
    table_version: int | None = Field(default=None, ge=0, description="Version of the Delta table; none: the newest.")
    as_of: int | None = Field(
        default=None, description="As of when, UTC microseconds: bound as :as_of (none: now), or the Delta version of that time."
    )
    source: str = Field(description="Where the data came from.")
    licence: str = Field(description="Under which terms it may be used.")
    description: str = ""
    purpose: str = Field(default="", description="What the data was collected for.")
    legal_basis: str = Field(default="", description="By what right personal data in it is processed.")
    collected_from: int | None = Field(default=None, description="Begin of the time in which it was collected, UTC microseconds.")
    collected_to: int | None = Field(default=None, description="End of that time, UTC microseconds.")
    types: dict[str, ColumnType] = Field(default={}, description="Column types that must hold; other columns have those of the source.")


@router.get("", openapi_extra=permission(Permission.DATASET_READ))
def list_datasets(app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List every version of every dataset, by name and number."""
    return [version.as_dict() for version in app.datasets.list()]


@router.post("/{name}/versions", status_code=201, openapi_extra=permission(Permission.DATASET_WRITE))
def register_dataset(name: str, body: DatasetRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Make an uploaded file a version; the same file with the same options and provenance returns the version it made before."""
    return app.datasets.register(
        caller.name, name, file=body.file, format=body.format, source=body.source, licence=body.licence, description=body.description,
        null_values=body.null_values, types=body.types, purpose=body.purpose, legal_basis=body.legal_basis,
        collected_from=body.collected_from, collected_to=body.collected_to, origin=body.origin,
    ).as_dict()  # fmt: skip


@router.post("/{name}/fetch", status_code=201, openapi_extra=permission(Permission.DATASET_FETCH))
def fetch_dataset(name: str, body: FetchRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Fetch rows from a configured connection and make them a version; equal rows in equal order return the version made before."""
    if bool(body.query) == bool(body.path):
        raise InvalidInput("Either a query or a path is needed.", next_step="Give one of them.")
    wanted = Source(
        kind=SourceKind.SQL if body.query else SourceKind.DELTA, connection=body.connection, query=body.query, path=body.path,
        table_version=body.table_version, as_of=body.as_of,
    )  # fmt: skip
    provenance = Provenance(
        source=body.source, licence=body.licence, description=body.description, purpose=body.purpose, legal_basis=body.legal_basis,
        collected_from=body.collected_from, collected_to=body.collected_to,
    )  # fmt: skip
    return app.sources.fetch(caller.name, name, wanted=wanted, provenance=provenance, types=body.types).as_dict()


@router.get("/{name}/versions", openapi_extra=permission(Permission.DATASET_READ))
def list_dataset_versions(name: str, app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List the versions of a dataset, oldest first."""
    app.datasets.get(name)
    return [version.as_dict() for version in app.datasets.list(name)]


@router.get("/{name}/versions/{version}", openapi_extra=permission(Permission.DATASET_READ))
def show_dataset_version(name: str, version: int, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a version with schema, profile, source and licence."""
    return app.datasets.get(name, version).as_dict()


@router.post("/{name}/versions/{version}/verify", openapi_extra=permission(Permission.DATASET_READ))
def verify_dataset_version(name: str, version: int, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Hash raw file and table files again, and compare the record with its digest and its ledger entry."""
    return app.datasets.verify(name, version).as_dict()
