"""Tables of Polars, pandas and Arrow as Parquet, and back as the library that a step is written with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateline.kernel.errors import InvalidInput

_MARK = b"gateline.frame"
_LIBRARIES = ("polars", "pandas", "pyarrow")


def write_frame(value: Any, path: Path) -> dict[str, Path]:
    """Write a frame as Parquet; equal frames give equal bytes.

    Raises:
        InvalidInput: the value is no frame, or has a column that Parquet cannot hold.
    """
    library, name = type(value).__module__.partition(".")[0], type(value).__name__
    if library == "polars" and name == "LazyFrame":
        raise InvalidInput("it is a lazy frame, which holds no rows yet.", next_step="Return frame.collect().")
    if library == "polars" and name == "DataFrame":
        _write_polars(value, path)
    elif (library, name) in {("pandas", "DataFrame"), ("pyarrow", "Table")}:
        _write_arrow(value, library, path)
    else:
        raise InvalidInput(f"it is a {type(value).__module__}.{name}.", next_step="Return a frame of Polars, pandas or Arrow.")
    return {}


def read_frame(path: Path, wanted: Any = None) -> Any:
    """Read a frame back: as the annotation `wanted` says (a type, or its text), else as the library that wrote it."""
    text = wanted if isinstance(wanted, str) else f"{getattr(wanted, '__module__', '')}.{getattr(wanted, '__qualname__', '')}"
    import pyarrow.parquet

    library = _library_of(text) or _written_by(pyarrow.parquet.read_schema(path).metadata or {})
    if library == "polars":
        import polars as pl

        return pl.read_parquet(path, hive_partitioning=False)
    table = pyarrow.parquet.read_table(path, partitioning=None)
    return table.to_pandas() if library == "pandas" else _unmarked(table)


def _write_polars(value: Any, path: Path) -> None:
    import polars as pl

    try:
        value.write_parquet(path, compression="zstd", statistics=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InvalidInput(f"Parquet cannot hold it: {error!s:.300}.", next_step="Cast columns of Python objects.") from error


def _write_arrow(value: Any, library: str, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        table = pa.Table.from_pandas(value) if library == "pandas" else value
        marked = table.replace_schema_metadata({**(table.schema.metadata or {}), _MARK: library.encode()})
        pyarrow.parquet.write_table(marked, path, compression="zstd", write_statistics=False)
    except (pa.ArrowException, ValueError) as error:
        raise InvalidInput(f"Parquet cannot hold it: {error!s:.300}.", next_step="Give each column one type.") from error


def _library_of(annotation: str) -> str:
    """Return the library that an annotation names, or nothing."""
    root = annotation.partition(".")[0]
    return {"pl": "polars", "pd": "pandas", "pa": "pyarrow"}.get(root, root if root in _LIBRARIES else "")


def _written_by(metadata: dict[bytes, bytes]) -> str:
    return metadata.get(_MARK, b"polars").decode()


def _unmarked(table: Any) -> Any:
    """Return a table without our mark."""
    kept = {name: value for name, value in (table.schema.metadata or {}).items() if name != _MARK}
    return table.replace_schema_metadata(kept or None)
