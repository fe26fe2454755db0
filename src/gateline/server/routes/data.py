"""Datasets and their versions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.data import ColumnType, FileFormat
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
        collected_from=body.collected_from, collected_to=body.collected_to,
    ).as_dict()  # fmt: skip


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
