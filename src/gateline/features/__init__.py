"""Feature views: declarations, exact point-in-time computation, and the search for leaks.

Declarations load nothing heavy: the service, and with it the database, and Polars come when they are first used.
"""

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

if TYPE_CHECKING:
    from gateline.features.leaks import find_leaks
    from gateline.features.marks import Marks
    from gateline.features.personal import FeatureMarks
    from gateline.features.point_in_time import compute
    from gateline.features.service import FeatureViews

__all__ = [
    "Aggregate", "FeatureColumn", "FeatureKind", "FeatureMarks", "FeatureView", "FeatureViewVersion", "FeatureViewVersionId",
    "FeatureViews", "KnownAt", "Label", "Latest", "Leak", "LeakKind", "Lookup", "Marks", "OnDemand", "Source", "Window", "compute",
    "find_leaks", "instant", "version_from_dict", "view_from_dict",
]  # fmt: skip


_HOMES = {
    "FeatureMarks": "gateline.features.personal",
    "Marks": "gateline.features.marks",
    "FeatureViews": "gateline.features.service",
    "compute": "gateline.features.point_in_time",
    "find_leaks": "gateline.features.leaks",
}


def __getattr__(name: str) -> Any:
    """Load the service, or what needs Polars, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gateline.features' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
