"""Keeping dataset versions: pins, vacuum, building again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.data import BuildFrom, VacuumRequest
from gateline.server.security import Application, Caller, permission

router = APIRouter(tags=["datasets"])


class PinRequest(BaseModel):
    """Why and how long the files of a dataset version are kept."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(description="Why the version is kept.")
    until: int | None = Field(default=None, description="When the pin ends by itself, UTC microseconds.")
    legal_hold: bool = Field(default=False, description="Whether only an administrator may release it.")
    evidence: bool = Field(default=False, description="Whether to copy the files into the object store too.")


class VacuumBody(BaseModel):
    """Which files may go."""

    model_config = ConfigDict(extra="forbid")

    apply: bool = Field(default=False, description="Whether to remove the files; otherwise they are only named.")
    older_than_days: float | None = Field(default=None, ge=0, description="Age from which versions may lose their files; none: never.")
    rebuildable: bool = Field(default=False, description="Whether versions that a registered model was made from may lose them too.")
    orphan_hours: float = Field(default=24.0, ge=0, description="Age from which a file that no record names counts as left behind.")


@router.post("/datasets/{name}/versions/{version}/pins", status_code=201, openapi_extra=permission(Permission.DATASET_PIN))
def pin_dataset_version(name: str, version: int, body: PinRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Keep the files of a version, after hashing them."""
    return app.retention.pin(
        caller.name, name, version, reason=body.reason, until=body.until, legal_hold=body.legal_hold, evidence=body.evidence
    ).as_dict()


@router.get("/dataset-pins", openapi_extra=permission(Permission.DATASET_READ))
def list_dataset_pins(
    app: Application,
    caller: Caller,  # noqa: ARG001 - the caller is checked
    name: Annotated[str | None, Query(description="Of this dataset only.")] = None,
    everything: Annotated[bool, Query(description="Pins that ended too.")] = False,
) -> list[dict[str, Any]]:
    """List pins, oldest first."""
    return [pin.as_dict() for pin in app.retention.pins(name, everything=everything)]


@router.delete("/dataset-pins/{pin}", openapi_extra=permission(Permission.DATASET_PIN))
def unpin_dataset_version(pin: str, app: Application, caller: Caller, reason: Annotated[str, Query()]) -> dict[str, Any]:
    """Release a pin; a legal hold takes the permission system:admin too."""
    admitted = app.access.admits(caller, Permission.SYSTEM_ADMIN).allowed
    return app.retention.unpin(caller.name, pin, reason=reason, may_release_legal_hold=admitted).as_dict()


@router.post("/datasets/{name}/vacuum", openapi_extra=permission(Permission.DATASET_VACUUM))
def vacuum_dataset(name: str, body: VacuumBody, app: Application, caller: Caller) -> dict[str, Any]:
    """Remove table files that nothing keeps, or say which these are."""
    request = VacuumRequest(older_than_days=body.older_than_days, rebuildable=body.rebuildable, orphan_hours=body.orphan_hours)
    return app.retention.vacuum(caller.name, name, request, apply=body.apply).as_dict()


@router.post("/datasets/{name}/versions/{version}/reconstruct", openapi_extra=permission(Permission.DATASET_WRITE))
def reconstruct_dataset_version(
    name: str,
    version: int,
    app: Application,
    caller: Caller,
    build_from: Annotated[
        BuildFrom, Query(description="Its source, the rows that were kept, or whichever gives the version.")
    ] = BuildFrom.AUTO,
    file: Annotated[
        str, Query(description="What the caller found where an uploaded file lay: its SHA-256, uploaded again, `missing` or `changed`.")
    ] = "",
    restore: Annotated[bool, Query(description="Write missing and damaged table files again.")] = False,
) -> dict[str, Any]:
    """Build a version again from its source or from its raw rows, and compare; a connection is read with dataset:fetch only."""
    admitted = app.access.admits(caller, Permission.DATASET_FETCH).allowed
    return app.reconstructions.reconstruct(
        caller.name, name, version, build_from=build_from, file=file, may_fetch=admitted, restore=restore
    ).as_dict()
