"""Whether a model version can be made again: retrained aside, compared with what is recorded, graded, and the grade kept."""

import importlib
from typing import TYPE_CHECKING, Any

from gateline.reproduction.model import Difference, Failure, Grade, LossInterval, Predictions, Recipe, Reproduction, Stage
from gateline.reproduction.rules import needed_for

if TYPE_CHECKING:
    from gateline.reproduction.evidence import Evidence
    from gateline.reproduction.service import Reproductions

__all__ = [
    "Difference", "Evidence", "Failure", "Grade", "LossInterval", "Predictions", "Recipe", "Reproduction", "Reproductions", "Stage",
    "needed_for",
]  # fmt: skip

_HOMES = {"Evidence": "evidence", "Reproductions": "service"}


def __getattr__(name: str) -> Any:
    """Load the service, which needs SQLAlchemy and the domains below, only when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"gateline.reproduction.{_HOMES[name]}"), name)
