"""Dataset versions: digest, schema, profile, source and licence; their contracts; and the store of content-addressed files.

The services, and with them the database, are loaded when they are first used: feature declarations need the types alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gateline.data.keeping import Pin, Vacuum, VacuumRequest
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
from gateline.data.rebuilt import BuildFrom, Reconstruction, SourceReading, SourceState
from gateline.data.tables import Tables

if TYPE_CHECKING:
    from gateline.data.batches import Batch, Feed
    from gateline.data.checkpoints import Checkpoints
    from gateline.data.contracting import Contracts
    from gateline.data.contracts.form import contract_from_dict, contract_from_text, contract_to_toml, contract_version_from_dict
    from gateline.data.contracts.from_pandera import contract_from_pandera
    from gateline.data.contracts.model import (
        Break,
        ColumnRule,
        Compatibility,
        Contract,
        ContractOrigin,
        ContractState,
        ContractVersion,
        Violation,
    )
    from gateline.data.contracts.rules import contract_id, split_contract_id
    from gateline.data.diff import DatasetDiff, diff_versions
    from gateline.data.logical import frame_digest, logical_digest
    from gateline.data.reading import POLARS_TYPES
    from gateline.data.reconstruction import Reconstructions
    from gateline.data.retention import Retention
    from gateline.data.service import Datasets
    from gateline.data.sources import Sources
    from gateline.data.spool import Spool

__all__ = [
    "POLARS_TYPES",
    "Batch",
    "Break",
    "BuildFrom",
    "Checkpoints",
    "Column",
    "ColumnRule",
    "ColumnType",
    "Compatibility",
    "Contract",
    "ContractOrigin",
    "ContractState",
    "ContractVersion",
    "Contracts",
    "DatasetDiff",
    "DatasetVersion",
    "DatasetVersionId",
    "Datasets",
    "Feed",
    "FileFormat",
    "ObjectStore",
    "Pin",
    "Provenance",
    "ReadOptions",
    "Reconstruction",
    "Reconstructions",
    "Retention",
    "Source",
    "SourceKind",
    "SourceReading",
    "SourceState",
    "Sources",
    "Spool",
    "StoredFile",
    "TableFile",
    "Tables",
    "Vacuum",
    "VacuumRequest",
    "Violation",
    "contract_from_dict",
    "contract_from_pandera",
    "contract_from_text",
    "contract_id",
    "contract_to_toml",
    "contract_version_from_dict",
    "diff_versions",
    "frame_digest",
    "logical_digest",
    "split_contract_id",
]  # fmt: skip

_HOMES = {
    "Break": "contracts.model",
    "ColumnRule": "contracts.model",
    "Compatibility": "contracts.model",
    "Contract": "contracts.model",
    "ContractOrigin": "contracts.model",
    "ContractState": "contracts.model",
    "ContractVersion": "contracts.model",
    "Violation": "contracts.model",
    "Batch": "batches",
    "Feed": "batches",
    "Checkpoints": "checkpoints",
    "Contracts": "contracting",
    "DatasetDiff": "diff",
    "Datasets": "service",
    "Reconstructions": "reconstruction",
    "Retention": "retention",
    "Sources": "sources",
    "Spool": "spool",
    "contract_from_dict": "contracts.form",
    "contract_from_pandera": "contracts.from_pandera",
    "contract_from_text": "contracts.form",
    "contract_id": "contracts.rules",
    "contract_to_toml": "contracts.form",
    "contract_version_from_dict": "contracts.form",
    "diff_versions": "diff",
    "split_contract_id": "contracts.rules",
    "POLARS_TYPES": "reading",
    "frame_digest": "logical",
    "logical_digest": "logical",
}


def __getattr__(name: str) -> Any:
    """Load a service, or what belongs to contracts, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gateline.data' has no attribute '{name}'")
    return getattr(importlib.import_module(f"gateline.data.{_HOMES[name]}"), name)
