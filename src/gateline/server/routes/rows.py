"""Datasets that are fed with rows."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.data import ColumnType, Provenance
from gateline.kernel.limits import SPOOL_ROWS_MAX
from gateline.server.security import Application, Caller, permission

router = APIRouter(prefix="/datasets/{name}", tags=["datasets"])


class SpoolRequest(BaseModel):
    """The columns of rows to come, and what is said of them."""

    model_config = ConfigDict(extra="forbid")

    types: dict[str, ColumnType] = Field(min_length=1, description="Column to type, in order.")
    source: str = Field(description="Where the rows come from.")
    licence: str = Field(description="Under which terms they may be used.")
    description: str = ""
    purpose: str = Field(default="", description="What they are collected for.")
    legal_basis: str = Field(default="", description="By what right personal data in them is processed.")


class BatchRequest(BaseModel):
    """A batch of rows."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(description="Names the batch: the same key with the same rows counts once.")
    rows: list[dict[str, Any]] = Field(min_length=1, max_length=SPOOL_ROWS_MAX, description="Column to value.")


@router.put("/spool", openapi_extra=permission(Permission.DATASET_WRITE))
def open_dataset_spool(name: str, body: SpoolRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Let a dataset be fed with rows of these columns."""
    provenance = Provenance(
        source=body.source, licence=body.licence, description=body.description, purpose=body.purpose, legal_basis=body.legal_basis
    )
    app.spool.open(caller.name, name, types=body.types, provenance=provenance)
    return app.spool.status(name)


@router.get("/spool", openapi_extra=permission(Permission.DATASET_READ))
def show_dataset_spool(name: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show how many rows came, wait and are in the table."""
    return app.spool.status(name)


@router.post("/rows", status_code=201, openapi_extra=permission(Permission.DATASET_WRITE))
def append_dataset_rows(name: str, body: BatchRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Take a batch of rows; they are durable when this answers, and in the Delta table within about 30 seconds."""
    return app.spool.append(caller.name, name, body.rows, key=body.key)


@router.post("/cut", status_code=201, openapi_extra=permission(Permission.DATASET_WRITE))
def cut_dataset_version(name: str, app: Application, caller: Caller) -> dict[str, Any]:
    """Make all rows that came a version; without new rows it is the version that was cut before."""
    return app.spool.cut(caller.name, name).as_dict()


@router.post("/compact", openapi_extra=permission(Permission.DATASET_WRITE))
def compact_dataset_rows(name: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Put small files of rows together; versions keep the files that they were cut with."""
    return {"files": app.spool.compact(name)}


@router.post("/checkpoint", openapi_extra=permission(Permission.DATASET_WRITE))
def checkpoint_dataset_table(name: str, app: Application, caller: Caller) -> dict[str, Any]:
    """Give the log of the Delta table a checkpoint, and remove old log entries that no recorded version needs."""
    return app.checkpoints.checkpoint(name, caller.name)
