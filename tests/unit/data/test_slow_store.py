"""A slow object store holds up whoever asked for its files, and no other writer of the records."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from gateline.data import Checkpoints, Datasets, Reconstructions, Retention, Sources, Tables, VacuumRequest
from gateline.kernel.clock import DAY, SECOND
from gateline.kernel.errors import Conflict
from gateline.lineage import Lineage

OPERATIONS = ("put", "settle", "fetch", "has", "listed", "remove")


class WatchedPlace:
    """A real place whose every operation first looks whether another process could write a record meanwhile."""

    def __init__(self, place, database: Path) -> None:
        self.uri = place.uri
        self.seen: list[str] = []
        self.locked: list[str] = []
        self._database = database
        for name in OPERATIONS:
            setattr(self, name, self._watched(name, getattr(place, name)))

    def _watched(self, name, operation):
        def call(*given):
            connection = sqlite3.connect(self._database, timeout=0, isolation_level=None)
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            except sqlite3.OperationalError:
                self.locked.append(name)
            finally:
                connection.close()
            self.seen.append(name)
            return operation(*given)

        return call


@pytest.fixture
def slow(sqlite_ledger, home, objects, clock):
    """Tables over a watched place, and what works with them."""
    tables = Tables(str(home / "tables"), cache=home / "cache")
    place = tables._place = WatchedPlace(tables._place, home / "only.db")
    datasets = Datasets(sqlite_ledger, objects, Lineage(sqlite_ledger.records), tables)
    sources = Sources(datasets, objects, {}, clock=clock, variable={}.get)
    return place, datasets, tables, Reconstructions(sqlite_ledger, datasets, objects, tables, sources)


def register(datasets, objects, age=30):
    file = objects.put_bytes(f"age\n{age}\n".encode()).sha256
    return datasets.register("developer", "people", file=file, format="csv", source="s", licence="l")


def test_registering_restoring_and_trimming_hold_no_lock_while_the_store_works(slow, sqlite_ledger, objects, home, clock):
    place, datasets, tables, reconstructions = slow
    checkpoints = Checkpoints(sqlite_ledger, tables, log_days=30)
    for age in (30, 31, 32):
        version = register(datasets, objects, age)
        checkpoints.checkpoint("people")
    (home / "tables" / "people" / version.files[0].path).unlink()
    found = reconstructions.reconstruct("developer", "people", 3, restore=True)
    assert found.restored == (version.files[0].path,)
    for path in (home / "tables" / "people" / "_delta_log").iterdir():
        os.utime(path, (0, 0))
    assert checkpoints.checkpoint("people")["removed"] == 1
    assert {"put", "has", "fetch", "listed", "remove"} <= set(place.seen)
    assert place.locked == []


def removing(tables, version_files, before):
    """Let `before` of the tables be followed by a vacuum that takes the files of a version."""
    real = getattr(tables, before)

    def call(*given):
        found = real(*given)
        setattr(tables, before, real)
        for path in version_files(given):
            tables._place.remove("people", path)
        return found

    setattr(tables, before, call)


def test_a_version_whose_files_a_vacuum_took_in_the_moment_of_its_record_says_how_to_restore_it(slow, objects):
    _, datasets, tables, reconstructions = slow
    removing(tables, lambda given: [file.path for file in given[1]], "check_presence")
    with pytest.raises(Conflict, match=r"people@1 is registered, but a vacuum removed .* gateline dataset reconstruct people@1 --restore"):
        register(datasets, objects)
    assert reconstructions.reconstruct("developer", "people", 1, restore=True).restored
    assert datasets.verify("people", 1) == register(datasets, objects)


def test_files_that_a_vacuum_took_while_they_were_restored_are_restored_again(slow, objects, home, sqlite_ledger):
    _, datasets, tables, reconstructions = slow
    version = register(datasets, objects)
    (home / "tables" / "people" / version.files[0].path).unlink()
    removing(tables, lambda given: [given[1].path], "restore")
    assert reconstructions.reconstruct("developer", "people", 1, restore=True).restored
    assert datasets.verify("people", 1) == version


def test_a_version_restored_after_its_log_was_trimmed_keeps_no_later_log(slow, sqlite_ledger, objects, home, clock):
    _, datasets, tables, reconstructions = slow
    checkpoints = Checkpoints(sqlite_ledger, tables, log_days=30)
    log = home / "tables" / "people" / "_delta_log"
    retention = Retention(sqlite_ledger, datasets, objects, tables, Lineage(sqlite_ledger.records))
    for age in (30, 31, 32):
        register(datasets, objects, age)
        checkpoints.checkpoint("people")
        clock.advance(seconds=DAY / SECOND * 31)
    retention.vacuum("operator", "people", VacuumRequest(older_than_days=40, orphan_hours=0), apply=True)
    for path in log.iterdir():
        os.utime(path, (0, 0))
    assert checkpoints.checkpoint("people")["removed"] > 0
    reconstructions.reconstruct("operator", "people", 1, restore=True)
    datasets.verify("people", 1)
    register(datasets, objects, 33)
    retention.vacuum("operator", "people", VacuumRequest(older_than_days=20, orphan_hours=0), apply=True)
    reconstructions.reconstruct("operator", "people", 1, restore=True)
    for path in log.iterdir():
        os.utime(path, (0, 0))
    assert checkpoints.checkpoint("people")["removed"] > 0
