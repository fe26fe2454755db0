from __future__ import annotations

import sqlite3
import traceback
from datetime import UTC, date, datetime

import polars as pl
import psycopg
import pytest
from deltalake import DeltaTable, write_deltalake

from gateline.data import Provenance, Reconstructions, Source, SourceKind, Sources
from gateline.kernel.errors import ConfigurationError, GatelineError, InvalidInput, NotFound, Unavailable

PROVENANCE = Provenance(source="made for the test", licence="CC0-1.0")
QUERY = "SELECT name, age FROM people ORDER BY age"


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE people (name TEXT, age INTEGER, height REAL)")
        connection.executemany("INSERT INTO people VALUES (?, ?, ?)", [("Ann", 30, 1.7), ("Bob", None, 1.8), ("Cid", 40, None)])
    connection.close()
    return path


@pytest.fixture
def lake(tmp_path):
    path = tmp_path / "lake"
    frame = pl.DataFrame({"day": [date(2020, 1, 1), None], "x": [1, 2]})
    write_deltalake(str(path / "events"), frame.to_arrow())
    write_deltalake(str(path / "events"), frame.to_arrow(), mode="append")
    return path


@pytest.fixture
def variables(database):
    return {"SHOP": f"sqlite:///{database}", "PW": "s3cr3t/pass"}


@pytest.fixture
def sources(sqlite_ledger, objects, tables, clock, variables, lake, datasets):
    connections = {
        "shop": "secret://env/SHOP", "lake": str(lake), "nowhere": "postgresql+psycopg://me:secret://env/PW@127.0.0.1:1/db?connect_timeout=2",
        "unset": "secret://env/MISSING", "nonsense": "nonsense", "other": "fantasy://x:secret://env/PW@y",
    }  # fmt: skip
    return Sources(datasets, objects, connections, clock=clock, variable=variables.get)


def sql(query=QUERY, connection="shop"):
    return Source(kind=SourceKind.SQL, connection=connection, query=query)


def delta(path="events", version=None, connection="lake"):
    return Source(kind=SourceKind.DELTA, connection=connection, path=path, table_version=version)


def fetch(sources, wanted, **options):
    return sources.fetch("developer", "people", wanted=wanted, provenance=PROVENANCE, **options)


def read(datasets, version):
    return pl.read_parquet(datasets.table_paths(version))


def test_the_rows_of_a_query_become_a_version_with_their_types(sources, datasets, clock, ledger):
    version = fetch(sources, sql("SELECT * FROM people ORDER BY name"))
    assert read(datasets, version).rows() == [("Ann", 30, 1.7), ("Bob", None, 1.8), ("Cid", 40, None)]
    assert version.types == {"name": "string", "age": "int64", "height": "float64"}
    assert version.made_of.as_dict() == {"kind": "sql", "connection": "shop", "query": "SELECT * FROM people ORDER BY name"}
    assert version.as_of == clock.now()
    (entry,) = ledger.entries(kind="dataset.version.registered")
    assert entry.payload["made_of"] == version.made_of.as_dict()


def test_equal_rows_are_the_same_version_and_other_rows_the_next(sources, database):
    first = fetch(sources, sql())
    assert fetch(sources, sql()) == first
    with sqlite3.connect(database) as connection:
        connection.execute("INSERT INTO people VALUES ('Dan', 50, 1.9)")
    connection.close()
    assert fetch(sources, sql()).id == "people@2"


def test_a_fetched_version_is_rebuilt_without_its_source(sources, datasets, ledger, objects, tables, database):
    version = fetch(sources, sql())
    database.unlink()
    for path in datasets.table_paths(version):
        path.unlink()
    rebuilding = Reconstructions(ledger, datasets, objects, tables, sources)
    found = rebuilding.reconstruct("developer", "people", 1, restore=True)
    assert (found.equal, len(found.restored)) == (True, 1)
    assert read(datasets, version).height == 3


def test_a_query_cannot_write(sources, database):
    with pytest.raises(GatelineError):
        fetch(sources, sql("DELETE FROM people RETURNING name"))
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (3,)
    connection.close()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT * FROM animals", "no such table"),
        ("SELECT name FROM people WHERE age > 100", "holds no rows"),
        ("SELECT age, age FROM people", "repeats the columns 'age'"),
        ("SELECT name FROM people; SELECT 1", "one statement"),
        ("", "A query is needed"),
    ],
)
def test_a_query_that_gives_no_table_says_why(sources, query, says):
    with pytest.raises(GatelineError, match=says):
        fetch(sources, sql(query))


def test_mixed_types_are_not_widened(sources, database):
    with sqlite3.connect(database) as connection:
        connection.execute("INSERT INTO people VALUES ('Dan', 'old', 1.9)")
    connection.close()
    with pytest.raises(InvalidInput, match="'age' holds int and str"):
        fetch(sources, sql())


def test_columns_that_are_missing_in_a_whole_batch_keep_their_type(sources, database, datasets, monkeypatch):
    monkeypatch.setattr("gateline.data.from_sql._BATCH_ROWS", 1)
    version = fetch(sources, sql("SELECT name, age FROM people ORDER BY age"))
    assert read(datasets, version).rows() == [("Bob", None), ("Ann", 30), ("Cid", 40)]
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE people SET age = 1.5 WHERE name = 'Cid'")
    connection.close()
    with pytest.raises(InvalidInput, match="'age' holds float and int"):
        fetch(sources, sql())


def test_a_connection_that_nobody_configured_is_not_reached(sources, sqlite_ledger):
    for text in ("sqlite:////etc/passwd", "postgresql://me:secret://env/PW@evil/db", "secret://env/PW", ""):
        with pytest.raises(NotFound, match="There is no connection"):
            fetch(sources, sql(connection=text))
        with pytest.raises(NotFound, match="There is no connection"):
            fetch(sources, delta(connection=text))


@pytest.mark.parametrize("connection", ["nowhere", "other", "nonsense"])
def test_no_secret_shows_in_an_error(sources, connection, caplog):
    with pytest.raises((Unavailable, InvalidInput)) as error:
        fetch(sources, sql(connection=connection))
    shown = "".join(traceback.format_exception(error.value)) + str(error.value.facts) + caplog.text
    assert "s3cr3t" not in shown


def test_a_secret_that_is_not_set_is_named(sources):
    with pytest.raises(ConfigurationError, match="secret://env/MISSING is not set"):
        fetch(sources, sql(connection="unset"))


def test_a_delta_table_is_read_at_its_newest_or_at_a_given_version(sources, datasets):
    newest, first = fetch(sources, delta()), fetch(sources, delta(version=0))
    assert (newest.row_count, first.row_count) == (4, 2)
    assert (newest.made_of.table_version, first.made_of.table_version) == (1, 0)
    assert read(datasets, first).rows() == [(date(2020, 1, 1), 1), (None, 2)]


def test_a_query_takes_no_table_version(sources):
    with pytest.raises(InvalidInput, match="Version 3 of a Delta table is given, but a query reads no such table"):
        fetch(sources, Source(kind=SourceKind.SQL, connection="shop", query=QUERY, table_version=3))


def test_partitions_are_read_with_their_values(sources, datasets, lake):
    frame = pl.DataFrame(
        {"day": [date(2020, 1, 1), None, date(2020, 1, 2)], "code": [7, None, 9], "name": ["a/b=c d", None, "é%"], "x": [1, 2, 3]}
    )
    write_deltalake(str(lake / "parts"), frame.to_arrow(), partition_by=["day", "code", "name"])
    assert read(datasets, fetch(sources, delta("parts"))).sort("x").select(frame.columns).equals(frame)


def test_a_table_with_deletion_vectors_or_column_mapping_is_refused(sources, lake):
    for name, feature, configuration in (
        ("vectors", "deletionVectors", {"delta.enableDeletionVectors": "true"}),
        ("mapping", "columnMapping", {"delta.columnMapping.mode": "name"}),
    ):
        path = lake / name
        write_deltalake(str(path), pl.DataFrame({"x": [1]}).to_arrow())
        log = path / "_delta_log" / "00000000000000000001.json"
        from json import dumps, loads

        first = [loads(line) for line in (path / "_delta_log" / "00000000000000000000.json").read_text().splitlines()]
        meta = next(line["metaData"] for line in first if "metaData" in line) | {"configuration": configuration}
        protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [feature], "writerFeatures": [feature]}
        log.write_text("\n".join(dumps(line) for line in ({"protocol": protocol}, {"metaData": meta})) + "\n")
        with pytest.raises(GatelineError) as error:
            fetch(sources, delta(name))
        assert feature.lower() in str(error.value).lower() or "mapping" in str(error.value).lower()


@pytest.mark.parametrize("path", ["../lake/events", "/etc", "..", "", "events/../../lake/events", "s3://other/bucket", "a\\b"])
def test_a_path_that_leads_out_of_the_connection_is_refused(sources, path):
    with pytest.raises(InvalidInput, match="is no path below the connection"):
        fetch(sources, delta(path))


def test_a_link_that_leads_out_of_the_connection_is_refused(sources, lake, tmp_path):
    write_deltalake(str(tmp_path / "secret"), pl.DataFrame({"x": [1]}).to_arrow())
    (lake / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidInput, match="leads out of the connection"):
        fetch(sources, delta("link"))


def test_a_log_that_names_files_elsewhere_is_refused(sources, lake, tmp_path):
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "secret.parquet")
    path = lake / "events" / "_delta_log" / "00000000000000000001.json"
    text = path.read_text()
    name = DeltaTable(str(lake / "events")).get_add_actions().column("path").to_pylist()[0]
    path.write_text(text.replace(name, "../../secret.parquet"))
    if "../../secret" not in path.read_text():
        first = lake / "events" / "_delta_log" / "00000000000000000000.json"
        first.write_text(first.read_text().replace(name, "../../secret.parquet"))
    with pytest.raises(GatelineError):
        fetch(sources, delta())


def test_a_table_that_is_not_there_is_said(sources):
    with pytest.raises(NotFound, match="cannot be read"):
        fetch(sources, delta("nothing"))
    with pytest.raises(NotFound, match="cannot be read"):
        fetch(sources, delta(version=99))


def test_types_of_postgresql_are_kept(postgresql, objects, datasets, clock):
    name = postgresql.create()
    try:
        sources = Sources(
            datasets, objects, {"pg": postgresql.url(name).replace("postgresql://", "postgresql+psycopg://")}, clock=clock, variable={}.get
        )
        query = (
            "SELECT 9007199254740993::bigint AS n, 'é'::text AS s, true AS b, DATE '2020-02-29' AS d, 0.1::float8 AS f, "
            "TIMESTAMPTZ '2020-01-01 00:00:00.000001+05' AS t, TIMESTAMP '2020-01-01 10:00' AS w"
        )
        version = fetch(sources, sql(query, "pg"))
        assert read(datasets, version).row(0) == (
            9007199254740993, "é", True, date(2020, 2, 29), 0.1, datetime(2019, 12, 31, 19, 0, 0, 1, tzinfo=UTC), datetime(2020, 1, 1, 10),
        )  # fmt: skip
        with pytest.raises(InvalidInput, match="Decimal"):
            fetch(sources, sql("SELECT 1.10::numeric AS price", "pg"))
        with psycopg.connect(postgresql.url(name)) as connection:
            connection.execute("CREATE SEQUENCE counter")
        with pytest.raises(GatelineError, match="read-only"):
            fetch(sources, sql("SELECT nextval('counter') AS n", "pg"))
    finally:
        postgresql.drop(name)
