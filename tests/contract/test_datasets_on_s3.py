"""Datasets whose tables lie in an object store keep every promise of those in a folder; held against a local S3 (moto)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from gateline.data import (
    BuildFrom,
    Checkpoints,
    ColumnType,
    Datasets,
    ObjectStore,
    Provenance,
    Reconstructions,
    Retention,
    Source,
    SourceKind,
    Sources,
    Spool,
    Tables,
    VacuumRequest,
)
from gateline.data.reading import columns_of
from gateline.kernel.errors import ConfigurationError, IntegrityFailure, NotFound, Unavailable
from gateline.lineage import Lineage
from tests.support.s3 import BUCKET, KEYS, S3Server

PROVENANCE = Provenance(source="the till", licence="internal")
GIVEN = {"format": "csv", "source": "made for the test", "licence": "CC0-1.0"}
NOW = VacuumRequest(older_than_days=0, orphan_hours=0)
FRAME = pl.DataFrame({"x": [1, 2, 3]})

FEED = """
import json, sys
from pathlib import Path
from gateline.data import Datasets, ObjectStore, Spool, Tables
from gateline.kernel.clock import SystemClock
from gateline.kernel.records import Records
from gateline.ledger import Ledger, SigningKey
from gateline.lineage import Lineage

home, writer, options = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
ledger = Ledger(Records(f"sqlite:///{home / 'only.db'}"), SystemClock(), SigningKey.load_or_create(home / "keys"))
objects = ObjectStore(home / "objects")
tables = Tables("s3://gateline/tables", cache=home / f"cache-{writer}", storage_options=options)
spool = Spool(ledger, Datasets(ledger, objects, Lineage(ledger.records), tables), objects, tables)
print("ready", flush=True)
sys.stdin.readline()
for number in range(5):
    spool.append("till", "sales", [{"n": writer * 100 + number}], key=f"{writer}-{number}")
    spool.commit("sales")
"""


@pytest.fixture
def tables(s3, home):
    return Tables(f"s3://{BUCKET}/tables", cache=home / "cache", storage_options=s3.options())


@pytest.fixture
def objects(home):
    return ObjectStore(home / "objects")


@pytest.fixture
def datasets(sqlite_ledger, objects, tables):
    return Datasets(sqlite_ledger, objects, Lineage(sqlite_ledger.records), tables)


@pytest.fixture
def spool(sqlite_ledger, datasets, objects, tables):
    found = Spool(sqlite_ledger, datasets, objects, tables)
    found.open("developer", "sales", types={"n": ColumnType.INT64}, provenance=PROVENANCE)
    return found


@pytest.fixture
def retention(sqlite_ledger, datasets, objects, tables):
    return Retention(sqlite_ledger, datasets, objects, tables, Lineage(sqlite_ledger.records))


@pytest.fixture
def connections(s3):
    return {"lake": f"s3://{BUCKET}/lake"}


@pytest.fixture
def sources(datasets, objects, connections, clock, s3, monkeypatch):
    for name, value in s3.options().items():  # the connection has no options of its own
        monkeypatch.setenv(name, value)
    return Sources(datasets, objects, connections, clock=clock, variable={}.get)


@pytest.fixture
def reconstructions(sqlite_ledger, datasets, objects, tables, sources):
    return Reconstructions(sqlite_ledger, datasets, objects, tables, sources)


def send(spool, *numbers):
    for number in numbers:
        spool.append("till", "sales", [{"n": number}], key=f"batch-{number}")


def read(datasets, version):
    return pl.read_parquet(datasets.table_paths(version))


def head(s3):
    return sorted(pl.read_delta(f"s3://{BUCKET}/tables/sales", storage_options=s3.options())["n"].to_list())


def keys(s3, prefix):
    return sorted(one["Key"] for one in s3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", []))


def test_rows_are_committed_cut_compacted_and_vacuumed(spool, s3, datasets, retention, clock):
    for number in range(3):
        send(spool, number)
        assert spool.commit("sales") == 1
    first = spool.cut("developer", "sales")
    assert spool.compact("sales") == 3
    assert head(s3) == [0, 1, 2]
    send(spool, 3)
    second = spool.cut("developer", "sales")
    clock.advance(seconds=1)
    assert (len(first.files), len(second.files)) == (3, 2)
    assert retention.vacuum("operator", "sales", NOW).versions == {"sales@1": tuple(file.path for file in first.files)}
    retention.vacuum("operator", "sales", NOW, apply=True)
    assert {key.rpartition("/")[2] for key in keys(s3, "tables/sales/rows-")} == {file.path for file in second.files}
    assert read(datasets, second)["n"].to_list() == [0, 1, 2, 3]
    assert head(s3) == [0, 1, 2, 3]


def test_versions_are_verified_pinned_kept_as_evidence_and_rebuilt(datasets, objects, retention, reconstructions, s3, home):
    versions = []
    for age in (30, 31):
        file = objects.put_bytes(f"name,age\nAnn,{age}\n".encode()).sha256
        versions.append(datasets.register("developer", "people", file=file, **GIVEN))
    datasets.verify("people", 1)
    retention.pin("developer", "people", 1, reason="audit", evidence=True)
    assert retention.vacuum("operator", "people", NOW, apply=True).versions == {}
    path = f"tables/people/{versions[0].files[0].path}"
    s3.client("s3").delete_object(Bucket=BUCKET, Key=path)
    for copy in home.glob("cache/*"):
        copy.unlink()
    assert read(datasets, versions[0])["age"].to_list() == [30]  # from the evidence
    found = reconstructions.reconstruct("developer", "people", 1, build_from=BuildFrom.KEPT, restore=True)
    assert (found.equal, found.restored) == (True, (versions[0].files[0].path,))
    assert keys(s3, path) == [path]
    s3.client("s3").put_object(Bucket=BUCKET, Key=f"tables/people/{versions[1].files[0].path}", Body=b"other")
    for copy in home.glob("cache/*"):
        copy.unlink()
    with pytest.raises(IntegrityFailure, match="people@2 is not what was registered"):
        datasets.verify("people", 2)
    reconstructions.reconstruct("developer", "people", 2, restore=True)
    datasets.verify("people", 2)


def test_a_delta_table_in_the_store_is_fetched_and_read_again_at_its_version(sources, reconstructions, s3, connections):
    uri, options = f"s3://{BUCKET}/lake/events", s3.options()
    write_deltalake(uri, FRAME.to_arrow(), storage_options=options)
    wanted = Source(kind=SourceKind.DELTA, connection="lake", path="events")
    version = sources.fetch("developer", "events", wanted=wanted, provenance=PROVENANCE)
    write_deltalake(uri, FRAME[:1].to_arrow(), mode="overwrite", storage_options=options)
    found = reconstructions.reconstruct("auditor", "events", 1, build_from=BuildFrom.SOURCES, may_fetch=True)
    assert (version.made_of.table_version, found.equal, found.source.state) == (0, True, "equal")
    s3.control(part="/lake/", status=503)
    found = reconstructions.reconstruct("auditor", "events", 1, build_from=BuildFrom.SOURCES, may_fetch=True)
    assert (found.source.state, found.equal) == ("unreachable", False)
    s3.control(status=0)
    for key in keys(s3, "lake/events/"):
        s3.client("s3").delete_object(Bucket=BUCKET, Key=key)
    found = reconstructions.reconstruct("auditor", "events", 1, build_from=BuildFrom.SOURCES, may_fetch=True)
    assert found.source.state == "gone"


def test_logs_get_checkpoints_and_lose_what_nothing_needs(spool, sqlite_ledger, tables, s3, clock):
    checkpoints = Checkpoints(sqlite_ledger, tables, commits=3, log_days=1)
    for number in range(3):
        send(spool, number)
        spool.commit("sales")
    assert checkpoints.reconcile() == 1
    assert tables.checkpointed("sales") == 3
    body = s3.client("s3").get_object(Bucket=BUCKET, Key="tables/sales/_delta_log/_last_checkpoint")["Body"].read()
    assert json.loads(body)["version"] == 3
    clock.advance(seconds=10**9)  # past the clock of the store
    assert checkpoints.checkpoint("sales")["removed"] == 3
    assert [key.rpartition("/")[2][:20] for key in keys(s3, "tables/sales/_delta_log/0")] == [f"{3:020d}"] * 2
    send(spool, 3)
    spool.commit("sales")
    assert head(s3) == [0, 1, 2, 3]
    assert DeltaTable(f"s3://{BUCKET}/tables/sales", storage_options=s3.options()).version() == 4


def test_two_processes_that_feed_one_dataset_lose_and_double_nothing(spool, s3, home, datasets):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    given = [sys.executable, "-c", FEED, str(home)]
    started = [subprocess.Popen([*given, str(writer), json.dumps(s3.options())], **pipes) for writer in (1, 2)]
    assert [process.stdout.readline() for process in started] == ["ready\n"] * 2
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=240)[1][-2000:] for process in started] == ["", ""]
    version = spool.cut("developer", "sales")
    expected = sorted(writer * 100 + number for writer in (1, 2) for number in range(5))
    assert sorted(read(datasets, version)["n"].to_list()) == expected
    assert head(s3) == expected


@pytest.mark.parametrize("part", ["/_delta_log/", "/rows-"], ids=["commit", "file"])
def test_a_store_that_fails_in_a_commit_gives_one_error_and_the_next_commit_heals(spool, s3, datasets, part):
    send(spool, 1)
    spool.commit("sales")
    send(spool, 2, 3)
    s3.control(method="P", part=part, status=503)
    with pytest.raises(Unavailable, match="The object store does not answer for the table s3://gateline/tables/sales"):
        spool.commit("sales")
    assert s3.control(status=0)["failed"] > 0
    assert spool.status("sales")["rows_waiting"] == 2
    assert spool.commit("sales") == 2
    assert head(s3) == [1, 2, 3]
    assert read(datasets, spool.cut("developer", "sales"))["n"].to_list() == [1, 2, 3]


def test_a_store_that_is_down_is_said(home, s3):
    options = s3.options(AWS_ENDPOINT_URL="http://127.0.0.1:1")
    tables = Tables(f"s3://{BUCKET}/tables", cache=home / "cache", storage_options=options)
    for call in (tables.head, tables.stored, tables.checkpoint, lambda name: tables.replace(name, FRAME, columns_of(FRAME))):
        with pytest.raises(Unavailable, match="does not answer for the table s3://gateline/tables/people"):
            call("people")


def test_wrong_credentials_are_said_and_no_secret_shows(home, capfd):
    server = S3Server(INITIAL_NO_AUTH_ACTION_COUNT="4")
    try:
        iam = server.client("iam")
        iam.create_user(UserName="gateline")
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        iam.put_user_policy(UserName="gateline", PolicyName="all", PolicyDocument=json.dumps(policy))
        made = iam.create_access_key(UserName="gateline")["AccessKey"]
        right = {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}
        place = {"cache": home / "cache", "location": f"s3://{BUCKET}/tables"}
        Tables(**place, storage_options=server.options(**right)).replace("people", FRAME, columns_of(FRAME))
        for wrong in ({**right, "AWS_SECRET_ACCESS_KEY": "s3cr3t-and-wrong"}, {**KEYS, "AWS_SECRET_ACCESS_KEY": "s3cr3t-and-wrong"}):
            tables = Tables(**place, storage_options=server.options(**wrong))
            for call in (tables.head, tables.stored, tables.checkpoint, lambda name, to=tables: to.replace(name, FRAME, columns_of(FRAME))):
                with pytest.raises(ConfigurationError, match="refuses the credentials for the table s3://gateline/tables/people") as error:
                    call("people")
                shown = f"{error.value} {error.value.facts} {error.value.__cause__} {capfd.readouterr()}"
                assert "s3cr3t" not in shown
                assert made["SecretAccessKey"] not in shown
    finally:
        server.stop()


def test_no_thread_stands_still_while_the_store_is_waited_for(tables, s3):
    """Each request is held until this thread releases it, which it could not if the waiting thread held the interpreter."""
    done, trouble = threading.Event(), []

    def work():
        try:
            commit = tables.replace("people", FRAME, columns_of(FRAME))
            tables.check_presence("people", commit.files)
            tables.path("people", commit.files[0])
            tables.checkpoint("people")
            tables.stored("people")
            tables.remove("people", commit.files[0].path)
        except Exception as error:
            trouble.append(error)
        finally:
            done.set()

    s3.control(part=f"/{BUCKET}", hold=True)
    thread = threading.Thread(target=work)
    thread.start()
    while not done.wait(0.01):
        s3.control(release=True)
    found = s3.control(hold=False)
    thread.join()
    assert trouble == []
    assert found["held"] > 20
    assert found["expired"] == 0


def test_the_process_that_handles_files_is_started_again_and_ends_with_its_parent(tables):
    commit = tables.replace("people", FRAME, columns_of(FRAME))
    process = tables._place._process
    child = process._child
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert tables.stored("people").keys() == {commit.files[0].path}
    again = process._child
    assert again.pid != child.pid
    with pytest.raises(NotFound):
        tables.path("people", type(commit.files[0])(path="nothing", sha256="0" * 64, size_bytes=1, rows=1))
    again.stdin.close()  # as when the parent dies, however it does
    assert again.wait(timeout=60) == 0
