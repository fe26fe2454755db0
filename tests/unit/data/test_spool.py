from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import polars as pl
import pytest
from deltalake import DeltaTable

from gateline.data import ColumnType, Provenance, Retention, Spool, VacuumRequest
from gateline.data.rows import typed_rows
from gateline.kernel.errors import Conflict, InvalidInput, NotFound, TooLarge
from gateline.lineage import Lineage

PROVENANCE = Provenance(source="the shop's till", licence="internal")
TYPES = {"n": ColumnType.INT64, "at": ColumnType.DATETIME}
AT = "2013-01-01T10:00:00Z"


@pytest.fixture
def spool(ledger, datasets, objects, tables):
    found = Spool(ledger, datasets, objects, tables)
    found.open("developer", "sales", types=TYPES, provenance=PROVENANCE)
    return found


def rows(*numbers):
    return [{"n": number, "at": AT} for number in numbers]


def send(spool, *numbers, key=None):
    return spool.append("till", "sales", rows(*numbers), key=key or f"batch-{numbers}")


def head(home):
    return sorted(pl.read_delta(str(home / "tables" / "sales"))["n"].to_list())


def read(datasets, version):
    return pl.read_parquet(datasets.table_paths(version))


def test_rows_are_acknowledged_with_their_place_and_counted(spool):
    assert send(spool, 1, 2) == {"position": 1, "rows": 2, "repeated": False}
    assert send(spool, 3) == {"position": 2, "rows": 1, "repeated": False}
    status = spool.status("sales")
    assert (status["batches_received"], status["batches_committed"], status["rows_waiting"], status["rows_committed"]) == (2, 0, 3, 0)


def test_a_repeated_batch_counts_once_before_and_after_its_commit(spool, home):
    send(spool, 1, key="a")
    assert send(spool, 1, key="a") == {"position": 1, "rows": 1, "repeated": True}
    spool.commit("sales")
    assert send(spool, 1, key="a") == {"position": 1, "rows": 1, "repeated": True}
    with pytest.raises(Conflict, match="the key 'a'|The key 'a'"):
        send(spool, 2, key="a")
    spool.commit("sales")
    assert head(home) == [1]


def test_rows_are_committed_after_thirty_seconds_or_ten_thousand_rows(spool, clock, home):
    send(spool, 1)
    assert spool.reconcile() == 0
    clock.advance(seconds=29)
    assert spool.reconcile() == 0
    clock.advance(seconds=1)
    assert spool.reconcile() == 1
    assert head(home) == [1]
    send(spool, *range(10_000), key="many")
    assert spool.reconcile() == 1
    assert DeltaTable(str(home / "tables" / "sales")).count() == 10_001


def test_a_clock_that_was_set_back_commits_early_rather_than_never(spool, clock):
    send(spool, 1)
    clock.advance(seconds=-3600)
    assert spool.reconcile() == 1


def test_a_cut_makes_all_acknowledged_rows_a_version_in_their_order(spool, datasets, ledger):
    send(spool, 3, 1)
    spool.commit("sales")
    send(spool, 2)
    version = spool.cut("developer", "sales")
    assert read(datasets, version)["n"].to_list() == [3, 1, 2]
    assert read(datasets, version)["at"].to_list() == [datetime(2013, 1, 1, 10, tzinfo=UTC)] * 3
    assert (version.id, version.row_count, len(version.files), version.made_of.kind) == ("sales@1", 3, 2, "spool")
    assert version.provenance == PROVENANCE
    assert datasets.verify("sales") == version
    assert spool.cut("developer", "sales") == version
    send(spool, 4)
    again = spool.cut("developer", "sales")
    assert (again.id, again.files[:2]) == ("sales@2", version.files)
    assert [entry.kind for entry in ledger.entries(subject="sales")] == ["dataset.spool.opened", *["dataset.rows.committed"] * 3]


def test_nothing_to_cut_is_said(spool):
    with pytest.raises(InvalidInput, match="No row of dataset 'sales' has come yet"):
        spool.cut("developer", "sales")


def test_a_dataset_is_fed_with_rows_or_made_of_files(spool, datasets, raw):
    with pytest.raises(Conflict, match="is fed with rows"):
        datasets.register("developer", "sales", file=raw, format="csv", source="s", licence="l")
    datasets.register("developer", "people", file=raw, format="csv", source="s", licence="l")
    with pytest.raises(Conflict, match="made otherwise"):
        spool.open("developer", "people", types=TYPES, provenance=PROVENANCE)
    with pytest.raises(Conflict, match="other columns or terms"):
        spool.open("developer", "sales", types={"n": ColumnType.INT64}, provenance=PROVENANCE)
    spool.open("developer", "sales", types=TYPES, provenance=PROVENANCE)
    with pytest.raises(NotFound, match="not fed with rows"):
        spool.append("till", "people", rows(1), key="a")


def test_rows_that_do_not_fit_are_named_and_none_is_taken(spool):
    wrong = [{"n": 1.5, "at": AT}, {"n": True, "at": "2013-01-01T10:00:00"}, {"x": 1}, {"n": 2**63, "at": 5}]
    with pytest.raises(InvalidInput) as error:
        spool.append("till", "sales", wrong, key="a")
    for says in (
        "row 1: 'n' is 1.5, no int64",
        "row 2: 'n' is True",
        "row 2: 'at' is '2013-01-01T10:00:00', no datetime",
        "row 3: there is no column 'x'",
    ):
        assert says in error.value.message
    assert spool.status("sales")["rows_waiting"] == 0
    with pytest.raises(InvalidInput, match="needs rows, and a key"):
        spool.append("till", "sales", [], key="a")
    with pytest.raises(TooLarge):
        spool.append("till", "sales", rows(*range(10_001)), key="a")


def test_each_type_takes_its_own_and_nothing_else():
    given = {
        ColumnType.INT64: (7, [1.0, "7", True]), ColumnType.FLOAT64: (1, [True, "1", 2**60]), ColumnType.STRING: ("é", [1]),
        ColumnType.BOOLEAN: (False, [0, "false"]), ColumnType.DATE: ("2020-02-29", ["2021-02-29", "20200229", AT]),
        ColumnType.DATETIME: ("2020-01-01T05:00:00+05:00", ["2020-01-01T00:00:00", "2020-01-01", 1]),
        ColumnType.NAIVE_DATETIME: ("2020-01-01T05:00:00.000001", [AT]),
    }  # fmt: skip
    expected = {"int64": 7, "float64": 1.0, "string": "é", "boolean": False, "date": date(2020, 2, 29)}
    frame = typed_rows({kind: kind for kind in given}, [{kind: good for kind, (good, _) in given.items()}, {}])
    assert expected.items() <= frame.row(0, named=True).items()
    assert frame["datetime"][0] == datetime(2020, 1, 1, tzinfo=UTC)
    assert frame["naive_datetime"][0] == datetime(2020, 1, 1, 5, 0, 0, 1)
    assert frame.row(1) == (None,) * 7
    for kind, (_, bad) in given.items():
        for value in bad:
            with pytest.raises(InvalidInput):
                typed_rows({kind: kind}, [{kind: value}])
    assert math.isnan(typed_rows({"x": ColumnType.FLOAT64}, [{"x": math.nan}])["x"][0])


def test_small_files_become_one_and_versions_keep_theirs(spool, datasets, home, ledger):
    for number in range(4):
        send(spool, number)
        spool.commit("sales")
    version = spool.cut("developer", "sales")
    assert len(version.files) == 4
    assert spool.compact("sales") == 4
    assert spool.status("sales")["files"] == 1
    assert head(home) == [0, 1, 2, 3]
    assert read(datasets, version)["n"].to_list() == [0, 1, 2, 3]
    send(spool, 4)
    again = spool.cut("developer", "sales")
    assert read(datasets, again)["n"].to_list() == [0, 1, 2, 3, 4]
    assert len(again.files) == 2
    assert spool.compact("sales") == 2
    assert spool.compact("sales") == 0
    assert len(ledger.entries(kind="dataset.rows.compacted")) == 2


def test_many_small_files_are_compacted_by_the_reconciler(spool, monkeypatch, home):
    monkeypatch.setattr("gateline.data.spool.COMPACT_FILES", 3)
    for number in range(3):
        send(spool, number)
        spool.commit("sales")
    assert spool.reconcile() == 3
    assert head(home) == [0, 1, 2]
    assert spool.reconcile() == 0


def test_a_vacuum_keeps_rows_that_no_version_names_yet(spool, datasets, ledger, objects, tables, home):
    send(spool, 1)
    spool.cut("developer", "sales")
    send(spool, 2)
    spool.commit("sales")
    retention = Retention(ledger, datasets, objects, tables, Lineage(ledger.records))
    found = retention.vacuum("operator", "sales", VacuumRequest(older_than_days=0, orphan_hours=0), apply=True)
    assert (found.orphans, dict(found.versions)) == ((), {})
    assert head(home) == [1, 2]
    spool.compact("sales")
    assert spool.cut("developer", "sales").row_count == 2


def test_a_cut_version_is_rebuilt_file_by_file(spool, datasets, reconstructions):
    for number in range(3):
        send(spool, number, number + 10)
        spool.commit("sales")
    version = spool.cut("developer", "sales")
    for path in datasets.table_paths(version)[1:]:
        path.unlink()
    found = reconstructions.reconstruct("developer", "sales", 1, restore=True)
    assert (found.equal, len(found.restored), found.unrestorable) == (True, 2, ())
    datasets.verify("sales")


def test_many_writers_and_committers_at_once_lose_and_double_nothing(spool, datasets, home):
    def write(writer):
        return [send(spool, writer * 100 + number)["position"] for number in range(8)]

    def commit(_):
        return sum(spool.commit("sales") for _ in range(4))

    with ThreadPoolExecutor(6) as pool:
        written, committed = pool.map(write, range(4)), pool.map(commit, range(2))
        positions, sums = [one for found in written for one in found], list(committed)
    assert sorted(positions) == list(range(1, 33))
    assert sum(sums) <= 32
    version = spool.cut("developer", "sales")
    expected = sorted(writer * 100 + number for writer in range(4) for number in range(8))
    assert sorted(read(datasets, version)["n"].to_list()) == expected
    assert head(home) == expected
