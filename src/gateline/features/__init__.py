"""Feature sets: declarations, exact point-in-time computation, and the search for leaks.

Declarations load nothing heavy: the service, and with it the database, and Polars come when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gateline.features.declarations.calendars import (
    HOLIDAY_FACTS,
    WEEKDAYS,
    Calendar,
    CalendarFact,
    CalendarPart,
    day_part_names,
    holiday_facts,
)
from gateline.features.declarations.plan import Aggregate, EventSource, KnownAt, Label, Plan, instant
from gateline.features.declarations.request_views import CalendarView, OnDemandView
from gateline.features.declarations.spans import seconds_of
from gateline.features.declarations.transforms import Impute, OrdinalEncode, QuantileClip, Standardise, Strategy
from gateline.features.declarations.views import Aggregation, Entity, LatestView, LookupView, WindowView
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
from gateline.features.records.codec import set_from_dict, version_from_dict
from gateline.features.records.model import FeatureFit, FeatureViewCard, FeatureViewVersion
from gateline.features.records.seals import fit_from_dict, split_fit_id

if TYPE_CHECKING:
    from gateline.features.catalogue import FeatureViews
    from gateline.features.engine.checking import FACT_TYPES
    from gateline.features.engine.distinct import EXACT_MAX, hashed
    from gateline.features.engine.fitted import FittedTransforms, fit, fitted_from_dict
    from gateline.features.engine.point_in_time import compute
    from gateline.features.fits import FeatureFits
    from gateline.features.intake import EventIntake
    from gateline.features.marks.model import FeatureMarks
    from gateline.features.marks.service import Marks
    from gateline.features.materialise import Materialisation, Progress
    from gateline.features.online.sqlite import SqliteOnlineStore
    from gateline.features.online_service import OnlineFeatures
    from gateline.features.proofs.leaks import find_leaks
    from gateline.features.proofs.parity import ParityReport, replay_parity
    from gateline.features.service import FeatureSets

__all__ = [
    "EXACT_MAX",
    "FACT_TYPES",
    "HOLIDAY_FACTS",
    "WEEKDAYS",
    "Aggregate",
    "Aggregation",
    "Calendar",
    "CalendarFact",
    "CalendarPart",
    "CalendarView",
    "Change",
    "Entity",
    "Entry",
    "EventIntake",
    "EventSource",
    "Extent",
    "FeatureColumn",
    "FeatureFit",
    "FeatureFits",
    "FeatureKind",
    "FeatureMarks",
    "FeatureSet",
    "FeatureSetVersion",
    "FeatureSetVersionId",
    "FeatureSets",
    "FeatureViewCard",
    "FeatureViewVersion",
    "FeatureViews",
    "FittedTransforms",
    "Impute",
    "KnownAt",
    "Label",
    "LatestView",
    "Leak",
    "LeakKind",
    "LookupView",
    "Mark",
    "Marks",
    "Materialisation",
    "OnDemandView",
    "OnlineFeatures",
    "OnlineStore",
    "OrdinalEncode",
    "ParityReport",
    "Plan",
    "Progress",
    "QuantileClip",
    "SqliteOnlineStore",
    "Standardise",
    "Strategy",
    "WindowView",
    "compute",
    "day_part_names",
    "find_leaks",
    "fit",
    "fit_from_dict",
    "fitted_from_dict",
    "hashed",
    "holiday_facts",
    "instant",
    "new_revision",
    "replay_parity",
    "seconds_of",
    "set_from_dict",
    "split_fit_id",
    "version_from_dict",
]  # fmt: skip


_HOMES = {
    "EventIntake": "gateline.features.intake",
    "EXACT_MAX": "gateline.features.engine.distinct",
    "hashed": "gateline.features.engine.distinct",
    "FACT_TYPES": "gateline.features.engine.checking",
    "FeatureMarks": "gateline.features.marks.model",
    "Marks": "gateline.features.marks.service",
    "FittedTransforms": "gateline.features.engine.fitted",
    "fit": "gateline.features.engine.fitted",
    "fitted_from_dict": "gateline.features.engine.fitted",
    "FeatureViews": "gateline.features.catalogue",
    "Materialisation": "gateline.features.materialise",
    "OnlineFeatures": "gateline.features.online_service",
    "ParityReport": "gateline.features.proofs.parity",
    "SqliteOnlineStore": "gateline.features.online.sqlite",
    "Progress": "gateline.features.materialise",
    "replay_parity": "gateline.features.proofs.parity",
    "FeatureFits": "gateline.features.fits",
    "FeatureSets": "gateline.features.service",
    "compute": "gateline.features.engine.point_in_time",
    "find_leaks": "gateline.features.proofs.leaks",
}


def __getattr__(name: str) -> Any:
    """Load the service, or what needs Polars, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gateline.features' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
