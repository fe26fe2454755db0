"""Feature sets on this machine: computed by one of the engines, and carried over from and to Feast."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from gateline.kernel.files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from gateline.adapters.feast import Exported, Imported
    from gateline.features import FeatureSet, Plan

ENGINES = ("polars", "spark")


def compute_with(engine: str, declared: FeatureSet | Plan, files: Mapping[str, Sequence[Path]]) -> pl.DataFrame:
    """Return the rows of a set from one of `ENGINES`; see `gateline.features.compute` for the columns.

    Raises:
        ConfigurationError: what the engine needs is not installed.
        InvalidInput: the data break a promise of the set, or the engine refuses an expression.
        NotFound: the files of a dataset are missing.
        Unavailable: Spark failed.
    """
    if engine == "spark":
        from gateline.adapters.spark import compute_on_spark

        return compute_on_spark(declared, files)
    from gateline.features import compute

    return compute(declared, files)


def write_rows(rows: pl.DataFrame, path: Path) -> None:
    """Write computed rows as a Parquet file, whole or not at all.

    Raises:
        StorageFull: the disk has no room; nothing is left of the file.
    """
    with storage_errors(path), tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        written = type(path)(folder) / path.name
        rows.write_parquet(written)
        written.replace(path)


def import_feast(folder: Path) -> Imported:
    """Return the definitions of a Feast repository as Gateline's; see `gateline.adapters.feast.import_repository`."""
    from gateline.adapters.feast import import_repository

    return import_repository(folder)


def export_feast(feature_set: FeatureSet, files: Mapping[str, Sequence[Path]], folder: Path) -> Exported:
    """Write a set as a Feast repository; see `gateline.adapters.feast.export_repository`."""
    from gateline.adapters.feast import export_repository

    return export_repository(feature_set, files, folder)
