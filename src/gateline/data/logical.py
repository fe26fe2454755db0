"""The logical digest of a table: equal for equal rows, whatever their order, the files they lie in and the engine that wrote them.

The encoding, so that anybody can compute it: rows are sorted by all columns in schema order, ascending, missing values first, NaN last,
text by its UTF-8 bytes. Each column gives one SHA-256 over one bit for each row (1 = present, lowest bit first, padded to whole bytes),
then its values, a missing one as 0 or as empty text: whole numbers, and times as UTC microseconds or days since 1970-01-01, in 8, 8 and
4 bytes, little-endian and signed; floats as IEEE 754 doubles, little-endian, -0.0 as 0.0 and every NaN as 0x7ff8000000000000; booleans
in 1 byte; of texts first all lengths in bytes (8 bytes each), then all bytes. The digest covers names, types, row count and the
digests of the columns.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from gateline.data.model import Column
from gateline.data.reading import POLARS_TYPES
from gateline.kernel.canonical import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

_PIECE_ROWS = 1 << 20
_WIDTHS: dict[pl.DataType, str] = {pl.Float64(): "<f8", pl.Boolean(): "u1", pl.Date(): "<i4"}


def logical_digest(table: pl.DataFrame, schema: Sequence[Column]) -> str:
    """Return the logical digest (hex SHA-256) of a table whose columns have the seven types of `ColumnType`.

    Args:
        table: The rows, with exactly the columns of `schema`.
        schema: Names and types in order; whether a column is nullable does not enter.
    """
    ordered = table.with_columns(_canonical_floats(table))
    ordered = ordered.sort(ordered.columns, nulls_last=False, maintain_order=False)
    return digest(
        "dataset.rows",
        {
            "schema": [[column.name, column.dtype.value] for column in schema],
            "row_count": ordered.height,
            "columns": [_column_digest(ordered[column.name]) for column in schema],
        },
    )


def frame_digest(table: pl.DataFrame) -> str:
    """Return the logical digest of a table under its own column types; equal to that of the dataset version with these rows.

    Raises:
        KeyError: a column has none of the seven types.
    """
    kinds = {dtype: kind for kind, dtype in POLARS_TYPES.items()}
    return logical_digest(table, [Column(name=name, dtype=kinds[dtype], nullable=True) for name, dtype in table.schema.items()])


def _canonical_floats(table: pl.DataFrame) -> list[pl.Expr]:
    columns = [name for name, dtype in table.schema.items() if dtype.is_float()]
    return [
        pl.when(pl.col(name).is_nan()).then(pl.lit(np.nan)).when(pl.col(name) == 0).then(pl.lit(0.0)).otherwise(pl.col(name)).alias(name)
        for name in columns
    ]


def _column_digest(values: pl.Series) -> str:
    state = hashlib.sha256(np.packbits(values.is_not_null().to_numpy(), bitorder="little").tobytes())
    if values.dtype == pl.String:
        texts = values.fill_null("")
        state.update(texts.str.len_bytes().to_numpy().astype("<i8").tobytes())
        for start in range(0, len(texts), _PIECE_ROWS):
            state.update(texts.slice(start, _PIECE_ROWS).str.join("")[0].encode())
    else:
        physical = values.cast(pl.UInt8) if values.dtype == pl.Boolean else values.to_physical()
        state.update(physical.fill_null(0).to_numpy().astype(_WIDTHS.get(values.dtype, "<i8")).tobytes())
    return state.hexdigest()
