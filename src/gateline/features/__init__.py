"""Feature sets: declarations, exact point-in-time computation, and the search for leaks.

Declarations load nothing heavy: the service, and with it the database, and Polars come when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gateline.features.calendars import Calendar, CalendarFact
from gateline.features.codec import set_from_dict, version_from_dict
from gateline.features.model import (
    FeatureColumn,
    FeatureKind,
    FeatureSet,
    FeatureSetVersion,
    FeatureSetVersionId,
    Leak,
    LeakKind,
)
from gateline.features.online.store import Change, Entry, Extent, Mark, OnlineStore, new_revision
from gateline.features.plan import Aggregate, EventSource, KnownAt, Label, Plan, instant
from gateline.features.spans import seconds_of
from gateline.features.transforms import Impute, OrdinalEncode, QuantileClip, Standardise, Strategy
from gateline.features.view_model import FeatureViewCard, FeatureViewVersion
from gateline.features.views import Aggregation, CalendarView, Entity, LatestView, LookupView, OnDemandView, WindowView

if TYPE_CHECKING:
    from gateline.features.catalogue import FeatureViews
    from gateline.features.fitted import FittedTransforms, fit, fitted_from_dict
    from gateline.features.leaks import find_leaks
    from gateline.features.marks import Marks
    from gateline.features.materialise import Materialisation, Progress
    from gateline.features.online.sqlite import SqliteOnlineStore
    from gateline.features.online_service import OnlineFeatures
    from gateline.features.parity import ParityReport, replay_parity
    from gateline.features.personal import FeatureMarks
    from gateline.features.point_in_time import compute
    from gateline.features.service import FeatureSets

__all__ = [
    "Aggregate", "Aggregation", "Calendar", "CalendarFact", "CalendarView", "Change", "Entity", "Entry", "EventSource", "Extent",
    "FeatureColumn", "FeatureKind", "FeatureMarks", "FeatureSet", "FeatureSetVersion", "FeatureSetVersionId", "FeatureSets",
    "FeatureViewCard", "FeatureViewVersion", "FeatureViews", "FittedTransforms", "Impute", "KnownAt", "Label", "LatestView", "Leak",
    "LeakKind", "LookupView", "Mark", "Marks", "Materialisation", "OnDemandView", "OnlineFeatures", "OnlineStore", "OrdinalEncode",
    "ParityReport", "Plan", "Progress", "QuantileClip", "SqliteOnlineStore", "Standardise", "Strategy", "WindowView", "compute",
    "find_leaks", "fit", "fitted_from_dict", "instant", "new_revision", "replay_parity", "seconds_of", "set_from_dict",
    "version_from_dict",
]  # fmt: skip


_HOMES = {
    "FeatureMarks": "gateline.features.personal",
    "Marks": "gateline.features.marks",
    "FittedTransforms": "gateline.features.fitted",
    "fit": "gateline.features.fitted",
    "fitted_from_dict": "gateline.features.fitted",
    "FeatureViews": "gateline.features.catalogue",
    "Materialisation": "gateline.features.materialise",
    "OnlineFeatures": "gateline.features.online_service",
    "ParityReport": "gateline.features.parity",
    "SqliteOnlineStore": "gateline.features.online.sqlite",
    "Progress": "gateline.features.materialise",
    "replay_parity": "gateline.features.parity",
    "FeatureSets": "gateline.features.service",
    "compute": "gateline.features.point_in_time",
    "find_leaks": "gateline.features.leaks",
}


def __getattr__(name: str) -> Any:
    """Load the service, or what needs Polars, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gateline.features' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
