"""Serving: served forms, endpoints and routes, inference workers and the prediction log.

Names are loaded when they are first used, so that a worker process (`gateline.serving.worker`) imports no database and no data frames.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateline.serving.fleet import Fleet
    from gateline.serving.form import LoadedForm, compile_served_form, identity_inputs, score_matrix
    from gateline.serving.model import (
        CHAMPION,
        Endpoint,
        Environment,
        EventTimeSource,
        FeatureKind,
        FeatureSpec,
        FormInput,
        Prediction,
        PredictionId,
        PredictionSegment,
        Route,
        RouteArm,
    )  # fmt: skip
    from gateline.serving.probe import probe_latency
    from gateline.serving.service import Serving

__all__ = [
    "CHAMPION",
    "Endpoint",
    "Environment",
    "EventTimeSource",
    "FeatureKind",
    "FeatureSpec",
    "Fleet",
    "FormInput",
    "LoadedForm",
    "Prediction",
    "PredictionId",
    "PredictionSegment",
    "Route",
    "RouteArm",
    "Serving",
    "compile_served_form",
    "identity_inputs",
    "probe_latency",
    "score_matrix",
]

_HOMES = {
    "Fleet": "fleet",
    "LoadedForm": "form",
    "compile_served_form": "form",
    "identity_inputs": "form",
    "score_matrix": "form",
    "Serving": "service",
    "probe_latency": "probe",
}


def __getattr__(name: str) -> Any:
    """Load a name of `__all__` from the module that makes it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'model')}"), name)
