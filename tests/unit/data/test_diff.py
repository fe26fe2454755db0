from __future__ import annotations

import pytest

from gateline.cli.difference import difference_text
from gateline.data import DatasetDiff, Datasets, ObjectStore, Tables, diff_versions
from gateline.lineage import Lineage


@pytest.fixture
def register(sqlite_ledger, home):
    objects = ObjectStore(home / "objects")
    datasets = Datasets(sqlite_ledger, objects, Lineage(sqlite_ledger.records), Tables(str(home / "tables"), cache=home / "cache"))

    def run(name: str, content: bytes):
        return datasets.register("developer", name, file=objects.put_bytes(content).sha256, format="csv", source="s", licence="l")

    return run


def test_schema_and_profile_are_compared(register):
    first = register("people", b"id,kind,size,gone,same\n1,a,1,x,0\n2,b,,x,0\n3,a,3,x,0\n4,c,4,x,0\n")
    second = register("people", b"id,kind,size,came,same\n1,a,1.5,2,0\n2,d,9.5,2,0\n")
    found = diff_versions(first, second)
    assert (found.before, found.after, found.rows_before, found.rows_after) == ("people@1", "people@2", 4, 2)
    assert [one.name for one in found.added] == ["came"]
    assert [one.name for one in found.removed] == ["gone"]
    columns = {one.column: one for one in found.columns}
    assert set(columns) == {"id", "kind", "size"}
    assert (columns["kind"].appeared, columns["kind"].vanished) == (("d",), ("b", "c"))
    assert [(one.figure, one.before, one.after) for one in columns["size"].schema] == [
        ("dtype", "int64", "float64"), ("nullable", True, False),
    ]  # fmt: skip
    assert [(one.figure, one.before, one.after) for one in columns["size"].profile] == [("missing_share", 0.25, 0.0)]
    figures = {one.figure: (one.before, one.after) for one in columns["id"].profile}
    assert (figures["max"], figures["mean"], figures["quantile 0.95"]) == ((4, 2), (2.5, 1.5), (4, 2))
    assert "min" not in figures
    assert found.schema_changed
    assert DatasetDiff.from_dict(found.as_dict()) == found

    text = difference_text(found)
    assert text.startswith("people@1 → people@2: 4 → 2 rows (-2, -50.00%)\n")
    told = [line.split() for line in text.splitlines()]
    for line in (["came", "added", "–", "int64"], ["gone", "removed", "string", "–"], ["size", "dtype", "int64", "float64"]):
        assert line in told
    assert "kind    appeared" in text
    assert ["size", "missing", "share", "25.00%", "0.00%"] in told


def test_equal_tables_of_two_names_do_not_differ(register):
    content = b"id,kind\n1,a\n2,b\n"
    found = diff_versions(register("people", content), register("humans", content))
    assert (found.added, found.removed, found.columns, found.schema_changed) == ((), (), (), False)
    assert difference_text(found).endswith("The schema is the same.\n\nThe profile is the same.")


def test_texts_are_only_compared_when_the_profiles_name_all_of_them(register):
    few = register("people", b"kind\n" + b"".join(b"k%d\n" % row for row in range(20)))
    many = register("people", b"kind\n" + b"".join(b"k%d\n" % row for row in range(1, 22)))
    (column,) = diff_versions(few, many).columns
    assert (column.appeared, column.vanished) == (None, None)
    assert "Too many different texts to say which came or went: kind." in difference_text(diff_versions(few, many))
