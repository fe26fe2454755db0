"""Dataset versions: digest, schema, profile, source and licence; and the store of content-addressed files."""

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
from gateline.data.service import Datasets

__all__ = [
    "Column", "ColumnType", "DatasetVersion", "DatasetVersionId", "Datasets", "FileFormat", "ObjectStore", "Provenance", "ReadOptions",
    "StoredFile",
]  # fmt: skip
