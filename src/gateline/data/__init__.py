"""Dataset versions: digest, schema, profile, source and licence; and the store of content-addressed files.

The service, and with it the database, is loaded when it is first used: feature declarations need the types alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gateline.data.keeping import Pin, Reconstruction, Vacuum, VacuumRequest
from gateline.data.model import (
    Column,
    ColumnType,
    DatasetVersion,
    DatasetVersionId,
    FileFormat,
    Provenance,
    ReadOptions,
    Source,
    SourceKind,
    StoredFile,
    TableFile,
)
from gateline.data.objects import ObjectStore
from gateline.data.tables import Tables

if TYPE_CHECKING:
    from gateline.data.logical import logical_digest
    from gateline.data.retention import Retention
    from gateline.data.service import Datasets
    from gateline.data.sources import Sources

__all__ = [
    "Column", "ColumnType", "DatasetVersion", "DatasetVersionId", "Datasets", "FileFormat", "ObjectStore", "Pin", "Provenance",
    "ReadOptions", "Reconstruction", "Retention", "Source", "SourceKind", "Sources", "StoredFile", "TableFile", "Tables", "Vacuum",
    "VacuumRequest", "logical_digest",
]  # fmt: skip

_SERVICES = {
    "Datasets": "gateline.data.service",
    "Retention": "gateline.data.retention",
    "Sources": "gateline.data.sources",
    "logical_digest": "gateline.data.logical",
}


def __getattr__(name: str) -> Any:
    """Load a service when it is first used."""
    if name not in _SERVICES:
        raise AttributeError(f"module 'gateline.data' has no attribute '{name}'")
    return getattr(importlib.import_module(_SERVICES[name]), name)
