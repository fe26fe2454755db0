"""A store of files, tables and dataset versions over them."""

from __future__ import annotations

import pytest

from gateline.data import Datasets, ObjectStore, Tables
from gateline.lineage import Lineage

PEOPLE = b"name,age\nAnn,30\nBob,NA\nCid,40\n"


@pytest.fixture
def objects(home):
    return ObjectStore(home / "objects")


@pytest.fixture
def tables(home):
    return Tables(str(home / "tables"), cache=home / "cache")


@pytest.fixture
def datasets(ledger, objects, tables):
    return Datasets(ledger, objects, Lineage(ledger.records), tables)


@pytest.fixture
def raw(objects):
    return objects.put_bytes(PEOPLE).sha256
