"""Features online: events in, features out, and the catalogue of views."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.kernel.clock import parse_iso
from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import EVENT_ROWS_MAX, FEATURE_ROWS_MAX, TEXT_LENGTH_MAX
from gateline.kernel.names import split_version_id
from gateline.server.security import Application, Caller, permission

router = APIRouter(prefix="/features", tags=["online features"])
views_router = APIRouter(prefix="/feature-views", tags=["feature views"])

Number = Annotated[int, Field(ge=1)]


class EventsRequest(BaseModel):
    """Events of a source: rows of its dataset, column to value, instants as ISO 8601 with an offset."""

    model_config = ConfigDict(extra="forbid")

    source: str
    rows: Annotated[list[dict[str, Any]], Field(max_length=EVENT_ROWS_MAX)]
    spool: Annotated[
        bool | None,
        Field(
            description="Whether the rows are added to the dataset too, which takes `dataset:write`: true insists, false leaves it, "
            "null adds them where the dataset is fed with rows."
        ),
    ] = None


class ReadRequest(BaseModel):
    """Which features, of whom, and when: a feature set, or views; `t` is now when it is not given. `fitted` is a fit of the set."""

    model_config = ConfigDict(extra="forbid")

    feature_set: str = ""
    fitted: str = ""
    views: list[str] = []
    entities: Annotated[list[dict[str, Any]], Field(max_length=FEATURE_ROWS_MAX)]
    t: str | None = None


class MaterialiseRequest(BaseModel):
    """Which rows of the dataset are wanted, by availability, and how many intervals at most in this call."""

    model_config = ConfigDict(extra="forbid")

    start: str | None = None
    end: str | None = None
    dataset_version: Number | None = None
    interval_seconds: Number = 604_800
    intervals_max: Number = 1


class DeprecationRequest(BaseModel):
    """Why a view should no longer be used, and which one instead; an empty reason takes it back."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=TEXT_LENGTH_MAX)]
    successor: str = ""


@router.post("/events", openapi_extra=permission(Permission.FEATURE_WRITE))
def push_events(body: EventsRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Take in events; the answer says what became of them, and they are durable by then. Sending them again changes nothing."""
    return app.event_intake.push(caller, body.source, body.rows, spool=body.spool)


@router.post("/read", openapi_extra=permission(Permission.FEATURE_READ))
def read_features(body: ReadRequest, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Read the features of entities as they are at a time, with their age, and which are missing or stale."""
    if bool(body.feature_set) == bool(body.views):
        raise InvalidInput("Name either a feature_set or views.")
    if body.fitted and body.views:
        raise InvalidInput("A fit is of a feature set, not of views.", next_step="Name the feature_set, or leave `fitted` out.")
    t = None if body.t is None else parse_iso(body.t)
    if body.views:
        return app.online_features.read_views(body.views, body.entities, t)
    name, number = split_version_id(body.feature_set) if "@" in body.feature_set else (body.feature_set, None)
    fitted = app.feature_fits.get(body.fitted) if body.fitted else None
    return app.online_features.read_set(app.feature_sets.get(name, number), body.entities, t, fitted=fitted)


@router.get("/freshness", openapi_extra=permission(Permission.FEATURE_READ))
def show_freshness(app: Application, caller: Caller) -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """Show, for each view that is kept online, up to when its events are known and how long ago that was."""
    return app.online_features.freshness()


@views_router.get("", openapi_extra=permission(Permission.FEATURE_READ))
def search_feature_views(app: Application, caller: Caller, search: str = "") -> list[dict[str, Any]]:  # noqa: ARG001 - the caller is checked
    """List feature views whose name, owner, description, tags or features hold every word of `search`."""
    return [card.as_dict() for card in app.feature_views.search(search)]


@views_router.get("/{name}", openapi_extra=permission(Permission.FEATURE_READ))
def show_feature_view(name: str, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show a feature view with its versions."""
    return app.feature_views.card(name).as_dict()


@views_router.get("/{name}/consumers", openapi_extra=permission(Permission.FEATURE_READ))
def list_consumers(name: str, app: Application, caller: Caller) -> dict[str, list[str]]:  # noqa: ARG001 - the caller is checked
    """List the feature set versions and model versions that use a view."""
    return app.feature_views.consumers(name)


@views_router.put("/{name}/deprecation", openapi_extra=permission(Permission.FEATURE_WRITE))
def deprecate_feature_view(name: str, body: DeprecationRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Warn everybody who registers a set with the view or reads it."""
    return app.feature_views.deprecate(caller.name, name, reason=body.reason, successor=body.successor).as_dict()


@views_router.get("/{name}/versions/{version}/statistics", openapi_extra=permission(Permission.FEATURE_READ))
def show_statistics(name: str, version: int, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Show how much of a view version is kept online, how fresh it is and what share of its features is missing."""
    return app.feature_views.statistics(app.feature_views.get(f"{name}@{version}"))


@views_router.post("/{name}/versions/{version}/promote", openapi_extra=permission(Permission.FEATURE_WRITE))
def promote_feature_view(name: str, version: int, app: Application, caller: Caller) -> dict[str, Any]:
    """Make a version the one that the view's name means to those who read it."""
    return app.feature_views.promote(caller.name, f"{name}@{version}").as_dict()


@views_router.post("/{name}/versions/{version}/materialise", openapi_extra=permission(Permission.FEATURE_WRITE))
def materialise_feature_view(name: str, version: int, body: MaterialiseRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Take intervals of the dataset into the online store; call it again until `done` equals `intervals`."""
    start, end = (None if text is None else parse_iso(text) for text in (body.start, body.end))
    done = app.materialisation.run(
        caller.name, f"{name}@{version}", start=start, end=end, dataset_version=body.dataset_version,
        interval_seconds=body.interval_seconds, intervals_max=body.intervals_max,
    )  # fmt: skip
    return done.as_dict()


@views_router.delete("/{name}/versions/{version}/values", openapi_extra=permission(Permission.FEATURE_WRITE))
def remove_values(name: str, version: int, app: Application, caller: Caller) -> dict[str, Any]:
    """Remove the values of a version that is not promoted from the online store; its definition stays."""
    return app.feature_views.remove(caller.name, f"{name}@{version}").as_dict()
