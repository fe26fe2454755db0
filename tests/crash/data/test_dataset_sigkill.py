"""A process is killed between the steps of registering and of removing; what was acknowledged stays, the rest is harmless."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import polars as pl
import pytest

from gateline.data import Datasets, ObjectStore, Reconstructions, Retention, Sources, Tables, VacuumRequest
from gateline.lineage import Lineage

GIVEN = {"format": "csv", "source": "made for the test", "licence": "CC0-1.0"}
NOW = VacuumRequest(older_than_days=0, orphan_hours=0)

# Kills itself just before one call of one function: argv = home, owner of the function, its name, which call, what to do.
KILLED = """
import os, signal, sys
from pathlib import Path
from gateline.data import Datasets, ObjectStore, Retention, Tables, VacuumRequest
from gateline.data.places import LocalPlace
from gateline.kernel.clock import SystemClock
from gateline.kernel.records import Records
from gateline.ledger import Ledger, SigningKey
from gateline.ledger.service import Transaction
from gateline.lineage import Lineage

home, owner, name, call, task = Path(sys.argv[1]), globals()[sys.argv[2]], sys.argv[3], int(sys.argv[4]), sys.argv[5]
calls, real = [], getattr(owner, name)

def step(*arguments, **named):
    calls.append(1)
    if len(calls) == call:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **named)

ledger = Ledger(Records(f"sqlite:///{home / 'only.db'}"), SystemClock(), SigningKey.load_or_create(home / "keys"))
objects, tables = ObjectStore(home / "objects"), Tables(str(home / "tables"), cache=home / "cache", file_rows=2)
datasets = Datasets(ledger, objects, Lineage(ledger.records), tables)
file = objects.put_bytes(b"x\\n1\\n2\\n3\\n").sha256
setattr(owner, name, step)
if task == "register":
    datasets.register("developer", "numbers", file=file, format="csv", source="made for the test", licence="CC0-1.0")
else:
    retention = Retention(ledger, datasets, objects, tables, Lineage(ledger.records))
    retention.vacuum("operator", "numbers", VacuumRequest(older_than_days=0, orphan_hours=0), apply=True)
"""


@pytest.fixture
def objects(home):
    return ObjectStore(home / "objects")


@pytest.fixture
def tables(home):
    return Tables(str(home / "tables"), cache=home / "cache", file_rows=2)


@pytest.fixture
def datasets(sqlite_ledger, objects, tables):
    return Datasets(sqlite_ledger, objects, Lineage(sqlite_ledger.records), tables)


@pytest.fixture
def retention(sqlite_ledger, datasets, objects, tables):
    return Retention(sqlite_ledger, datasets, objects, tables, Lineage(sqlite_ledger.records))


@pytest.fixture
def reconstructions(sqlite_ledger, datasets, objects, tables, clock):
    sources = Sources(datasets, objects, {}, clock=clock, variable={}.get)
    return Reconstructions(sqlite_ledger, datasets, objects, tables, sources)


def killed(home, owner, name, call, task):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(home), owner, name, str(call), task], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


def files(home):
    return {path.name for path in (home / "tables").rglob("*.parquet")}


@pytest.mark.parametrize(
    ("owner", "name", "call", "left"),
    [
        ("LocalPlace", "put", 2, 1),  # between two data files
        ("Tables", "_commit", 1, 2),  # before the Delta commit
        ("Tables", "_committed", 1, 2),  # after it
        ("Transaction", "record", 1, 2),  # inside the transaction of the record
        ("Transaction", "close", 1, 2),  # before its commit
    ],
)
def test_a_registration_that_was_killed_leaves_nothing_but_orphans(home, datasets, retention, sqlite_ledger, owner, name, call, left):
    killed(home, owner, name, call, "register")
    assert datasets.list() == []
    assert sqlite_ledger.size() == 0
    assert len(files(home)) == left
    file = datasets._objects.put_bytes(b"x\n1\n2\n3\n").sha256
    version = datasets.register("developer", "numbers", file=file, **GIVEN)
    assert (version.id, len(version.files)) == ("numbers@1", 2)
    assert pl.read_parquet(datasets.table_paths(datasets.verify("numbers")))["x"].to_list() == [1, 2, 3]
    for path in (home / "tables").rglob("*.parquet"):
        os.utime(path, (0, 0))
    assert len(retention.vacuum("operator", "numbers", NOW, apply=True).orphans) == left
    assert files(home) == {one.path for one in version.files}
    datasets.verify("numbers")


def test_what_a_killed_vacuum_was_removing_is_on_record_and_the_next_one_goes_on(
    home, datasets, retention, reconstructions, clock, sqlite_ledger
):
    versions = []
    for text in (b"x\n1\n2\n3\n", b"x\n4\n5\n6\n"):
        file = datasets._objects.put_bytes(text).sha256
        versions.append(datasets.register("developer", "numbers", file=file, **GIVEN))
        clock.advance(seconds=1)
    killed(home, "LocalPlace", "remove", 2, "vacuum")
    assert [entry.subject for entry in sqlite_ledger.entries(kind="dataset.files.removed")] == ["numbers@1"]
    assert len(files(home)) == 3
    datasets.verify("numbers", 2)
    retention.vacuum("operator", "numbers", NOW, apply=True)
    assert files(home) == {one.path for one in versions[1].files}
    assert reconstructions.reconstruct("developer", "numbers", 1, restore=True).equal
    datasets.verify("numbers", 1)
