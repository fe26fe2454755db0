"""Monitoring: labels that arrive late, windows closed on a watermark, drift and performance verdicts, feature parity, alerts.

Heavy names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateline.monitoring.model import (
        Alert,
        AlertState,
        Analysis,
        DriftPolicy,
        FeaturePlan,
        LabelReceipt,
        MonitorPlan,
        PerformancePolicy,
        Reference,
        ReferenceSource,
        State,
        Unit,
        Window,
    )  # fmt: skip
    from gateline.monitoring.parity import Parity
    from gateline.monitoring.parity_model import FeatureParity, ParityPlan, ParityRun
    from gateline.monitoring.parity_plans import parity_plan_from_dict
    from gateline.monitoring.plans import plan_from_dict
    from gateline.monitoring.service import Monitoring

__all__ = [
    "Alert",
    "AlertState",
    "Analysis",
    "DriftPolicy",
    "FeatureParity",
    "FeaturePlan",
    "LabelReceipt",
    "MonitorPlan",
    "Monitoring",
    "Parity",
    "ParityPlan",
    "ParityRun",
    "PerformancePolicy",
    "Reference",
    "ReferenceSource",
    "State",
    "Unit",
    "Window",
    "parity_plan_from_dict",
    "plan_from_dict",
]

_HOMES = {
    "FeatureParity": "parity_model",
    "Monitoring": "service",
    "Parity": "parity",
    "ParityPlan": "parity_model",
    "ParityRun": "parity_model",
    "parity_plan_from_dict": "parity_plans",
    "plan_from_dict": "plans",
}


def __getattr__(name: str) -> Any:
    """Load a name of `__all__` from the module that makes it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'model')}"), name)
