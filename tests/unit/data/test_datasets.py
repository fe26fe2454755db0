from __future__ import annotations

import math

import polars as pl
import pytest

from gateline.data.profile import profile_table
from gateline.kernel.errors import IntegrityFailure, InvalidInput, NotFound
from gateline.lineage import Lineage, Node
from tests.unit.data.conftest import PEOPLE

PROVENANCE = {"source": "made for the test", "licence": "CC0-1.0", "null_values": ("NA",)}


def test_a_raw_file_becomes_a_version_with_schema_rows_profile_and_digest(datasets, raw):
    version = datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE)
    assert version.id == "people@1"
    assert version.types == {"name": "string", "age": "int64"}
    assert version.row_count == 3
    assert version.raw_sha256 == raw
    assert len(version.digest) == 64
    assert version.profile["age"]["missing"] == 1
    assert version.profile["age"]["mean"] == 35
    assert version.profile["name"]["distinct"] == 3
    assert pl.read_parquet(datasets.table_paths(version)).rows() == [("Ann", 30), ("Bob", None), ("Cid", 40)]
    assert datasets.get("people") == version
    assert datasets.get("people", 1) == version


def test_the_same_call_again_gives_the_same_version_and_no_entry(datasets, raw, ledger):
    first = datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE)
    size = ledger.size()
    assert datasets.register("validator", "people", file=raw, format="csv", **PROVENANCE) == first
    assert ledger.size() == size


def test_other_bytes_options_or_provenance_make_the_next_version(datasets, raw, objects):
    first = datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE)
    other = objects.put_bytes(PEOPLE + b"Dan,50\n").sha256
    second = datasets.register("developer", "people", file=other, format="csv", **PROVENANCE)
    third = datasets.register("developer", "people", file=raw, format="csv", **{**PROVENANCE, "null_values": ()})
    fourth = datasets.register("developer", "people", file=raw, format="csv", **{**PROVENANCE, "licence": "CC-BY-4.0"})
    found = [first, second, third, fourth]
    assert [version.version for version in found] == [1, 2, 3, 4]
    assert len({version.digest for version in found}) == 4
    assert datasets.list("people") == found
    assert datasets.get("people").version == 4


def test_equal_bytes_options_and_provenance_have_one_digest_under_any_name_and_equal_files(datasets, raw):
    first = datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE)
    second = datasets.register("developer", "humans", file=raw, format="csv", **PROVENANCE)
    assert (first.digest, first.logical_digest) == (second.digest, second.logical_digest)
    assert [file.sha256 for file in first.files] == [file.sha256 for file in second.files]
    assert {file.path for file in first.files} & {file.path for file in second.files} == set()


def test_purpose_legal_basis_and_time_of_collection_are_part_of_the_version(datasets, raw):
    said = {"purpose": "a study", "legal_basis": "consent", "collected_from": 1, "collected_to": 2}
    version = datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE, **said)
    assert said.items() <= version.provenance.as_dict().items()
    assert version.digest != datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE).digest
    with pytest.raises(InvalidInput, match="is later than 'collected_to'"):
        datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE, collected_from=2, collected_to=1)


def test_an_entry_names_the_very_files_and_when_the_source_was_read(datasets, raw, ledger, clock):
    version = datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE)
    (entry,) = ledger.entries(kind="dataset.version.registered")
    assert entry.payload["files"] == [file.as_dict() for file in version.files]
    assert entry.payload["as_of"] == version.as_of == clock.now()
    assert version.made_of.as_dict() == {"kind": "file"}


def test_registering_leaves_an_entry_and_lineage_to_the_raw_file(datasets, raw, ledger):
    version = datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE)
    (entry,) = ledger.entries(kind="dataset.version.registered")
    assert (entry.subject, entry.actor, entry.payload["digest"]) == ("people@1", "developer", version.digest)
    graph = Lineage(ledger.records).ancestors(Node(kind="dataset_version", id="people@1"))
    assert ("raw_file", raw) in {(node.kind, node.id) for node in graph.nodes}


def damage(path):
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")


def test_verify_names_every_file_that_changed_under_its_digest(datasets, raw, objects):
    version = datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE)
    assert datasets.verify("people") == version
    (table,) = datasets.table_paths(version)
    for path in (objects.path(raw), table):
        damage(path)
    with pytest.raises(IntegrityFailure) as error:
        datasets.verify("people", 1)
    assert "The raw file: " in error.value.message
    assert "The table file 1: " in error.value.message
    assert str(objects.path(raw)) in error.value.message
    assert str(table) in error.value.message
    assert len(error.value.facts["faults"]) == 2
    with pytest.raises(IntegrityFailure):
        datasets.table_paths(version)
    with pytest.raises(IntegrityFailure):
        datasets.file_path(version.files[0].sha256)


def test_a_table_file_that_is_missing_is_named_with_what_to_do(datasets, raw):
    version = datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE)
    (path,) = datasets.table_paths(version)
    path.unlink()
    with pytest.raises(NotFound, match="people@1: The table file .* is missing. Restore it with: gateline dataset reconstruct people@1"):
        datasets.table_paths(version)
    with pytest.raises(IntegrityFailure, match="The table file 1: .* is missing"):
        datasets.verify("people")


def test_a_missing_table_file_is_read_from_its_copy_in_the_object_store(datasets, raw, objects):
    version = datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE)
    (path,) = datasets.table_paths(version)
    objects.put_file(path)
    path.unlink()
    assert datasets.table_paths(version) == (objects.path(version.files[0].sha256),)


def test_a_table_file_is_found_by_its_digest(datasets, raw, objects):
    version = datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE)
    assert (datasets.file_path(version.files[0].sha256),) == datasets.table_paths(version)
    assert datasets.file_path(raw) == objects.path(raw)
    with pytest.raises(NotFound):
        datasets.file_path("0" * 64)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("UPDATE dataset_version SET row_count = 4", "record of people@1 differs from its digest"),
        ("UPDATE dataset_version SET as_of = 4", "differs from the ledger's entry of its registration in as_of"),
        ("UPDATE dataset_file SET path = 'other.parquet'", "differs from the ledger's entry of its registration in files"),
    ],
)
def test_verify_notices_a_record_that_was_edited(datasets, raw, ledger, change, fault):
    datasets.register("developer", "people", file=raw, format="csv", **PROVENANCE)
    with ledger.records.engine.begin() as connection:
        connection.exec_driver_sql(change)
    with pytest.raises(IntegrityFailure, match=fault):
        datasets.verify("people")


def test_mistakes_of_the_call_are_named_at_once_and_leave_nothing(datasets, raw, ledger):
    with pytest.raises(InvalidInput) as error:
        datasets.register("developer", "people", file=raw, format="xls", source="s", licence="l", types={"age": "number"})
    assert "'xls' is no file format" in error.value.message
    assert "'number', declared for column 'age', is no type" in error.value.message
    with pytest.raises(InvalidInput, match=r"'source' is missing; 'licence' is missing"):
        datasets.register("developer", "people", file=raw, format="csv", source="", licence=" ")
    with pytest.raises(InvalidInput, match="dataset name"):
        datasets.register("developer", "People!", file=raw, format="csv", **PROVENANCE)
    with pytest.raises(NotFound, match="Upload it first"):
        datasets.register("developer", "people", file="0" * 64, format="csv", **PROVENANCE)
    with pytest.raises(NotFound, match="no dataset version 'people'"):
        datasets.get("people")
    assert ledger.size() == 0


def test_a_profile_has_finite_figures_whatever_the_values():
    table = pl.DataFrame(
        {"f": [1.0, math.nan, math.inf, None], "s": ["b", "a", "b", None], "n": [None, None, None, None], "b": [True, False, True, None]},
        schema_overrides={"n": pl.Int64},
    )
    found = profile_table(table)
    assert found["f"] == {
        "missing": 1, "non_finite": 2, "distinct": 1, "min": 1.0, "max": 1.0, "mean": 1.0, "std": None,
        "quantiles": {"0.05": 1.0, "0.25": 1.0, "0.5": 1.0, "0.75": 1.0, "0.95": 1.0},
    }  # fmt: skip
    assert found["s"] == {"missing": 1, "distinct": 2, "top": [{"value": "b", "count": 2}, {"value": "a", "count": 1}]}
    assert found["n"]["mean"] is None
    assert found["b"] == {"missing": 1, "true": 2, "false": 1}
