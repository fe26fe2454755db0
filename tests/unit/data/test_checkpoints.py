"""The logs of Delta tables get checkpoints on a timer, and lose only what no recorded version needs."""

from __future__ import annotations

import json
import os

import polars as pl
import pytest
from deltalake import DeltaTable

from gateline.data import Checkpoints, ColumnType, Provenance, Retention, Spool, VacuumRequest
from gateline.kernel.clock import DAY, SECOND
from gateline.kernel.errors import IntegrityFailure, NotFound
from gateline.lineage import Lineage

OLD = DAY / SECOND * 31


@pytest.fixture
def spool(ledger, datasets, objects, tables):
    found = Spool(ledger, datasets, objects, tables)
    found.open("developer", "sales", types={"n": ColumnType.INT64}, provenance=Provenance(source="the till", licence="internal"))
    return found


@pytest.fixture
def checkpoints(ledger, tables):
    return Checkpoints(ledger, tables, commits=3, interval_seconds=600, log_days=30)


@pytest.fixture
def log(home):
    return home / "tables" / "sales" / "_delta_log"


def send(spool, *numbers):
    for number in numbers:
        spool.append("till", "sales", [{"n": number}], key=f"batch-{number}")
        spool.commit("sales")


def age(log):
    """Let every file of the log be from long before the simulated clock began."""
    for path in log.iterdir():
        os.utime(path, (0, 0))


def newest(log):
    return max((int(path.name[:20]) for path in log.glob("*.checkpoint.parquet")), default=-1)


def numbers(home, version=None):
    return sorted(pl.read_delta(str(home / "tables" / "sales"), version=version)["n"].to_list())


def test_a_checkpoint_comes_after_enough_commits(spool, checkpoints, log, home):
    send(spool, 1)
    assert checkpoints.reconcile() == 0
    send(spool, 2, 3)
    assert checkpoints.reconcile() == 1
    version = DeltaTable(str(home / "tables" / "sales")).version()
    assert newest(log) == version == 3
    assert json.loads((log / "_last_checkpoint").read_text())["version"] == version
    assert checkpoints.reconcile() == 0
    send(spool, 4)
    assert numbers(home) == [1, 2, 3, 4]


def test_a_checkpoint_comes_after_its_time_for_fewer_commits_but_not_for_none(spool, checkpoints, clock, log, tables, ledger):
    send(spool, 1)
    assert checkpoints.reconcile() == 0
    clock.advance(seconds=600)
    assert checkpoints.reconcile() == 1
    clock.advance(seconds=6000)
    assert checkpoints.reconcile() == 0
    assert len(list(log.glob("*.checkpoint.parquet"))) == 1
    again = Checkpoints(ledger, tables, commits=3, interval_seconds=600)  # as after a restart
    again.reconcile()
    clock.advance(seconds=600)
    assert again.reconcile() == 0
    send(spool, 2)
    clock.advance(seconds=-3600)
    assert again.reconcile() == 1


def test_a_table_opens_from_its_checkpoint_alone_and_rows_go_on_once(spool, checkpoints, log, home, datasets):
    send(spool, 1, 2, 3)
    checkpoints.reconcile()
    for path in sorted(log.glob("*.json"))[:-1]:  # deltalake wants to see the commit of its newest version
        path.unlink()
    assert numbers(home) == [1, 2, 3]
    spool.append("till", "sales", [{"n": 3}], key="batch-3")
    send(spool, 4)
    version = spool.cut("developer", "sales")
    assert pl.read_parquet(datasets.table_paths(version))["n"].to_list() == [1, 2, 3, 4]
    assert numbers(home) == [1, 2, 3, 4]


def test_the_log_keeps_what_leads_to_every_version_that_is_kept(spool, checkpoints, log, home, ledger):
    send(spool, 1, 2, 3)
    checkpoints.reconcile()
    send(spool, 4)
    first = spool.cut("developer", "sales")
    send(spool, 5, 6)
    second = spool.cut("developer", "sales")
    checkpoints.checkpoint("sales")
    age(log)
    found = checkpoints.checkpoint("sales", "operator")
    assert found == {"table_version": second.table_version, "removed": 3}  # 0, 1 and 2: the checkpoint at 3 leads to the first version
    for version, expected in ((first, [1, 2, 3, 4]), (second, [1, 2, 3, 4, 5, 6])):
        assert numbers(home, version.table_version) == expected
    (entry,) = ledger.entries(kind="dataset.log.trimmed")
    assert (entry.subject, entry.actor, entry.payload) == ("sales", "operator", {"before": 3, "files": 3})


def test_the_log_of_a_version_goes_only_after_a_vacuum_took_its_files(checkpoints, home, datasets, objects, tables, ledger, clock):
    log, found = home / "tables" / "people" / "_delta_log", []
    for number in (30, 31, 32):
        file = objects.put_bytes(f"age\n{number}\n".encode()).sha256
        found.append(datasets.register("developer", "people", file=file, format="csv", source="s", licence="l"))
        checkpoints.checkpoint("people")
        clock.advance(seconds=OLD)
    age(log)
    assert checkpoints.checkpoint("people")["removed"] == 1  # the table was made at version 0
    retention = Retention(ledger, datasets, objects, tables, Lineage(ledger.records))
    retention.pin("developer", "people", 2, reason="audit")
    retention.vacuum("operator", "people", VacuumRequest(older_than_days=0, orphan_hours=0), apply=True)
    assert checkpoints.checkpoint("people")["removed"] == 2
    assert sorted(path.name[:20] for path in log.glob("*.json")) == [f"{one.table_version:020d}" for one in found[1:]]
    assert pl.read_delta(str(home / "tables" / "people"), version=2)["age"].to_list() == [31]
    datasets.verify("people", 2)


def test_young_entries_stay_and_so_does_everything_when_told(spool, log, tables, ledger, clock):
    send(spool, 1, 2, 3)
    count = len(list(log.glob("*.json")))
    age(log)
    assert Checkpoints(ledger, tables, log_days=0).checkpoint("sales")["removed"] == 0
    for path in log.iterdir():
        os.utime(path, (clock.now() / SECOND - 3600,) * 2)
    assert Checkpoints(ledger, tables, log_days=30).checkpoint("sales")["removed"] == 0
    assert len(list(log.glob("*.json"))) == count
    age(log)
    assert Checkpoints(ledger, tables, log_days=30).checkpoint("sales")["removed"] == 3


def test_a_damaged_checkpoint_stops_the_removal_of_what_it_stands_for(spool, checkpoints, log):
    send(spool, 1, 2, 3)
    checkpoints.checkpoint("sales")
    spool.cut("developer", "sales")
    send(spool, 4, 5)
    (log / "00000000000000000003.checkpoint.parquet").write_bytes(b"torn")
    age(log)
    with pytest.raises(IntegrityFailure):
        checkpoints.checkpoint("sales")
    assert (log / "00000000000000000000.json").exists()


def test_a_dataset_without_a_table_says_so_and_keeps_no_other_waiting(spool, checkpoints, log, home, datasets, raw):
    with pytest.raises(NotFound, match="'sales' has no table"):
        checkpoints.checkpoint("sales")
    send(spool, 1, 2, 3)
    for age_of in (30, 31, 32):
        file = datasets._objects.put_bytes(f"a\n{age_of}\n".encode()).sha256
        datasets.register("developer", "broken", file=file, format="csv", source="s", licence="l")
    (home / "tables" / "broken" / "_delta_log" / "00000000000000000001.json").write_text("{")
    with pytest.raises(IntegrityFailure):
        checkpoints.reconcile()
    assert newest(log) == 3
    assert checkpoints.reconcile() == 0  # the broken one rests for a while
