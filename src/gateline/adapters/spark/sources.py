"""Sources on Spark: the Parquet files of a dataset version, and the rows of a source with its columns in the form of `values`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import polars as pl

from gateline.adapters.spark.translation import Translation
from gateline.adapters.spark.values import from_storage, quoted, stored_type, text_literal, typed
from gateline.kernel.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

    from gateline.features import EventSource

ROW = "__row"
_FILE_BITS = 40  # a row number is the number of its file times 2^40, plus its place in the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows on Spark with the types of their columns."""

    frame: DataFrame
    types: Mapping[str, pl.DataType]


class Tables:
    """The datasets of a plan as files.

    Args:
        session: The Spark session.
        files: Dataset name to its Parquet files, in the order of the manifest.
    """

    def __init__(self, session: SparkSession, files: Mapping[str, Sequence[Path]]) -> None:
        self._session = session
        self._files = {name: [str(path.resolve()) for path in paths] for name, paths in files.items()}

    def source(self, source: EventSource, extra: Mapping[str, str] | None = None, *, numbered: bool = False) -> Rows:
        """Return a source's rows: every alias, `extra` expressions under their names, and `__row`, the order of the table, if asked for.

        Raises:
            InvalidInput: a type or an expression is not for Spark.
            NotFound: the dataset has no files.
        """
        schema = self._schema(source.dataset)
        translate = Translation(schema)
        wanted = {**source.columns, **(extra or {})}
        texts = [*wanted.values(), *([source.where] if source.where is not None else [])]
        read = sorted(frozenset[str]().union(*(translate.roots(sql) for sql in texts)))
        if unknown := [name for name in read if name not in schema]:
            raise InvalidInput(f"Source '{source.name}' reads columns that dataset '{source.dataset}' does not have: {', '.join(unknown)}.")
        frame = self._frame(source.dataset, {name: schema[name] for name in read}, numbered=numbered)
        if source.where is not None:
            frame = frame.where(translate(source.where).sql)
        values = {alias: typed(translate(sql)) for alias, sql in wanted.items()}
        columns = [f"{value.sql} AS {quoted(alias)}" for alias, value in values.items()]
        return Rows(
            frame=frame.selectExpr(*([ROW] if numbered else []), *columns), types={alias: value.dtype for alias, value in values.items()}
        )

    def _schema(self, dataset: str) -> dict[str, pl.DataType]:
        """Return column name to type over all files, which may lack columns that came later."""
        files = self._files.get(dataset)
        if not files:
            raise NotFound(f"No files are given for dataset '{dataset}'.", next_step="Give the files of every dataset of the set.")
        found: dict[str, pl.DataType] = {}
        for path in files:
            for name, dtype in pl.read_parquet_schema(path).items():
                if found.setdefault(name, dtype) != dtype:
                    raise InvalidInput(f"Column '{name}' of dataset '{dataset}' is {found[name]} in one file, but {dtype} in {path}.")
        return found

    def _frame(self, dataset: str, columns: Mapping[str, pl.DataType], *, numbered: bool) -> DataFrame:
        """Return the columns of all files, in the form of `values`."""
        schema = ", ".join(f"{quoted(name)} {stored_type(name, dtype)}" for name, dtype in columns.items())
        wanted = [f"{from_storage(name, dtype)} AS {quoted(name)}" for name, dtype in columns.items()]
        files = self._files[dataset]
        reader = self._session.read.schema(schema) if schema else self._session.read
        if not numbered:
            return reader.parquet(*files).selectExpr(*wanted)
        names = [path.rsplit("/", 1)[-1] for path in files]
        if len(set(names)) == len(names):
            places = ", ".join(f"{text_literal(name)}, {place}L" for place, name in enumerate(names))
            return reader.parquet(*files).selectExpr(*wanted, _row_number(f"map({places})[_metadata.file_name]"))
        frames = [reader.parquet(path).selectExpr(*wanted, _row_number(f"{place}L")) for place, path in enumerate(files)]
        return reduce(lambda left, right: left.unionByName(right), frames)


def _row_number(file: str) -> str:
    number = f"shiftleft({file}, {_FILE_BITS}) + _metadata.row_index"
    return f"coalesce({number}, CAST(raise_error('a file is not in the manifest') AS BIGINT)) AS {ROW}"
