from __future__ import annotations

import errno
import os
import subprocess
import sys
from datetime import UTC, date, datetime

import polars as pl
import pytest
from deltalake import DeltaTable

from gateline.data import Tables
from gateline.data.reading import columns_of
from gateline.kernel.errors import IntegrityFailure, NotFound, StorageFull

FRAME = pl.DataFrame(
    {
        "Delay (min), arrival": [1, None, 3],
        "f": [1.0, float("nan"), None],
        "s": ["a", None, "é"],
        "b": [True, None, False],
        "d": [date(2020, 1, 1), None, date(1960, 1, 1)],
        "t": [datetime(2020, 1, 1, tzinfo=UTC), None, None],
        "n": [datetime(2020, 1, 1, 1, 2, 3, 4), None, None],
    },
    schema_overrides={"t": pl.Datetime("us", "UTC"), "n": pl.Datetime("us")},
)

WRITE_WHEN_TOLD = """
import sys
from pathlib import Path
import polars as pl
from gateline.data import Tables
from gateline.data.reading import columns_of

tables = Tables(sys.argv[1], cache=Path(sys.argv[1]))
frame = pl.DataFrame({"writer": [int(sys.argv[2])]})
print("ready", flush=True)
sys.stdin.readline()
for _ in range(5):
    commit = tables.replace("people", frame, columns_of(frame))
    print(commit.table_version, commit.files[0].path, flush=True)
"""


def replace(tables, frame, name="people"):
    return tables.replace(name, frame, columns_of(frame))


def read(tables, commit, name="people"):
    return pl.read_parquet([tables.path(name, file) for file in commit.files])


def test_a_frame_of_every_type_is_read_back_as_it_was_also_by_delta_lake(tables, home):
    commit = replace(tables, FRAME)
    assert read(tables, commit).equals(FRAME)
    assert pl.read_delta(str(home / "tables" / "people"), version=commit.table_version).equals(FRAME)


def test_rows_are_split_into_files_in_order(home):
    tables = Tables(str(home / "tables"), cache=home / "cache", file_rows=2)
    frame = pl.DataFrame({"x": range(7)})
    commit = replace(tables, frame)
    assert [file.rows for file in commit.files] == [2, 2, 2, 1]
    assert read(tables, commit).equals(frame)
    assert DeltaTable(str(home / "tables" / "people")).count() == 7


def test_an_earlier_state_stays_readable_when_rows_and_columns_are_replaced(tables, home):
    first = replace(tables, pl.DataFrame({"x": [1, 2]}))
    second = replace(tables, FRAME)
    third = replace(tables, pl.DataFrame({"x": ["text"]}))
    assert first.table_version < second.table_version < third.table_version
    assert read(tables, first)["x"].to_list() == [1, 2]
    path = str(home / "tables" / "people")
    assert pl.read_delta(path, version=first.table_version)["x"].to_list() == [1, 2]
    assert pl.read_delta(path, version=second.table_version).equals(FRAME)
    assert pl.read_delta(path)["x"].to_list() == ["text"]


def test_writers_in_several_processes_commit_one_after_the_other(home):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    path = home / "tables"
    started = [subprocess.Popen([sys.executable, "-c", WRITE_WHEN_TOLD, str(path), str(one)], **pipes) for one in range(3)]
    assert [process.stdout.readline() for process in started] == ["ready\n"] * 3
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    outcomes = [process.communicate(timeout=120) for process in started]
    assert [error[-1000:] for _, error in outcomes if error] == []
    commits = {int(version): file for out, _ in outcomes for version, file in map(str.split, out.splitlines())}
    assert len(commits) == 15
    assert len(set(commits.values())) == 15
    for version, file in commits.items():
        assert DeltaTable(str(path / "people"), version=version).get_add_actions().column("path").to_pylist() == [file]


def test_a_changed_file_is_refused_with_both_digests(tables):
    commit = replace(tables, FRAME)
    path = tables.path("people", commit.files[0])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityFailure) as error:
        tables.path("people", commit.files[0])
    assert str(path) in error.value.message
    assert error.value.facts["expected"] == commit.files[0].sha256
    path.unlink()
    with pytest.raises(NotFound, match="is missing"):
        tables.path("people", commit.files[0])


def test_a_damaged_log_stops_writers_but_no_reader(tables, home):
    commit = replace(tables, FRAME)
    log = home / "tables" / "people" / "_delta_log" / "00000000000000000001.json"
    log.write_text('{"add": ')
    with pytest.raises(IntegrityFailure, match="cannot be written"):
        replace(tables, FRAME)
    assert read(tables, commit).equals(FRAME)


def test_a_full_disk_is_said_and_leaves_the_table_as_it_was(tables, home, monkeypatch):
    commit = replace(tables, FRAME)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            replace(tables, pl.DataFrame({"x": [1]}))
    assert DeltaTable(str(home / "tables" / "people")).version() == commit.table_version
    assert read(tables, commit).equals(FRAME)
    assert replace(tables, pl.DataFrame({"x": [1]})).table_version == commit.table_version + 1
