"""From a raw file to a typed table. A file that cannot be read exactly is refused with what, where and why; nothing is guessed away."""

from __future__ import annotations

import codecs
import csv
import io
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from polars.exceptions import PolarsError

from gateline.data.model import Column, ColumnType, FileFormat, ReadOptions
from gateline.data.rules import check_header
from gateline.kernel.errors import InvalidInput, TooLarge
from gateline.kernel.limits import UNZIPPED_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

POLARS_TYPES: Mapping[ColumnType, pl.DataType] = {
    ColumnType.INT64: pl.Int64(),
    ColumnType.FLOAT64: pl.Float64(),
    ColumnType.STRING: pl.String(),
    ColumnType.BOOLEAN: pl.Boolean(),
    ColumnType.DATE: pl.Date(),
    ColumnType.DATETIME: pl.Datetime("us", "UTC"),
    ColumnType.NAIVE_DATETIME: pl.Datetime("us"),
}

_INFER_ROWS = 10_000
_PIECE_BYTES = 1 << 20
# A CSV file rarely deflates beyond 1:30; deflate itself reaches 1:1032, which only a crafted file does.
_ZIP_RATIO_MAX = 200
_INSTANT_FORMAT = "%Y-%m-%dT%H:%M:%S%.f%#z"
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")


def read_table(path: Path, options: ReadOptions, *, name: str) -> pl.DataFrame:
    """Return the table of a raw file with columns of the closed set of types; `name` is what errors call the file.

    Texts such as 2013-01-01T10:00:00Z, when a whole column consists of them, become UTC time stamps; texts without an offset stay texts.

    Raises:
        InvalidInput: the file cannot be read, is empty, repeats a column, has columns of types without a place in a table,
            or does not fit the declared types; every column at fault is named.
        TooLarge: a limit on columns or unpacked bytes was met.
    """
    try:
        table = _read(path, options, name)
    except (PolarsError, zipfile.BadZipFile, OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InvalidInput(
            f"{name} cannot be read as {options.format}: {reason}.",
            next_step="Check that the file is whole and that its format is the declared one.",
        ) from error
    return typed_table(table, options, name=name)


def typed_table(table: pl.DataFrame, options: ReadOptions, *, name: str) -> pl.DataFrame:
    """Return rows with columns of the closed set of types, as `read_table` returns those of a file; raises as it does."""
    check_header(table.columns, name=name, declared=tuple(options.types))
    if table.height == 0:
        raise InvalidInput(f"{name} holds no rows.", next_step="Register a file with at least one row.")
    return _declared(_normalised(table, name), options.types, name)


def columns_of(table: pl.DataFrame) -> tuple[Column, ...]:
    """Return the schema of a table that `read_table` made."""
    kinds = {dtype: kind for kind, dtype in POLARS_TYPES.items()}
    missing = dict(zip(table.columns, table.null_count().row(0), strict=True))
    return tuple(Column(name=column, dtype=kinds[dtype], nullable=missing[column] > 0) for column, dtype in table.schema.items())


def _read(path: Path, options: ReadOptions, name: str) -> pl.DataFrame:
    match options.format:
        case FileFormat.CSV:
            return _read_csv(path.read_bytes(), options, name)
        case FileFormat.CSV_ZIP:
            return _read_csv(_unzip(path, name), options, name)
        case FileFormat.PARQUET:
            return pl.read_parquet(path)
        case FileFormat.ARROW:
            return pl.read_ipc(path)
        case FileFormat.ARROW_STREAM:
            return pl.read_ipc_stream(path)
        case FileFormat.JSONL:
            content = path.read_bytes()
            _check_text(content, name)
            if not content.strip():
                raise InvalidInput(f"{name} holds no rows.", next_step="Register a file with at least one row.")
            return pl.read_ndjson(content, infer_schema_length=None)


def _read_csv(content: bytes, options: ReadOptions, name: str) -> pl.DataFrame:
    _check_text(content, name)
    check_header(_csv_header(content), name=name, declared=tuple(options.types))
    _check_last_line(content, name)
    overrides = dict.fromkeys(options.types, pl.String())

    def read(rows: int | None) -> pl.DataFrame:
        return pl.read_csv(
            content, null_values=list(options.null_values), schema_overrides=overrides, infer_schema_length=rows, raise_if_empty=False
        )

    try:
        table = read(_INFER_ROWS)
    except PolarsError:
        return read(None)  # a later row does not fit what the first rows look like
    undecided = [one.name for one in table.head(_INFER_ROWS) if one.dtype == pl.String and one.null_count() == len(one)]
    late = table.height > _INFER_ROWS and any(table[column].null_count() < table.height for column in undecided)
    return read(None) if late else table


def _csv_header(content: bytes) -> list[str]:
    if not content.strip():
        raise InvalidInput("The file is empty.", next_step="Register a file with a header line and at least one row.")
    start = content.removeprefix(codecs.BOM_UTF8)
    text = io.TextIOWrapper(io.BytesIO(start[:_PIECE_BYTES]), encoding="utf-8", errors="replace", newline="")
    return next(csv.reader(text), [])


def _check_last_line(content: bytes, name: str) -> None:
    """Refuse a file that ends in the middle of a row: Polars would fill the missing fields with nulls."""
    last = content.rstrip(b"\r\n")
    last = last[last.rfind(b"\n") + 1 :]
    if b'"' in last or b'"' in content[:_PIECE_BYTES].split(b"\n", 1)[0]:
        return  # a quoted field may hold line breaks; Polars then checks the quotes itself
    expected, found = len(_csv_header(content)), last.count(b",") + 1
    if found < expected:
        raise InvalidInput(
            f"{name} ends in the middle of a row: the last line has {found} of {expected} fields.", next_step="Fetch the file again."
        )


def _check_text(content: bytes, name: str) -> None:
    decoder, start = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        for start in range(0, len(content), _PIECE_BYTES):
            decoder.decode(content[start : start + _PIECE_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line = content[: start + error.start].count(b"\n") + 1
        raise InvalidInput(
            f"{name} is not UTF-8: line {line} holds the byte 0x{error.object[error.start]:02x}.",
            next_step="Convert the file, for example with: iconv -f LATIN1 -t UTF-8.",
        ) from error


def _unzip(path: Path, name: str) -> bytes:
    """Return the bytes of the only member of the archive, within the limits."""
    with zipfile.ZipFile(path) as archive:
        members = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
        if len(members) != 1:
            listed = ", ".join(one.filename for one in members[:5]) or "none"
            raise InvalidInput(
                f"{name} must hold exactly one file, but holds {len(members)}: {listed}.", next_step="Zip the one CSV file alone."
            )
        member = members[0]
        if member.flag_bits & 1:
            raise InvalidInput(f"{name} is encrypted.", next_step="Zip the file without a password.")
        limit = min(UNZIPPED_BYTES_MAX, max(path.stat().st_size * _ZIP_RATIO_MAX, _PIECE_BYTES))
        if member.file_size > limit:
            raise TooLarge(
                f"{name} would unpack to {member.file_size:,} bytes; the limit for a file of this size is {limit:,}.",
                next_step="Register the CSV file itself if this is not a crafted archive.",
            )
        with archive.open(member) as file:
            content = file.read(limit + 1)
    if len(content) != member.file_size:
        raise InvalidInput(f"{name} says it unpacks to {member.file_size:,} bytes, but does not.", next_step="Make the archive again.")
    return content


def _normalised(table: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the table with every column in one of the seven types; refuses the others, all at once."""
    casts: list[pl.Expr] = []
    unsupported: list[str] = []
    for column, dtype in table.schema.items():
        target = _target(table[column], dtype)
        if target is None:
            unsupported.append(f"'{column}' ({dtype})")
        elif dtype == pl.String and target == POLARS_TYPES[ColumnType.DATETIME]:
            casts.append(pl.col(column).str.to_datetime(_INSTANT_FORMAT, time_unit="us", time_zone="UTC", strict=False))
        elif dtype != target and _loses(table[column], target):
            unsupported.append(f"'{column}' ({dtype}, with values that {target} cannot hold exactly)")
        elif dtype != target:
            casts.append(pl.col(column).cast(target))
    if unsupported:
        allowed = ", ".join(ColumnType)
        raise InvalidInput(
            f"{name} has columns that a table cannot hold: {', '.join(unsupported)}.", next_step=f"Turn them into one of {allowed}."
        )
    return table.with_columns(casts)


def _loses(values: pl.Series, target: pl.DataType) -> bool:
    """Whether the cast would change values: whole numbers beyond 64 bits, nanoseconds that are no whole microseconds."""
    if not (values.dtype.is_integer() or isinstance(values.dtype, pl.Datetime)):
        return False
    there = values.cast(target, strict=False)
    return not there.cast(values.dtype, strict=False).equals(values, null_equal=True)


def _target(values: pl.Series, dtype: pl.DataType) -> pl.DataType | None:
    if dtype.is_integer():
        return pl.Int64()
    if dtype.is_float():
        return pl.Float64()
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", "UTC" if dtype.time_zone else None)
    if isinstance(dtype, pl.String):
        return POLARS_TYPES[ColumnType.DATETIME] if _holds_instants(values) else pl.String()
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Null):
        return pl.String()
    return dtype if isinstance(dtype, pl.Boolean | pl.Date) else None


def _holds_instants(values: pl.Series) -> bool:
    """Whether every text is a time stamp with an offset; a look at the first hundred spares most columns the full test."""
    first = values.drop_nulls().head(100).to_list()
    if not first or not all(_INSTANT.fullmatch(text) for text in first):
        return False
    parsed = values.str.to_datetime(_INSTANT_FORMAT, time_unit="us", time_zone="UTC", strict=False)
    return parsed.null_count() == values.null_count()


def _declared(table: pl.DataFrame, types: Mapping[str, ColumnType], name: str) -> pl.DataFrame:
    """Cast the declared columns; a value that does not fit is an error that names column, count and the first such row."""
    mistakes: list[str] = []
    for column, kind in types.items():
        values = table[column]
        if values.dtype == POLARS_TYPES[kind]:
            continue
        cast = _cast(values, kind)
        bad = values.is_not_null() & cast.is_null()
        if bad.any():
            row = bad.arg_max() or 0
            mistakes.append(f"{bad.sum():,} values of '{column}' are no {kind}, first '{values[row]}' in row {row + 1}")
        table = table.with_columns(cast)
    if mistakes:
        raise InvalidInput(
            f"{name} does not fit its declared types: {'; '.join(mistakes)}.", next_step="Correct the file or the declaration."
        )
    return table


def _cast(values: pl.Series, kind: ColumnType) -> pl.Series:
    if values.dtype == pl.String and kind is ColumnType.BOOLEAN:
        lower = values.str.to_lowercase()
        return pl.select(pl.when(lower.is_in(["true", "false"])).then(lower == "true").alias(values.name)).to_series()
    if values.dtype == pl.String and kind is ColumnType.DATETIME:
        return values.str.to_datetime(_INSTANT_FORMAT, time_unit="us", time_zone="UTC", strict=False)
    if values.dtype == pl.String and kind is ColumnType.NAIVE_DATETIME:
        return values.str.to_datetime(time_unit="us", strict=False)
    if values.dtype == pl.String and kind is ColumnType.DATE:
        return values.str.to_date("%Y-%m-%d", strict=False)
    cast = values.cast(POLARS_TYPES[kind], strict=False)
    if values.dtype == pl.Float64 and kind is ColumnType.INT64:
        whole = cast.cast(pl.Float64) == values
        return pl.select(pl.when(whole).then(cast).alias(values.name)).to_series()
    return cast
