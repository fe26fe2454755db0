"""A store of files, tables and dataset versions over them."""

from __future__ import annotations

import pytest

from gateline.data import Datasets, ObjectStore, Reconstructions, Sources, Tables
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
def connections():
    """The connections that the operator named; a test may add to them."""
    return {}


@pytest.fixture
def variables():
    """The variables that secrets are looked up in."""
    return {}


@pytest.fixture
def sources(datasets, objects, connections, clock, variables):
    return Sources(datasets, objects, connections, clock=clock, variable=variables.get)


@pytest.fixture
def reconstructions(ledger, datasets, objects, tables, sources):
    return Reconstructions(ledger, datasets, objects, tables, sources)


@pytest.fixture
def raw(objects):
    return objects.put_bytes(PEOPLE).sha256
