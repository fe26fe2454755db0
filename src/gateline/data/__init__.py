"""Dataset versions: digest, schema, profile, source and licence; their contracts; and the store of content-addressed files.

The services, and with them the database, are loaded when they are first used: feature declarations need the types alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gateline.data.contract import Break, ColumnRule, Compatibility, Contract, ContractOrigin, ContractVersion, Violation
from gateline.data.model import (
    Column,
    ColumnType,
    DatasetVersion,
    DatasetVersionId,
    FileFormat,
    Provenance,
    ReadOptions,
    StoredFile,
)
from gateline.data.objects import ObjectStore

if TYPE_CHECKING:
    from gateline.data.contract_form import contract_from_dict, contract_from_text, contract_to_toml, contract_version_from_dict
    from gateline.data.contract_pandera import contract_from_pandera
    from gateline.data.contract_rules import contract_id, split_contract_id
    from gateline.data.contracts import Contracts
    from gateline.data.diff import DatasetDiff, diff_versions
    from gateline.data.service import Datasets

__all__ = [
    "Break", "Column", "ColumnRule", "ColumnType", "Compatibility", "Contract", "ContractOrigin", "ContractVersion", "Contracts",
    "DatasetDiff", "DatasetVersion", "DatasetVersionId", "Datasets", "FileFormat", "ObjectStore", "Provenance", "ReadOptions",
    "StoredFile", "Violation",
    "contract_from_dict", "contract_from_pandera", "contract_from_text", "contract_id", "contract_to_toml", "contract_version_from_dict",
    "diff_versions", "split_contract_id",
]  # fmt: skip

_HOMES = {
    "Contracts": "contracts",
    "DatasetDiff": "diff",
    "Datasets": "service",
    "contract_from_dict": "contract_form",
    "contract_from_pandera": "contract_pandera",
    "contract_from_text": "contract_form",
    "contract_id": "contract_rules",
    "contract_to_toml": "contract_form",
    "contract_version_from_dict": "contract_form",
    "diff_versions": "diff",
    "split_contract_id": "contract_rules",
}


def __getattr__(name: str) -> Any:
    """Load a service, or what works on contracts, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gateline.data' has no attribute '{name}'")
    return getattr(importlib.import_module(f"gateline.data.{_HOMES[name]}"), name)
