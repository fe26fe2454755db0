"""Endpoints and recorded predictions. Predictions are requested from the workers, on their own port."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.kernel.limits import NAME_LENGTH_MAX, TABLE_COLUMNS_MAX
from gateline.lineage import Node
from gateline.server.security import Application, Caller, permission
from gateline.serving import Environment, FeatureKind, FeatureSpec

router = APIRouter(tags=["serving"])


class Feature(BaseModel):
    """One feature that callers send."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=NAME_LENGTH_MAX)
    kind: FeatureKind


class EndpointRequest(BaseModel):
    """What a new endpoint takes and promises."""

    model_config = ConfigDict(extra="forbid")

    name: str
    model: str
    environment: Environment = Environment.PROD
    features: list[Feature] = Field(min_length=1, max_length=TABLE_COLUMNS_MAX)
    latency_ms_p99: float = Field(gt=0, allow_inf_nan=False)


@router.post("/endpoints", status_code=201, openapi_extra=permission(Permission.ENDPOINT_WRITE))
def create_endpoint(body: EndpointRequest, app: Application, caller: Caller) -> dict[str, Any]:
    """Create an endpoint; it answers as soon as a version is released to it. The same declaration again changes nothing."""
    features = [FeatureSpec(name=one.name, kind=one.kind) for one in body.features]
    created = app.serving.create_endpoint(
        caller.name, body.name, model=body.model, features=features, environment=body.environment, latency_ms_p99=body.latency_ms_p99
    )
    return created.as_dict()


@router.get("/endpoints", openapi_extra=permission(Permission.ENDPOINT_READ))
def list_endpoints(app: Application) -> list[dict[str, Any]]:
    """List endpoints by name."""
    return [one.as_dict() for one in app.serving.endpoints()]


@router.get("/endpoints/{name}", openapi_extra=permission(Permission.ENDPOINT_READ))
def show_endpoint(name: str, app: Application) -> dict[str, Any]:
    """Show an endpoint: declaration, route, what each worker serves, how many predictions are recorded, and the watermark."""
    return app.serving.state(name)


@router.get("/predictions/{prediction_id}", openapi_extra=permission(Permission.PREDICTION_READ))
def show_prediction(prediction_id: str, app: Application) -> dict[str, Any]:
    """Show one answered prediction with the features as the model used them."""
    return app.serving.find_prediction(prediction_id).as_dict()


@router.get("/predictions/{prediction_id}/lineage", openapi_extra=permission(Permission.PREDICTION_READ))
def show_prediction_lineage(prediction_id: str, app: Application) -> dict[str, Any]:
    """Show what a prediction was made from: its version, and everything behind it back to raw files."""
    found = app.serving.find_prediction(prediction_id)
    graph = app.lineage.ancestors(Node(kind="model_version", id=found.version))
    return {"prediction": found.as_dict(), "lineage": graph.as_dict()}
