"""Models and their versions: lineage, lifecycle, approvals, and who moved what when."""

from typing import TYPE_CHECKING, Any

from gateline.registry.model import (
    APPROVAL_PREDICATE,
    Approval,
    HistoryEntry,
    HistoryKind,
    Meaning,
    Model,
    ModelVersion,
    ModelVersionId,
    State,
)

if TYPE_CHECKING:
    from gateline.registry.service import Registry

__all__ = [
    "APPROVAL_PREDICATE", "Approval", "HistoryEntry", "HistoryKind", "Meaning", "Model", "ModelVersion", "ModelVersionId", "Registry",
    "State",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load the service, which needs SQLAlchemy and the domains below, only when it is asked for."""
    if name == "Registry":
        from gateline.registry.service import Registry

        return Registry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
