from __future__ import annotations

from dataclasses import replace

import pytest

from gateline.data import Datasets, ObjectStore, Tables
from gateline.features import FeatureSets
from gateline.kernel.errors import IntegrityFailure, InvalidInput, NotFound
from gateline.lineage import Lineage, Node
from tests.unit.features.conftest import with_payments


@pytest.fixture
def datasets(ledger, home, tables):
    datasets = Datasets(ledger, ObjectStore(home / "objects"), Lineage(ledger.records), Tables(str(home / "tables"), cache=home / "cache"))
    for name, (path,) in tables.items():
        register(datasets, name, path)
    return datasets


def register(datasets, name, path, licence="CC0-1.0"):
    file = datasets._objects.put_file(path).sha256
    return datasets.register("developer", name, file=file, format="parquet", source="made for the test", licence=licence)


@pytest.fixture
def feature_sets(ledger, datasets):
    return FeatureSets(ledger, Lineage(ledger.records), datasets)


def test_a_view_becomes_a_version_that_pins_its_data(feature_sets, feature_set, ledger):
    version = feature_sets.register("developer", feature_set)
    assert version.id == "late_payment@1"
    assert dict(version.dataset_versions) == {"orders": "orders@1", "payments": "payments@1", "shops": "shops@1"}
    assert version.definition == feature_set
    assert feature_sets.get("late_payment") == version
    assert feature_sets.get("late_payment", 1) == version
    (entry,) = ledger.entries(kind="feature_set.version.registered")
    assert (entry.subject, entry.actor, entry.payload["digest"]) == ("late_payment@1", "developer", version.digest)
    graph = Lineage(ledger.records).ancestors(Node(kind="feature_set_version", id=version.id))
    assert {node.kind for node in graph.nodes} == {"feature_set_version", "dataset_version", "raw_file"}
    assert len(graph.nodes) == 7


def test_the_same_view_over_the_same_data_is_the_same_version(feature_sets, feature_set, ledger):
    first = feature_sets.register("developer", feature_set)
    size = ledger.size()
    assert feature_sets.register("validator", feature_set) == first
    assert ledger.size() == size


def test_a_changed_view_or_newer_data_make_the_next_version(feature_sets, feature_set, datasets, tables):
    first = feature_sets.register("developer", feature_set)
    second = feature_sets.register("developer", replace(feature_set, description="changed"))
    register(datasets, "shops", tables["shops"][0], licence="CC-BY-4.0")
    third = feature_sets.register("developer", feature_set)
    assert [one.version for one in (first, second, third)] == [1, 2, 3]
    assert third.dataset_versions["shops"] == "shops@2"
    assert feature_sets.register("developer", feature_set, dataset_versions={"shops": 1}) == first
    assert feature_sets.list("late_payment") == [first, second, third]


def test_a_version_is_computed_over_the_data_it_pins(feature_sets, feature_set, datasets, frames, tables):
    version = feature_sets.register("developer", feature_set)
    before = feature_sets.compute(version)
    frames["payments"].with_columns(delay=frames["payments"]["delay"] * 2).write_parquet(tables["payments"][0])
    register(datasets, "payments", tables["payments"][0])
    assert feature_sets.compute(version).equals(before)
    assert not feature_sets.compute(feature_sets.register("developer", feature_set)).equals(before)


def test_a_table_that_changed_under_its_digest_is_refused(feature_sets, feature_set, datasets):
    version = feature_sets.register("developer", feature_set)
    (path,) = datasets.table_paths(datasets.get("shops"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityFailure):
        feature_sets.compute(version)


def test_mistakes_leave_nothing(feature_sets, feature_set, ledger):
    size = ledger.size()
    elsewhere = replace(feature_set.parts[2].source, dataset="shpos")
    with pytest.raises(InvalidInput, match=r"there is no dataset 'shpos' \(did you mean 'shops'\?\)"):
        feature_sets.register(
            "developer",
            replace(feature_set, parts=(feature_set.parts[0], feature_set.parts[1], replace(feature_set.parts[2], source=elsewhere))),
        )
    with pytest.raises(InvalidInput, match="dataset 'people' is pinned, but the set does not read it"):
        feature_sets.register("developer", feature_set, dataset_versions={"people": 1})
    with pytest.raises(NotFound, match="'shops@9'"):
        feature_sets.register("developer", feature_set, dataset_versions={"shops": 9})
    with pytest.raises(NotFound, match="late_payment"):
        feature_sets.get("late_payment")
    assert ledger.size() == size


def test_a_view_that_sees_the_future_is_not_registered(feature_sets, feature_set, ledger):
    size = ledger.size()
    early = with_payments(feature_set, columns={**feature_set.parts[0].source.columns, "known": "paid - INTERVAL '1 hour'"})
    with pytest.raises(InvalidInput, match="sees the future: Feature 'mean_delay': source 'payments' declares") as error:
        feature_sets.register("developer", early)
    assert {leak["feature"] for leak in error.value.facts["leaks"]} == {"mean_delay", "last_delay"}
    assert ledger.size() == size


def test_a_check_of_a_version_says_what_was_found(feature_sets, feature_set):
    assert feature_sets.check(feature_sets.register("developer", feature_set), seed=3, rows=10) == ()
