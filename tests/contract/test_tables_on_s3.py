"""Tables under a URL keep the promises of tables in a folder; held against a local S3 (moto)."""

from __future__ import annotations

import polars as pl
import pytest

from gateline.data import Tables
from gateline.data.reading import columns_of
from gateline.data.tables import Turn
from gateline.kernel.errors import Conflict, IntegrityFailure, NotFound

FRAME = pl.DataFrame({"x": [1, 2, 3], "s": ["a", None, "é"]})


@pytest.fixture(params=["folder", "s3"])
def tables(request, home) -> Tables:
    if request.param == "folder":
        return Tables(str(home / "tables"), cache=home / "cache", file_rows=2)
    s3 = request.getfixturevalue("s3")
    return Tables("s3://gateline/tables", cache=home / "cache", storage_options=s3.options(), file_rows=2)


def read(tables: Tables, files) -> pl.DataFrame:
    return pl.read_parquet([tables.path("people", file) for file in files])


def test_states_follow_each_other_and_all_stay_readable(tables):
    first = tables.replace("people", FRAME, columns_of(FRAME))
    second = tables.replace("people", FRAME[:1], columns_of(FRAME))
    assert (len(first.files), first.table_version, second.table_version) == (2, 1, 2)
    assert read(tables, first.files).equals(FRAME)
    assert read(tables, second.files).equals(FRAME[:1])
    assert tables.head("people") == {file.path for file in second.files}
    assert tables.stored("people").keys() == {file.path for file in (*first.files, *second.files)}
    assert tables.stored("people")[first.files[0].path].size_bytes == first.files[0].size_bytes
    assert tables.stored("nobody") == {}
    assert tables.head("nobody") == frozenset()


def test_rows_are_appended_once_and_in_turn(tables):
    turn = Turn(name="rows", before=0, number=2)
    first = tables.append("people", "rows-1.parquet", FRAME, columns_of(FRAME), turn=turn)
    assert tables.append("people", "rows-1.parquet", FRAME, columns_of(FRAME), turn=turn).files == first.files
    assert tables.append("people", "rows-2.parquet", FRAME, columns_of(FRAME), turn=turn) is None
    assert tables.turn("people", "rows") == 2
    assert tables.turn("nobody", "rows") == 0
    both = tables.append(
        "people", "rows-all.parquet", FRAME, columns_of(FRAME), turn=Turn(name="other", before=0, number=1), instead=["rows-1.parquet"]
    )
    assert tables.head("people") == {"rows-all.parquet"}
    assert read(tables, both.files).equals(FRAME)


def test_files_are_removed_and_restored(tables, home):
    commit = tables.replace("people", FRAME, columns_of(FRAME))
    content = tables.path("people", commit.files[0]).read_bytes()
    tables.check_presence("people", commit.files)
    tables.remove("people", commit.files[0].path)
    tables.remove("people", commit.files[0].path)
    for copy in home.glob("cache/*"):
        copy.unlink()
    with pytest.raises(Conflict, match="removed while they were being registered"):
        tables.check_presence("people", commit.files)
    with pytest.raises(NotFound, match="is missing"):
        tables.path("people", commit.files[0])
    tables.restore("people", commit.files[0], content)
    assert read(tables, commit.files).equals(FRAME)


def test_changed_bytes_are_refused_and_a_damaged_copy_is_fetched_again(tables, home):
    commit = tables.replace("people", FRAME, columns_of(FRAME))
    tables.path("people", commit.files[0])
    for copy in home.glob("cache/*"):
        copy.write_bytes(b"damaged")
    assert read(tables, commit.files).equals(FRAME)
    for copy in home.glob("cache/*"):
        copy.unlink()
    tables.restore("people", commit.files[0], b"other")
    with pytest.raises(IntegrityFailure, match=commit.files[0].sha256):
        tables.path("people", commit.files[0])
