"""Building versions again: from raw rows that were kept, and from sources of every kind."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import psycopg
import pytest
from deltalake import DeltaTable, write_deltalake

from gateline.data import BuildFrom, ColumnType, Provenance, Retention, Source, SourceKind, SourceState, Spool
from gateline.kernel.clock import DAY, SECOND, iso
from gateline.kernel.errors import Denied, InvalidInput, NotFound
from gateline.lineage import Lineage

GIVEN = {"source": "made for the test", "licence": "CC0-1.0"}
AS_OF = "SELECT name, age FROM people WHERE known_at <= :as_of ORDER BY name"
FRAME = pl.DataFrame({"name": ["Ann", "Bob"], "age": [30, 40]})


@pytest.fixture
def versions(datasets, objects):
    """Two versions of `people`, whose file lay at /data/people.csv."""
    files = [objects.put_bytes(f"name,age\nAnn,{age}\nBob,40\n".encode()).sha256 for age in (30, 31)]
    return [datasets.register("developer", "people", file=file, format="csv", origin="/data/people.csv", **GIVEN) for file in files]


@pytest.fixture
def shop(tmp_path, connections):
    """A database whose people became known one day after the other, from 2013-01-01 on."""
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE people (name TEXT, age INTEGER, known_at TEXT)")
        rows = [("Ann", 30, "2013-01-01 00:00:00.000000"), ("Bob", 40, "2013-01-02 00:00:00.000000")]
        connection.executemany("INSERT INTO people VALUES (?, ?, ?)", rows)
    connection.close()
    connections["shop"] = f"sqlite:///{path}"
    return path


@pytest.fixture
def lake(tmp_path, connections):
    connections["lake"] = str(tmp_path / "lake")
    write_deltalake(str(tmp_path / "lake" / "people"), FRAME.to_arrow())
    return tmp_path / "lake" / "people"


def execute(path, statement):
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def path_of(home, version) -> Path:
    return home / "tables" / "people" / version.files[0].path


def fetch(sources, *, query="", path="", **named):
    kind = SourceKind.SQL if query else SourceKind.DELTA
    wanted = Source(kind=kind, connection="shop" if query else "lake", query=query, path=path, **named)
    return sources.fetch("developer", "people", wanted=wanted, provenance=Provenance(**GIVEN))


def rebuild(reconstructions, build_from=BuildFrom.SOURCES, version=1, **named):
    return reconstructions.reconstruct("auditor", "people", version, build_from=build_from, may_fetch=True, **named)


# ---- from the rows that were kept


def test_a_version_is_built_again_from_its_raw_rows_and_is_equal(reconstructions, versions, ledger):
    found = rebuild(reconstructions, BuildFrom.KEPT)
    assert (found.version, found.equal, found.differences, found.built_from, found.source) == ("people@1", True, (), "kept", None)
    (entry,) = ledger.entries(kind="dataset.version.reconstructed")
    assert (entry.subject, entry.actor, entry.payload["equal"]) == ("people@1", "auditor", True)
    assert entry.payload["logical_digest"] == versions[0].logical_digest


def test_what_differs_is_said(reconstructions, versions, ledger):
    with ledger.records.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE dataset_version SET raw = (SELECT raw FROM dataset_version WHERE id = 'people@2') WHERE id = 'people@1'"
        )
        connection.exec_driver_sql("UPDATE dataset_version SET row_count = 3 WHERE id = 'people@1'")
    found = rebuild(reconstructions, BuildFrom.KEPT, restore=True)
    assert not found.equal
    assert found.differences[0] == "2 rows instead of 3"
    assert found.differences[1].startswith("logical digest ")
    assert found.restored == ()


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"other")], ids=["missing", "damaged"])
def test_missing_and_damaged_files_are_written_again_byte_for_byte(reconstructions, versions, datasets, home, damage):
    whole = path_of(home, versions[0]).read_bytes()
    damage(path_of(home, versions[0]))
    found = rebuild(reconstructions, BuildFrom.AUTO)
    assert (found.equal, found.restored) == (True, ())
    found = rebuild(reconstructions, BuildFrom.AUTO, restore=True)
    assert (found.restored, found.unrestorable) == ((versions[0].files[0].path,), ())
    assert path_of(home, versions[0]).read_bytes() == whole
    datasets.verify("people", 1)


def test_files_that_rows_no_longer_give_byte_for_byte_come_from_evidence_or_are_named(
    reconstructions, versions, datasets, objects, tables, home, ledger
):
    Retention(ledger, datasets, objects, tables, Lineage(ledger.records)).pin("developer", "people", 2, reason="audit", evidence=True)
    for version in versions[:2]:
        path_of(home, version).unlink()
    with ledger.records.engine.begin() as connection:  # as if another Polars had written it
        connection.exec_driver_sql(f"UPDATE dataset_file SET sha256 = '{'0' * 64}' WHERE version_id = 'people@1'")
    found = rebuild(reconstructions, BuildFrom.AUTO, restore=True)
    assert (found.equal, found.restored, found.unrestorable) == (True, (), (versions[0].files[0].path,))
    assert not path_of(home, versions[0]).exists()
    assert rebuild(reconstructions, BuildFrom.AUTO, 2, restore=True).restored == (versions[1].files[0].path,)


def test_a_version_whose_raw_rows_are_gone_says_so(reconstructions, versions, objects, ledger):
    objects.path(versions[0].raw_sha256).unlink()
    with pytest.raises(NotFound, match=versions[0].raw_sha256):
        rebuild(reconstructions, BuildFrom.KEPT)
    found = rebuild(reconstructions, BuildFrom.AUTO, file="missing")
    assert (found.equal, found.built_from, found.source.state) == (False, "kept", "gone")
    assert versions[0].raw_sha256 in found.differences[0]
    assert ledger.entries(kind="dataset.version.reconstructed")[-1].payload["source"]["state"] == "gone"


# ---- from files


def written(frame, format):
    content = io.BytesIO()
    {"csv": frame.write_csv, "parquet": frame.write_parquet, "arrow": frame.write_ipc, "jsonl": frame.write_ndjson}[format](content)
    return content.getvalue()


@pytest.mark.parametrize("format", ["csv", "parquet", "arrow", "jsonl"])
def test_a_file_that_is_found_again_gives_the_version_and_a_changed_one_says_what_changed(
    reconstructions, datasets, objects, ledger, format
):
    file = objects.put_bytes(written(FRAME, format))
    datasets.register("developer", "people", file=file.sha256, format=format, **GIVEN)
    found = rebuild(reconstructions, file=file.sha256)
    assert (found.equal, found.built_from, found.source.state) == (True, "sources", SourceState.EQUAL)
    assert f"the file is the one that was registered, SHA-256 {file.sha256}" in found.source.sentence
    more = pl.concat([FRAME[:1], pl.DataFrame({"name": ["Cid", "Dan"], "age": [50, 60]})])
    changed = objects.put_bytes(written(more, format)).sha256
    found = rebuild(reconstructions, file=changed)
    assert (found.equal, found.source.state) == (False, SourceState.DIFFERENT)
    assert found.differences[:3] == (
        f"SHA-256 {changed} instead of {file.sha256}", "2 rows are only in the source now, 1 only in the version", "3 rows instead of 2",
    )  # fmt: skip
    assert (found.source.diff.rows_before, found.source.diff.rows_after) == (2, 3)
    payload = ledger.entries(kind="dataset.version.reconstructed")[-1].payload
    assert (payload["equal"], payload["source"]["differences"]) == (False, list(found.differences))
    assert "Cid" not in json.dumps(payload)


def test_other_bytes_with_equal_rows_are_equal_and_say_so(reconstructions, versions, objects):
    other = objects.put_bytes(b"name,age\nBob,40\nAnn,30\n").sha256
    found = rebuild(reconstructions, file=other)
    assert (found.equal, found.source.state) == (True, "equal")
    assert f"the file changed; SHA-256 {other} instead of {versions[0].raw_sha256}" == found.source.sentence


def test_other_columns_and_a_cut_off_file_are_said(reconstructions, versions, objects):
    found = rebuild(reconstructions, file=objects.put_bytes(b"name,age,zip\nAnn,x,1\nBob,y,2\n").sha256)
    assert "the columns age, zip differ" in found.differences
    assert [column.name for column in found.source.diff.added] == ["zip"]
    found = rebuild(reconstructions, file=objects.put_bytes(b"name,age\nAnn,30\nBob").sha256)
    assert (found.source.state, found.equal) == ("different", False)
    assert "ends in the middle of a row" in found.differences[1]


@pytest.mark.parametrize(
    ("file", "state", "says"),
    [
        ("missing", "gone", "there is no file /data/people.csv on the machine of auditor"),
        ("changed", "different", "the file /data/people.csv on the machine of auditor has another SHA-256"),
        ("", "not_read", "nobody looked at /data/people.csv"),
    ],
)
def test_a_file_that_is_not_there_or_was_not_looked_at_is_a_verdict(reconstructions, versions, file, state, says):
    found = rebuild(reconstructions, file=file)
    assert (found.equal, found.source.state) == (False, state)
    assert says in f"{found.source.sentence} {found.source.differences}"
    assert "--file" in found.source.next_step
    found = rebuild(reconstructions, BuildFrom.AUTO, file=file)
    assert (found.equal, found.built_from, found.source.state) == (True, "kept", state)


def test_a_version_from_before_places_were_recorded_says_so(reconstructions, datasets, raw):
    datasets.register("developer", "people", file=raw, format="csv", **GIVEN)
    found = rebuild(reconstructions)
    assert (found.equal, found.source.state) == (False, "not_recorded")
    assert "does not say where its file lay" in found.source.sentence


def test_where_a_file_lay_does_not_make_another_version(datasets, raw, ledger):
    first = datasets.register("developer", "people", file=raw, format="csv", origin="/here.csv", **GIVEN)
    again = datasets.register("developer", "people", file=raw, format="csv", origin="/there.csv", **GIVEN)
    assert again == first
    assert datasets.verify("people").made_of.origin == "/here.csv"
    with pytest.raises(InvalidInput, match="origin"):
        datasets.register("developer", "people", file=raw, format="csv", origin="x" * 10_001, **GIVEN)


def test_raw_rows_that_were_lost_come_back_with_the_file(reconstructions, versions, objects, datasets):
    objects.path(versions[0].raw_sha256).unlink()
    file = objects.put_bytes(b"name,age\nAnn,30\nBob,40\n").sha256
    assert rebuild(reconstructions, file=file).equal
    datasets.verify("people", 1)


# ---- from SQL


def test_a_query_is_read_again_as_of_the_recorded_time(reconstructions, sources, shop, clock):
    clock.advance(seconds=DAY / SECOND * 1.5)
    version = fetch(sources, query=AS_OF)
    assert (version.row_count, version.made_of.as_of, version.as_of) == (2, clock.now(), clock.now())
    clock.advance(seconds=10 * DAY / SECOND)
    execute(shop, "INSERT INTO people VALUES ('Cid', 50, '2013-01-05 00:00:00.000000')")
    found = rebuild(reconstructions)
    assert (found.equal, found.source.state) == (True, "equal")
    assert "as of 2013-01-02T12:00:00.000000Z" in found.source.sentence
    assert fetch(sources, query=AS_OF).row_count == 3
    execute(shop, "UPDATE people SET age = 31 WHERE name = 'Ann'")
    found = rebuild(reconstructions)
    assert found.differences[0] == "1 rows are only in the source now, 1 only in the version"


def test_a_time_may_be_given_and_needs_a_place_in_the_query(sources, shop, clock):
    version = fetch(sources, query=AS_OF, as_of=clock.now() + SECOND)
    assert (version.row_count, version.made_of.as_of) == (1, clock.now() + SECOND)
    assert fetch(sources, query=AS_OF, as_of=clock.now() + 2 * SECOND) == version  # equal rows are the same version
    with pytest.raises(InvalidInput, match="no parameter :as_of"):
        fetch(sources, query="SELECT name FROM people", as_of=clock.now())
    with pytest.raises(InvalidInput, match="parameters :other"):
        fetch(sources, query="SELECT name FROM people WHERE name = :other")


def test_a_query_without_a_time_is_compared_as_it_is_today(reconstructions, sources, shop):
    fetch(sources, query="SELECT name, age FROM people")
    found = rebuild(reconstructions)
    assert found.equal
    assert "has no :as_of, so that the source can be compared only as it is now" in found.source.sentence
    execute(shop, "DELETE FROM people WHERE name = 'Bob'")
    found = rebuild(reconstructions)
    assert (found.equal, found.source.state) == (False, "different")
    assert found.differences[:2] == ("0 rows are only in the source now, 1 only in the version", "1 rows instead of 2")
    found = rebuild(reconstructions, BuildFrom.AUTO)
    assert (found.equal, found.built_from, found.source.state) == (True, "kept", "different")


def test_a_query_that_runs_no_more_or_a_connection_that_is_gone_is_a_verdict(reconstructions, sources, shop, connections, variables):
    fetch(sources, query=AS_OF)
    execute(shop, "DROP TABLE people")
    found = rebuild(reconstructions)
    assert (found.source.state, found.equal) == ("gone", False)
    assert "no such table" in found.source.sentence
    assert "--from kept" in found.source.next_step
    for location, state, says in (
        ("postgresql+psycopg://me:s3cr3t@127.0.0.1:1/db?connect_timeout=2", "unreachable", "does not answer"),
        ("secret://env/MISSING", "unreachable", "secret://env/MISSING is not set"),
        (None, "gone", "There is no connection 'shop'"),
    ):
        connections.update({"shop": location}) if location else connections.clear()
        found = rebuild(reconstructions)
        assert (found.source.state, "s3cr3t" in str(found.as_dict())) == (state, False)
        assert says in found.source.sentence


def test_a_file_that_nobody_would_look_at_is_refused(reconstructions, versions, sources, shop, objects):
    file = objects.put_bytes(b"name,age\n").sha256
    fetched = fetch(sources, query="SELECT name, age FROM people")
    with pytest.raises(InvalidInput, match="people@3 was made of a query, and a file is given"):
        rebuild(reconstructions, BuildFrom.AUTO, version=fetched.version, file=file)
    with pytest.raises(InvalidInput, match="The kept rows are asked for, and a file is given"):
        rebuild(reconstructions, BuildFrom.KEPT, file=file)


def test_lost_raw_rows_are_put_back_when_the_source_gives_their_bytes(reconstructions, sources, shop, objects, datasets, ledger):
    version = fetch(sources, query=AS_OF)
    objects.path(version.raw_sha256).unlink()
    assert [rebuild(reconstructions).source.raw_restored for _ in range(2)] == [True, False]
    datasets.verify("people")
    entries = ledger.entries(kind="dataset.version.reconstructed")
    assert [entry.payload["source"]["raw_restored"] for entry in entries] == [True, False]


def test_reading_a_connection_takes_its_own_permission(reconstructions, sources, shop):
    fetch(sources, query=AS_OF)
    with pytest.raises(Denied, match="dataset:fetch"):
        reconstructions.reconstruct("auditor", "people", 1, build_from=BuildFrom.SOURCES)
    found = reconstructions.reconstruct("auditor", "people", 1)
    assert (found.equal, found.built_from, found.source.state) == (True, "kept", "not_read")


def test_postgresql_binds_the_time_with_its_zone(postgresql, reconstructions, sources, connections, clock):
    name = postgresql.create()
    try:
        connections["shop"] = postgresql.url(name).replace("postgresql://", "postgresql+psycopg://")
        with psycopg.connect(postgresql.url(name)) as connection:
            connection.execute(f"ALTER DATABASE {name} SET timezone TO 'Asia/Tokyo'")
            connection.execute("CREATE TABLE people (name text, zoned timestamptz, plain timestamp)")
            known = datetime(2013, 1, 1, tzinfo=UTC)
            connection.execute("INSERT INTO people VALUES ('Ann', %s, %s)", (known, known.replace(tzinfo=None)))
            connection.execute("INSERT INTO people VALUES ('Bob', %s, %s)", (known.replace(hour=1), known.replace(hour=1, tzinfo=None)))
        for column in ("zoned", "plain"):
            version = fetch(sources, query=f"SELECT name, '{column}' AS c FROM people WHERE {column} <= :as_of", as_of=clock.now())
            assert version.row_count == 1
            assert rebuild(reconstructions, version=version.version).equal
    finally:
        postgresql.drop(name)


# ---- from Delta tables


def test_a_delta_table_is_read_again_at_the_recorded_version(reconstructions, sources, lake):
    version = fetch(sources, path="people")
    write_deltalake(str(lake), FRAME[:1].to_arrow(), mode="overwrite")
    found = rebuild(reconstructions)
    assert (found.equal, found.source.state) == (True, "equal")
    assert "version 0 of the Delta table 'people' of 'lake'" in found.source.sentence
    assert version.made_of.table_id == str(DeltaTable(str(lake)).metadata().id)


def commit_daily(lake, count):
    """Append to the table, and let each of its first versions be a day older than the next one; return when each was committed."""
    now = DeltaTable(str(lake)).history()[0]["timestamp"] * 1000
    for _ in range(1, count):
        write_deltalake(str(lake), FRAME.to_arrow(), mode="append")
    times = [now - (count - version) * DAY for version in range(count)]
    for path, at in zip(sorted(lake.glob("_delta_log/*.json")), times, strict=True):
        os.utime(path, ns=(at * 1000, at * 1000))
    return times


def test_a_time_chooses_the_delta_version(reconstructions, sources, lake):
    times = commit_daily(lake, 3)
    for number, at in enumerate(times):
        version = fetch(sources, path="people", as_of=at + DAY // 2)
        assert (version.made_of.table_version, version.row_count) == (number, 2 * (number + 1))
        assert fetch(sources, path="people", as_of=at).made_of.table_version == number
        assert rebuild(reconstructions, version=version.version).equal
    with pytest.raises(InvalidInput, match=f"the earliest version that its log leads to is of {iso(times[0])}"):
        fetch(sources, path="people", as_of=times[0] - 1)
    with pytest.raises(InvalidInput, match="both given"):
        fetch(sources, path="people", as_of=times[0], table_version=0)


def test_a_time_before_the_versions_that_were_kept_is_refused(sources, lake):
    times = commit_daily(lake, 5)
    DeltaTable(str(lake), version=3).create_checkpoint()
    for number in (0, 1):
        (lake / "_delta_log" / f"{number:020d}.json").unlink(missing_ok=True)
    for at in (times[0], times[2], times[3] - 1):
        with pytest.raises(InvalidInput, match=f"leads to is of {iso(times[3])}"):
            fetch(sources, path="people", as_of=at)
    assert [fetch(sources, path="people", as_of=at).made_of.table_version for at in times[3:]] == [3, 4]


def test_a_version_whose_files_or_log_are_gone_is_a_verdict(reconstructions, sources, lake):
    fetch(sources, path="people")
    write_deltalake(str(lake), FRAME[:1].to_arrow(), mode="overwrite")
    next(lake.glob("*.parquet"))
    for path in lake.glob("*.parquet"):
        if path.name not in DeltaTable(str(lake)).get_add_actions().column("path").to_pylist():
            path.unlink()
    found = rebuild(reconstructions)
    assert (found.equal, found.source.state) == (False, "gone")
    assert "cannot be read" in found.source.sentence
    DeltaTable(str(lake)).create_checkpoint()
    (lake / "_delta_log" / "00000000000000000000.json").unlink()
    assert rebuild(reconstructions).source.state == "gone"
    shutil.rmtree(lake)
    assert rebuild(reconstructions).source.state == "gone"
    assert rebuild(reconstructions, BuildFrom.AUTO).equal


def test_a_table_that_was_made_anew_is_another_table(reconstructions, sources, lake):
    fetch(sources, path="people")
    shutil.rmtree(lake)
    write_deltalake(str(lake), FRAME.with_columns(pl.col("age") + 1).to_arrow())
    found = rebuild(reconstructions)
    assert (found.equal, found.source.state) == (False, "different")
    assert "it is another table now" in found.source.sentence


def test_rows_that_were_sent_have_no_source_but_what_was_kept(reconstructions, ledger, datasets, objects, tables):
    spool = Spool(ledger, datasets, objects, tables)
    spool.open("developer", "people", types={"n": ColumnType.INT64}, provenance=Provenance(**GIVEN))
    spool.append("till", "people", [{"n": 1}], key="a")
    spool.cut("developer", "people")
    found = rebuild(reconstructions)
    assert (found.equal, found.source.state) == (False, "not_recorded")
    assert rebuild(reconstructions, BuildFrom.AUTO).equal
