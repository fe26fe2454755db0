"""Datasets registered before they were Delta tables stay what they were."""

from __future__ import annotations

import io

import polars as pl
import pytest
from alembic import command
from alembic.config import Config

import gateline
from gateline.data import Column, ColumnType, Datasets, ObjectStore, Tables
from gateline.kernel.canonical import canonical_bytes, digest
from gateline.kernel.errors import IntegrityFailure
from gateline.ledger import Ledger, SigningKey
from gateline.lineage import Lineage

FRAME = pl.DataFrame({"x": [1, 2]})


@pytest.fixture
def objects(home):
    return ObjectStore(home / "objects")


@pytest.fixture
def datasets(unmigrated_records, clock, home, objects):
    """The dataset `old@1` in the schema of revision 0001, brought to the newest."""
    config = Config()
    config.set_main_option("script_location", f"{gateline.__path__[0]}/migrations")
    with unmigrated_records.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    content = io.BytesIO()
    FRAME.write_parquet(content)
    table, raw = objects.put_bytes(content.getvalue()).as_dict(), objects.put_bytes(b"x\n1\n2\n").as_dict()
    schema = [Column(name="x", dtype=ColumnType.INT64, nullable=False).as_dict()]
    options = {"format": "csv", "null_values": [], "types": {}}
    provenance = {"source": "before", "licence": "CC0-1.0", "description": "", "purpose": ""}
    content = {
        "format": 1, "raw": raw, "table": table, "schema": schema, "row_count": 2, "options": options, "provenance": provenance,
    }  # fmt: skip
    fields = {
        "id": "old@1", "name": "old", "version": 1, "digest": digest("dataset.version", content), "request_digest": "r", "schema": schema,
        "row_count": 2, "profile": {}, "options": options, "provenance": provenance, "raw": raw, "table": table, "created_at": 7,
        "created_by": "developer",
    }  # fmt: skip
    stored = {name: value if isinstance(value, str | int) else canonical_bytes(value).decode() for name, value in fields.items()}
    names = ", ".join(f'"{name}"' for name in stored)
    with unmigrated_records.engine.begin() as connection:
        from sqlalchemy import text

        connection.execute(text(f"INSERT INTO dataset_version ({names}) VALUES ({', '.join(':' + name for name in stored)})"), stored)
    unmigrated_records.migrate()
    ledger = Ledger(unmigrated_records, clock, SigningKey.load_or_create(home / "keys"))
    with ledger.transaction("developer") as tx:
        tx.record("dataset.version.registered", "old@1", {"digest": fields["digest"]})
    return Datasets(ledger, objects, Lineage(unmigrated_records), Tables(str(home / "tables"), cache=home / "cache"))


def test_a_version_from_before_tables_is_read_from_the_object_store_and_verifies(datasets, objects):
    version = datasets.verify("old")
    assert (version.table_version, version.as_of, version.made_of.as_dict()) == (-1, 7, {"kind": "file"})
    assert pl.read_parquet(datasets.table_paths(version)).equals(FRAME)
    path = objects.path(version.files[0].sha256)
    path.chmod(0o644)
    path.write_bytes(b"other")
    with pytest.raises(IntegrityFailure, match="table file 1"):
        datasets.verify("old")


def test_its_dataset_goes_on_with_tables(datasets):
    again = datasets.register("developer", "old", file=datasets.get("old").raw.sha256, format="csv", source="now", licence="CC0-1.0")
    assert (again.id, again.table_version) == ("old@2", 1)
    assert pl.read_parquet(datasets.table_paths(again)).equals(FRAME)
