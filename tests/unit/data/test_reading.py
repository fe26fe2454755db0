from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import polars as pl
import pytest

from gateline.data import ColumnType, FileFormat, ReadOptions
from gateline.data.reading import columns_of, read_table
from gateline.kernel.errors import InvalidInput, TooLarge


def read(path: Path, content: bytes, file_format: FileFormat = FileFormat.CSV, **options):
    path.write_bytes(content)
    return read_table(path, ReadOptions(format=file_format, **options), name="the file")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "raw file"


def zipped(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def types(table: pl.DataFrame) -> dict[str, str]:
    return {column.name: column.dtype.value for column in columns_of(table)}


def test_csv_types_are_inferred_and_nulls_named(path):
    table = read(path, b"a,b,c,at\n1,x,1.5,2013-01-01T10:00:00Z\nNA,NA,2,2013-01-01T05:30:00-05:00\n", null_values=("NA",))
    assert types(table) == {"a": "int64", "b": "string", "c": "float64", "at": "datetime"}
    assert [column.nullable for column in columns_of(table)] == [True, True, False, False]
    assert table["at"].dt.timestamp("us").to_list() == [1356998400000000 + 10 * 3_600_000_000, 1356998400000000 + 10.5 * 3_600_000_000]


def test_texts_that_are_not_all_instants_stay_texts(path):
    table = read(path, b"at,local\n2013-01-01T10:00:00Z,2013-01-01T10:00:00\nlater,2013-01-01T10:00:00\n")
    assert types(table) == {"at": "string", "local": "string"}


def test_types_are_decided_by_all_rows_and_not_the_first_ones(path):
    lines = ["1,"] * 10_500 + ["1.5,7"]
    table = read(path, ("a,b\n" + "\n".join(lines)).encode())
    assert types(table) == {"a": "float64", "b": "int64"}
    assert table.row(-1) == (1.5, 7)


def test_a_zipped_csv_equals_the_csv(path):
    assert read(path, zipped(**{"x.csv": b"a\n1\n"}), FileFormat.CSV_ZIP).equals(read(path, b"a\n1\n"))


def test_json_lines_and_parquet_are_read(path):
    table = read(path, b'{"a": 1, "b": "x"}\n{"a": null, "b": "y"}\n', FileFormat.JSONL)
    assert types(table) == {"a": "int64", "b": "string"}
    content = io.BytesIO()
    table.write_parquet(content)
    assert read(path, content.getvalue(), FileFormat.PARQUET).equals(table)


def test_parquet_types_are_brought_to_the_closed_set(path):
    content = io.BytesIO()
    pl.DataFrame(
        {"small": pl.Series([1, 2], dtype=pl.Int8), "half": pl.Series([0.5, 1.5], dtype=pl.Float32), "kind": ["a", "b"]},
        schema_overrides={"kind": pl.Categorical},
    ).with_columns(at=pl.datetime(2013, 1, 1, time_unit="ns", time_zone="America/New_York"), day=pl.date(2013, 1, 1)).write_parquet(content)
    table = read(path, content.getvalue(), FileFormat.PARQUET)
    assert types(table) == {"small": "int64", "half": "float64", "kind": "string", "at": "datetime", "day": "date"}
    assert table["at"][0].hour == 5


def test_declared_types_hold_and_keep_leading_zeros(path):
    table = read(path, b"zip,flag\n01234,true\n00001,false\n", types={"zip": ColumnType.STRING, "flag": ColumnType.BOOLEAN})
    assert table["zip"].to_list() == ["01234", "00001"]
    assert table["flag"].to_list() == [True, False]


def test_values_of_the_wrong_type_are_named_with_column_count_and_row(path):
    with pytest.raises(InvalidInput) as error:
        read(path, b"a,b\n1,2\nx,3\ny,2.5\n", types={"a": ColumnType.INT64, "b": ColumnType.INT64})
    assert "2 values of 'a' are no int64, first 'x' in row 2" in error.value.message
    assert "1 values of 'b' are no int64, first '2.5' in row 3" in error.value.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"a,b\n", "holds no rows"),
        (b"a,a,b\n1,2,3\n", "repeats the columns 'a'"),
        (b"a,\n1,2\n", "column without a name"),
        (b"a,b\n1,2,3\n", "cannot be read as csv"),
        (b"a,b\n1,2\n3", "ends in the middle of a row: the last line has 1 of 2 fields"),
        (b"a\n\xe9t\xe9\n", "not UTF-8: line 2 holds the byte 0xe9"),
    ],
)
def test_a_broken_csv_gets_one_clear_error(path, content, words):
    with pytest.raises(InvalidInput) as error:
        read(path, content)
    assert words in error.value.message
    assert error.value.next_step


def test_declared_columns_that_are_missing_are_named_with_those_that_exist(path):
    with pytest.raises(InvalidInput, match=r"'z'; it has 'a'"):
        read(path, b"a\n1\n", types={"z": ColumnType.INT64})


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "holds 0: none"),
        ({"a.csv": b"a\n1\n", "b.csv": b"a\n1\n"}, r"holds 2: a.csv, b.csv"),
    ],
)
def test_an_archive_must_hold_one_file(path, members, words):
    with pytest.raises(InvalidInput, match=words):
        read(path, zipped(**members), FileFormat.CSV_ZIP)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(path):
    with pytest.raises(TooLarge, match="would unpack to 50,000,000 bytes"):
        read(path, zipped(**{"x.csv": b"0" * 50_000_000}), FileFormat.CSV_ZIP)


@pytest.mark.parametrize("file_format", [FileFormat.CSV_ZIP, FileFormat.PARQUET, FileFormat.JSONL])
def test_a_file_of_another_format_is_refused(path, file_format):
    with pytest.raises(InvalidInput, match=f"cannot be read as {file_format}"):
        read(path, b"a,b\n1,2\n", file_format)


def test_a_truncated_parquet_file_is_refused(path):
    content = io.BytesIO()
    pl.DataFrame({"a": range(1000)}).write_parquet(content)
    with pytest.raises(InvalidInput, match="cannot be read as parquet"):
        read(path, content.getvalue()[:-50], FileFormat.PARQUET)


def test_nested_columns_are_refused_all_at_once(path):
    content = "\n".join(json.dumps({"a": 1, "b": [1], "c": {"d": 1}}) for _ in range(2)).encode()
    with pytest.raises(InvalidInput) as error:
        read(path, content, FileFormat.JSONL)
    assert "'b' (List" in error.value.message
    assert "'c' (Struct" in error.value.message


def test_arrow_files_and_streams_are_read(path):
    table = pl.DataFrame({"a": [1, None], "s": ["x", "é"]})
    file, stream = io.BytesIO(), io.BytesIO()
    table.write_ipc(file, compression="lz4")
    table.write_ipc_stream(stream)
    assert read(path, file.getvalue(), FileFormat.ARROW).equals(table)
    assert read(path, stream.getvalue(), FileFormat.ARROW_STREAM).equals(table)
    for content, kind in ((file.getvalue()[:-20], FileFormat.ARROW), (stream.getvalue()[:100], FileFormat.ARROW_STREAM)):
        with pytest.raises(InvalidInput):
            read(path, content, kind)


def test_numbers_and_times_that_would_lose_something_are_refused(path):
    content = io.BytesIO()
    pl.DataFrame(
        {"big": [2**63], "fine": [1], "ns": [1], "whole": [1000]},
        schema={"big": pl.UInt64, "fine": pl.UInt64, "ns": pl.Datetime("ns", "UTC"), "whole": pl.Datetime("ns", "UTC")},
    ).write_parquet(content)
    with pytest.raises(InvalidInput) as error:
        read(path, content.getvalue(), FileFormat.PARQUET)
    assert "'big' (UInt64, with values that Int64 cannot hold exactly)" in error.value.message
    assert "'ns' (Datetime" in error.value.message
    assert "'fine'" not in error.value.message
    assert "'whole'" not in error.value.message


def test_column_names_that_differ_only_by_case_are_refused(path):
    with pytest.raises(InvalidInput, match="the names of 'A', 'a' differ only by case"):
        read(path, b"a,A\n1,2\n")
