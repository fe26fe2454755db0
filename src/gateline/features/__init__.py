"""Feature views: declarations, exact point-in-time computation, and the search for leaks. Polars is loaded when something is computed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gateline.features.codec import version_from_dict, view_from_dict
from gateline.features.model import (
    Aggregate,
    FeatureColumn,
    FeatureKind,
    FeatureView,
    FeatureViewVersion,
    FeatureViewVersionId,
    KnownAt,
    Label,
    Latest,
    Leak,
    LeakKind,
    Lookup,
    OnDemand,
    Source,
    Window,
    instant,
)
from gateline.features.service import FeatureViews

if TYPE_CHECKING:
    from gateline.features.leaks import find_leaks
    from gateline.features.point_in_time import compute

__all__ = [
    "Aggregate", "FeatureColumn", "FeatureKind", "FeatureView", "FeatureViewVersion", "FeatureViewVersionId", "FeatureViews", "KnownAt",
    "Label", "Latest", "Leak", "LeakKind", "Lookup", "OnDemand", "Source", "Window", "compute", "find_leaks", "instant",
    "version_from_dict", "view_from_dict",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load `compute` and `find_leaks`, which need Polars, when they are first used."""
    homes = {"compute": "gateline.features.point_in_time", "find_leaks": "gateline.features.leaks"}
    if name not in homes:
        raise AttributeError(f"module 'gateline.features' has no attribute '{name}'")
    return getattr(importlib.import_module(homes[name]), name)
