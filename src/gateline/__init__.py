"""Gateline: the whole MLOps loop with evidence.

User code imports from here: `from gateline import step, pipeline, Client, FeatureSet, EventSource, …`. Importing the package loads
none of it; each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gateline.sdk.local import register_local

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.features import (
        Aggregation,
        Calendar,
        CalendarView,
        Entity,
        EventSource,
        FeatureSet,
        Impute,
        KnownAt,
        Label,
        LatestView,
        LookupView,
        OnDemandView,
        OrdinalEncode,
        QuantileClip,
        Standardise,
        WindowView,
        instant,
    )
    from gateline.kernel.errors import GatelineError, Pruned
    from gateline.sdk.autolog import autolog
    from gateline.sdk.client import Client
    from gateline.sdk.execution import context
    from gateline.sdk.local import Local
    from gateline.sdk.notebook import load_ipython_extension, unload_ipython_extension
    from gateline.sdk.pipeline import Pipeline, Step, pipeline, step
    from gateline.sdk.references import Dataset, Metrics, Model
    from gateline.sdk.results import each
    from gateline.sdk.search import Search, choices, integers, log_uniform, median, search, tpe, uniform
    from gateline.sdk.tracking import tracked_run
    from gateline.sdk.trials import Trial

__all__ = [
    "Aggregation",
    "Calendar",
    "CalendarView",
    "Client",
    "Dataset",
    "Entity",
    "EventSource",
    "FeatureSet",
    "GatelineError",
    "Impute",
    "KnownAt",
    "Label",
    "LatestView",
    "LookupView",
    "Metrics",
    "Model",
    "OnDemandView",
    "OrdinalEncode",
    "Pipeline",
    "Pruned",
    "QuantileClip",
    "Search",
    "Standardise",
    "Step",
    "Trial",
    "WindowView",
    "autolog",
    "choices",
    "context",
    "each",
    "instant",
    "integers",
    "load_ipython_extension",
    "log_uniform",
    "median",
    "pipeline",
    "search",
    "step",
    "tpe",
    "tracked_run",
    "uniform",
    "unload_ipython_extension",
]

_HOMES = {
    "gateline.features": (
        "Aggregation",
        "Calendar",
        "CalendarView",
        "Entity",
        "EventSource",
        "FeatureSet",
        "Impute",
        "KnownAt",
        "Label",
        "LatestView",
        "LookupView",
        "OnDemandView",
        "OrdinalEncode",
        "QuantileClip",
        "Standardise",
        "WindowView",
        "instant",
    ),
    "gateline.kernel.errors": ("GatelineError", "Pruned"),
    "gateline.sdk.autolog": ("autolog",),
    "gateline.sdk.client": ("Client",),
    "gateline.sdk.execution": ("context",),
    "gateline.sdk.notebook": ("load_ipython_extension", "unload_ipython_extension"),
    "gateline.sdk.pipeline": ("Pipeline", "Step", "pipeline", "step"),
    "gateline.sdk.references": ("Dataset", "Metrics", "Model"),
    "gateline.sdk.results": ("each",),
    "gateline.sdk.search": ("Search", "choices", "integers", "log_uniform", "median", "search", "tpe", "uniform"),
    "gateline.sdk.tracking": ("tracked_run",),
    "gateline.sdk.trials": ("Trial",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name, or the installed version, when it is first used."""
    if name == "__version__":
        from importlib.metadata import version

        return version("gateline")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'gateline' has no attribute '{name}'")
    found = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])


def _open_local(home: Path) -> Local:
    """Open the installation in a folder for the SDK, which itself knows nothing of the server."""
    opened: Local = importlib.import_module("gateline.local").open_local(home)
    return opened


register_local(_open_local)
