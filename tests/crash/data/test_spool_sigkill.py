"""A process is killed between the steps that bring rows into the Delta table; every acknowledged row is there once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import polars as pl
import pytest
from deltalake import DeltaTable

from gateline.data import Checkpoints, ColumnType, Datasets, ObjectStore, Provenance, Spool, Tables
from gateline.lineage import Lineage

# Kills itself just before one call of one function: argv = home, owner of the function, its name, which call, what to do.
KILLED = """
import os, signal, sys
from pathlib import Path
from deltalake import DeltaTable
from gateline.data import Checkpoints, Datasets, ObjectStore, Spool, Tables
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
objects, tables = ObjectStore(home / "objects"), Tables(str(home / "tables"), cache=home / "cache")
spool = Spool(ledger, Datasets(ledger, objects, Lineage(ledger.records), tables), objects, tables)
setattr(owner, name, step)
tasks = {"checkpoint": Checkpoints(ledger, tables, log_days=1).checkpoint, "commit": spool.commit, "compact": spool.compact}
tasks[task]("numbers")
"""


@pytest.fixture
def datasets(sqlite_ledger, home):
    tables = Tables(str(home / "tables"), cache=home / "cache")
    return Datasets(sqlite_ledger, ObjectStore(home / "objects"), Lineage(sqlite_ledger.records), tables)


@pytest.fixture
def spool(sqlite_ledger, datasets):
    found = Spool(sqlite_ledger, datasets, datasets._objects, datasets._tables)
    found.open("developer", "numbers", types={"n": ColumnType.INT64}, provenance=Provenance(source="s", licence="l"))
    return found


def send(spool, *numbers):
    spool.append("till", "numbers", [{"n": number} for number in numbers], key=f"{numbers}")


def killed(home, owner, name, call, task):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(home), owner, name, str(call), task], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


def head(home):
    return sorted(pl.read_delta(str(home / "tables" / "numbers"))["n"].to_list())


STEPS = [
    ("LocalPlace", "put", 1),  # before the data file
    ("Tables", "_commit", 1),  # before the Delta commit
    ("Tables", "_committed", 1),  # after it
    ("Transaction", "record", 1),  # inside the transaction of the record
    ("Transaction", "close", 1),  # before its commit
]


@pytest.mark.parametrize(("owner", "name", "call"), STEPS)
def test_acknowledged_rows_are_in_the_table_once_wherever_the_commit_was_killed(home, datasets, spool, owner, name, call):
    send(spool, 1, 2)
    spool.commit("numbers")
    send(spool, 3)
    send(spool, 4, 5)
    killed(home, owner, name, call, "commit")
    send(spool, 6)  # more has come before the next step
    version = spool.cut("developer", "numbers")
    assert pl.read_parquet(datasets.table_paths(version))["n"].to_list() == [1, 2, 3, 4, 5, 6]
    assert head(home) == [1, 2, 3, 4, 5, 6]
    assert spool.status("numbers")["rows_waiting"] == 0


@pytest.mark.parametrize(("owner", "name", "call"), STEPS)
def test_a_compaction_that_was_killed_changes_no_row(home, datasets, spool, owner, name, call):
    for number in range(3):
        send(spool, number)
        spool.commit("numbers")
    first = spool.cut("developer", "numbers")
    killed(home, owner, name, call, "compact")
    assert head(home) == [0, 1, 2]
    send(spool, 3)
    spool.commit("numbers")
    assert spool.compact("numbers") == 4
    assert head(home) == [0, 1, 2, 3]
    second = spool.cut("developer", "numbers")
    assert len(second.files) == 1
    assert pl.read_parquet(datasets.table_paths(second))["n"].to_list() == [0, 1, 2, 3]
    assert pl.read_parquet(datasets.table_paths(first))["n"].to_list() == [0, 1, 2]


@pytest.mark.parametrize(
    ("owner", "name", "call", "left"),
    [
        ("DeltaTable", "create_checkpoint", 1, 9),  # before the checkpoint
        ("LocalPlace", "settle", 1, 9),  # after it
        ("Transaction", "close", 1, 9),  # before the removal of log entries is on record
        ("LocalPlace", "remove", 1, 9),  # after that
        ("LocalPlace", "remove", 3, 7),  # in the midst of it
    ],
)
def test_a_checkpoint_that_was_killed_leaves_the_table_as_it_was(home, datasets, spool, sqlite_ledger, owner, name, call, left):
    log = home / "tables" / "numbers" / "_delta_log"
    for number in range(3):
        send(spool, number)
        spool.commit("numbers")
    first = spool.cut("developer", "numbers")
    checkpoints = Checkpoints(sqlite_ledger, datasets._tables, log_days=1)
    checkpoints.checkpoint("numbers")
    for number in range(3, 8):
        send(spool, number)
        spool.commit("numbers")
    for path in log.iterdir():
        os.utime(path, (0, 0))
    killed(home, owner, name, call, "checkpoint")
    assert len(list(log.glob("*.json"))) == left
    assert head(home) == list(range(8))
    table = DeltaTable(str(home / "tables" / "numbers"), version=first.table_version)
    assert sorted(pl.read_delta(table)["n"].to_list()) == [0, 1, 2]
    send(spool, 8)
    spool.commit("numbers")
    done = checkpoints.checkpoint("numbers")
    assert (done["table_version"], done["removed"]) == (9, left - 6)
    assert len(list(log.glob("*.json"))) == 7
    assert DeltaTable(str(home / "tables" / "numbers")).version() == 9
    assert head(home) == list(range(9))
