"""Feature sets and their versions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.features import set_from_dict
from gateline.kernel.clock import parse_iso
from gateline.server.security import Application, Caller, permission

router = APIRouter(prefix="/feature-sets", tags=["feature sets"])

Number = Annotated[int, Path(lt=1 << 63)]


class FeatureSetRequest(BaseModel):
    """A feature set as `FeatureSet.as_dict` writes it, and dataset versions to pin where the newest is not wanted."""

    model_config = ConfigDict(extra="forbid")

    definition: dict[str, Any]
    dataset_versions: dict[str, Annotated[int, Field(ge=1, lt=1 << 63)]] = {}


class FitRequest(BaseModel):
    """Which rows to learn from: `start <= t < end`, ISO 8601 with an offset; and dataset versions where the pinned are not wanted."""

    model_config = ConfigDict(extra="forbid")

    start: str | None = None
    end: str | None = None
    dataset_versions: dict[str, Annotated[int, Field(ge=1, lt=1 << 63)]] = {}


@router.post("", status_code=201, openapi_extra=permission(Permission.FEATURE_WRITE))
def register_feature_set(body: FeatureSetRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Check a set against its datasets and make it a version; the same set over the same data returns the version it made before."""
    feature_set = set_from_dict(body.definition)
    version = app.feature_sets.register(caller.name, feature_set, dataset_versions=body.dataset_versions)
    return version.as_dict() | {"warnings": app.feature_views.warnings(version.id)}


@router.get("", openapi_extra=permission(Permission.FEATURE_READ))
def list_feature_sets(app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List every version of every feature set, by name and number."""
    return [version.as_dict() for version in app.feature_sets.list()]


@router.get("/{name}/versions", openapi_extra=permission(Permission.FEATURE_READ))
def list_feature_set_versions(name: str, app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List the versions of a feature set, oldest first."""
    app.feature_sets.get(name)
    return [version.as_dict() for version in app.feature_sets.list(name)]


@router.get("/{name}/versions/{version}", openapi_extra=permission(Permission.FEATURE_READ))
def show_feature_set_version(name: str, version: Number, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a version with its definition, features and pinned dataset versions."""
    return app.feature_sets.get(name, version).as_dict()


@router.post("/{name}/versions/{version}/check", openapi_extra=permission(Permission.FEATURE_READ))
def check_feature_set_version(
    name: str,
    version: Number,
    app: Application,
    caller: Caller,  # noqa: ARG001 - the caller is checked
    seed: int = 0,
    rows: Annotated[int, Query(ge=0, le=10_000)] = 200,
) -> dict[str, Any]:
    """Search a version for features that see the future; an empty list of leaks is the good answer."""
    found = app.feature_sets.get(name, version)
    leaks = app.feature_sets.check(found, seed=seed, rows=rows)
    return {"id": found.id, "seed": seed, "rows": rows, "leaks": [leak.as_dict() for leak in leaks]}


@router.post("/{name}/versions/{version}/fits", status_code=201, openapi_extra=permission(Permission.FEATURE_WRITE))
def fit_feature_set_version(name: str, version: Number, body: FitRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Fit the transforms of a version to its rows; the same rows of the same data return the fit that was made before."""
    start, end = (None if text is None else parse_iso(text) for text in (body.start, body.end))
    return app.feature_fits.fit(caller.name, name, version, start=start, end=end, dataset_versions=body.dataset_versions).as_dict()


@router.get("/{name}/versions/{version}/fits", openapi_extra=permission(Permission.FEATURE_READ))
def list_fits(name: str, version: Number, app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List the fits of a version, oldest first."""
    return [fit.as_dict() for fit in app.feature_fits.list(name, version)]


@router.get("/{name}/versions/{version}/fits/latest", openapi_extra=permission(Permission.FEATURE_READ))
def show_latest_fit(name: str, version: Number, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show the newest fit of a version, held against its digest and the ledger."""
    return app.feature_fits.verify(app.feature_fits.latest(name, version).id).as_dict()


@router.get("/{name}/versions/{version}/fits/{number}", openapi_extra=permission(Permission.FEATURE_READ))
def show_fit(name: str, version: Number, number: Number, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a fit with its parameters, held against its digest and the ledger."""
    return app.feature_fits.verify(f"{name}@{version}/fit@{number}").as_dict()
