"""Tables under a URL keep the promises of tables in a folder; held against a local S3 (moto)."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import boto3
import polars as pl
import pytest

from gateline.data import Tables
from gateline.data.reading import columns_of
from gateline.data.tables import Turn
from gateline.kernel.errors import Conflict, IntegrityFailure, NotFound

FRAME = pl.DataFrame({"x": [1, 2, 3], "s": ["a", None, "é"]})


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 in a process of its own: `deltalake` lets no other thread run while it waits for the network."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    found = next(match for line in running.stderr if (match := re.search(r"Running on (http://\S+)", line)))
    threading.Thread(target=running.stderr.read, daemon=True).start()  # the log of requests must not fill the pipe
    yield found[1]
    running.terminate()
    running.wait(timeout=30)
    running.stderr.close()


@pytest.fixture
def store(server: str):
    client = boto3.client("s3", endpoint_url=server, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
    client.create_bucket(Bucket="gateline")
    yield client
    for one in client.list_objects_v2(Bucket="gateline").get("Contents", []):
        client.delete_object(Bucket="gateline", Key=one["Key"])
    client.delete_bucket(Bucket="gateline")


@pytest.fixture(params=["folder", "s3"])
def tables(request, home, server) -> Tables:
    if request.param == "folder":
        return Tables(str(home / "tables"), cache=home / "cache", file_rows=2)
    request.getfixturevalue("store")
    options = {
        "AWS_ENDPOINT_URL": server, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ALLOW_HTTP": "true", "AWS_CONDITIONAL_PUT": "etag",
    }  # fmt: skip
    return Tables("s3://gateline/tables", cache=home / "cache", storage_options=options, file_rows=2)


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
