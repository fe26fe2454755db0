from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from gateline.data import Retention, VacuumRequest
from gateline.kernel.clock import DAY
from gateline.kernel.errors import Conflict, Denied, IntegrityFailure, InvalidInput, NotFound
from gateline.lineage import Lineage, Node

GIVEN = {"source": "made for the test", "licence": "CC0-1.0"}
ALL = VacuumRequest(older_than_days=1, orphan_hours=0)


@pytest.fixture
def lineage(ledger):
    return Lineage(ledger.records)


@pytest.fixture
def retention(ledger, datasets, objects, tables, lineage):
    return Retention(ledger, datasets, objects, tables, lineage)


@pytest.fixture
def versions(datasets, objects, clock):
    """Three versions of `people`, each a day older than the next; the newest is a day old."""
    found = []
    for age in (30, 31, 32):
        file = objects.put_bytes(f"name,age\nAnn,{age}\nBob,40\n".encode()).sha256
        found.append(datasets.register("developer", "people", file=file, format="csv", **GIVEN))
        clock.advance(seconds=DAY / 1_000_000 + 1)
    return found


def path_of(home, version) -> Path:
    return home / "tables" / "people" / version.files[0].path


def orphan(home, name="part_left.parquet"):
    path = home / "tables" / "people" / name
    path.write_bytes(b"left behind")
    os.utime(path, (0, 0))
    return path


# ---- pins


def test_a_pin_is_on_record_with_the_files_it_keeps(retention, versions, ledger):
    pin = retention.pin("developer", "people", 1, reason="the model of spring", until=ledger.clock.now() + DAY)
    assert retention.pins("people") == retention.pins() == [pin]
    (entry,) = ledger.entries(kind="dataset.version.pinned")
    assert (entry.subject, entry.actor) == ("people@1", "developer")
    assert entry.payload["files"] == [versions[0].files[0].sha256]
    assert entry.payload["reason"] == "the model of spring"


def test_a_pin_ends_by_itself_or_by_release_with_a_reason(retention, versions, clock, ledger):
    first = retention.pin("developer", "people", 1, reason="for a day", until=clock.now() + DAY)
    second = retention.pin("developer", "people", 1, reason="for good")
    clock.advance(seconds=DAY / 1_000_000)
    assert retention.pins() == [second]
    released = retention.unpin("validator", second.id, reason="no longer needed", may_release_legal_hold=False)
    assert (released.released_by, released.release_reason) == ("validator", "no longer needed")
    assert retention.pins() == []
    assert retention.pins("people", everything=True) == [first, released]
    assert [entry.kind for entry in ledger.entries(subject="people@1")][-1] == "dataset.version.unpinned"
    with pytest.raises(Conflict, match="released before, by validator"):
        retention.unpin("validator", second.id, reason="again", may_release_legal_hold=False)
    with pytest.raises(NotFound):
        retention.unpin("validator", "pin_x", reason="why not", may_release_legal_hold=False)


def test_only_an_administrator_releases_a_legal_hold(retention, versions):
    pin = retention.pin("developer", "people", 1, reason="court order", legal_hold=True)
    with pytest.raises(Denied, match="legal hold"):
        retention.unpin("developer", pin.id, reason="in the way", may_release_legal_hold=False)
    assert retention.pins() == [pin]
    retention.unpin("admin", pin.id, reason="case closed", may_release_legal_hold=True)
    assert retention.pins() == []


def test_a_pin_needs_a_reason_and_an_end_that_makes_sense(retention, versions, clock, ledger):
    size = ledger.size()
    with pytest.raises(InvalidInput, match="reason"):
        retention.pin("developer", "people", 1, reason=" ")
    with pytest.raises(InvalidInput, match="past"):
        retention.pin("developer", "people", 1, reason="late", until=clock.now())
    with pytest.raises(InvalidInput, match="ends only when it is released"):
        retention.pin("developer", "people", 1, reason="hold", until=clock.now() + 1, legal_hold=True)
    with pytest.raises(NotFound):
        retention.pin("developer", "people", 9, reason="nothing there")
    assert ledger.size() == size


def test_what_is_damaged_cannot_be_pinned(retention, versions, home):
    path_of(home, versions[0]).write_bytes(b"other")
    with pytest.raises(IntegrityFailure):
        retention.pin("developer", "people", 1, reason="too late")
    assert retention.pins() == []


def test_evidence_survives_a_vacuum_by_another_tool(retention, versions, datasets, home):
    retention.pin("developer", "people", 1, reason="audit", evidence=True)
    expected = pl.read_parquet(datasets.table_paths(versions[0]))
    path_of(home, versions[0]).unlink()
    assert pl.read_parquet(datasets.table_paths(versions[0])).equals(expected)


# ---- vacuum


def test_a_vacuum_by_default_only_says_what_it_would_do(retention, versions, home, ledger):
    left, size = orphan(home), ledger.size()
    found = retention.vacuum("operator", "people", ALL)
    assert (found.applied, found.orphans) == (False, ("part_left.parquet",))
    assert dict(found.versions) == {one.id: (one.files[0].path,) for one in versions[:2]}
    assert dict(found.kept) == {"people@3": "newest version"}
    assert found.bytes == sum(one.files[0].size_bytes for one in versions[:2]) + len(b"left behind")
    assert left.exists()
    assert all(path_of(home, one).exists() for one in versions)
    assert ledger.size() == size


def test_without_an_age_only_files_that_no_record_names_go(retention, versions, home, ledger):
    left = orphan(home)
    found = retention.vacuum("operator", "people", VacuumRequest(), apply=True)
    assert (found.applied, found.orphans, dict(found.versions)) == (True, ("part_left.parquet",), {})
    assert not left.exists()
    assert all(path_of(home, one).exists() for one in versions)
    (entry,) = ledger.entries(kind="dataset.orphans.removed")
    assert (entry.subject, entry.actor, entry.payload) == ("people", "operator", {"paths": ["part_left.parquet"]})


def test_a_young_file_that_no_record_names_may_be_in_the_making(retention, versions, home, clock):
    left = orphan(home)
    now = clock.now() / 1_000_000
    os.utime(left, (now - 3600, now - 3600))
    assert retention.vacuum("operator", "people", VacuumRequest(orphan_hours=2)).orphans == ()
    assert retention.vacuum("operator", "people", VacuumRequest(orphan_hours=0.5)).orphans == ("part_left.parquet",)


def test_what_was_removed_is_on_record_and_readers_are_told(retention, versions, datasets, home, ledger):
    retention.vacuum("operator", "people", ALL, apply=True)
    assert [path_of(home, one).exists() for one in versions] == [False, False, True]
    assert [entry.subject for entry in ledger.entries(kind="dataset.files.removed")] == ["people@1", "people@2"]
    with pytest.raises(NotFound, match="A vacuum by operator removed it at 2013-01-04.*reconstruct people@1 --restore"):
        datasets.table_paths(versions[0])
    with pytest.raises(NotFound):
        retention.pin("developer", "people", 1, reason="too late")
    datasets.verify("people", 3)


def test_pinned_young_and_newest_versions_keep_their_files(retention, versions, home, clock):
    retention.pin("developer", "people", 1, reason="the model of spring", legal_hold=True)
    found = retention.vacuum("operator", "people", VacuumRequest(older_than_days=2.5), apply=True)
    assert dict(found.versions) == {}
    assert found.kept["people@1"] == "legal hold: the model of spring"
    assert found.kept["people@2"].startswith("registered 2013-01-02")
    assert found.kept["people@3"] == "newest version"
    assert all(path_of(home, one).exists() for one in versions)


def test_a_version_that_a_registered_model_was_made_from_goes_only_when_that_is_said(
    retention, reconstructions, versions, lineage, ledger, home
):
    with ledger.transaction("developer") as tx:
        view = Node(kind="feature_set_version", id="view@1")
        lineage.link(tx, Node(kind="dataset_version", id="people@1"), view, "read")
        lineage.link(tx, view, Node(kind="model_version", id="model@1"), "computed_by")
    found = retention.vacuum("operator", "people", ALL)
    assert found.kept["people@1"] == "a registered model was made from it"
    assert "people@2" in found.versions
    found = retention.vacuum("operator", "people", VacuumRequest(older_than_days=1, rebuildable=True), apply=True)
    assert not path_of(home, versions[0]).exists()
    assert reconstructions.reconstruct("developer", "people", 1, restore=True).equal
    assert path_of(home, versions[0]).exists()


def test_what_could_not_be_rebuilt_is_never_removed(retention, versions, objects, home):
    raw = objects.path(versions[0].raw_sha256)
    raw.chmod(0o644)
    raw.write_bytes(b"other")
    found = retention.vacuum("operator", "people", VacuumRequest(older_than_days=0, rebuildable=True), apply=True)
    assert found.kept["people@1"].startswith("its raw rows are missing")
    assert path_of(home, versions[0]).exists()


def test_ages_are_not_negative_and_datasets_exist(retention, versions):
    with pytest.raises(InvalidInput):
        retention.vacuum("operator", "people", VacuumRequest(older_than_days=-1))
    with pytest.raises(NotFound):
        retention.vacuum("operator", "nobody", VacuumRequest())
