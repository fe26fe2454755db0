from __future__ import annotations

from dataclasses import replace

import pytest

from gateline.data import Datasets, ObjectStore, Tables
from gateline.features import FeatureViews
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
def views(ledger, datasets):
    return FeatureViews(ledger, Lineage(ledger.records), datasets)


def test_a_view_becomes_a_version_that_pins_its_data(views, view, ledger):
    version = views.register("developer", view)
    assert version.id == "late_payment@1"
    assert dict(version.dataset_versions) == {"orders": "orders@1", "payments": "payments@1", "shops": "shops@1"}
    assert version.definition == view
    assert views.get("late_payment") == version
    assert views.get("late_payment", 1) == version
    (entry,) = ledger.entries(kind="feature_view.version.registered")
    assert (entry.subject, entry.actor, entry.payload["digest"]) == ("late_payment@1", "developer", version.digest)
    graph = Lineage(ledger.records).ancestors(Node(kind="feature_view_version", id=version.id))
    assert {node.kind for node in graph.nodes} == {"feature_view_version", "dataset_version", "raw_file"}
    assert len(graph.nodes) == 7


def test_the_same_view_over_the_same_data_is_the_same_version(views, view, ledger):
    first = views.register("developer", view)
    size = ledger.size()
    assert views.register("validator", view) == first
    assert ledger.size() == size


def test_a_changed_view_or_newer_data_make_the_next_version(views, view, datasets, tables):
    first = views.register("developer", view)
    second = views.register("developer", replace(view, description="changed"))
    register(datasets, "shops", tables["shops"][0], licence="CC-BY-4.0")
    third = views.register("developer", view)
    assert [one.version for one in (first, second, third)] == [1, 2, 3]
    assert third.dataset_versions["shops"] == "shops@2"
    assert views.register("developer", view, dataset_versions={"shops": 1}) == first
    assert views.list("late_payment") == [first, second, third]


def test_a_version_is_computed_over_the_data_it_pins(views, view, datasets, frames, tables):
    version = views.register("developer", view)
    before = views.compute(version)
    frames["payments"].with_columns(delay=frames["payments"]["delay"] * 2).write_parquet(tables["payments"][0])
    register(datasets, "payments", tables["payments"][0])
    assert views.compute(version).equals(before)
    assert not views.compute(views.register("developer", view)).equals(before)


def test_a_table_that_changed_under_its_digest_is_refused(views, view, datasets):
    version = views.register("developer", view)
    (path,) = datasets.table_paths(datasets.get("shops"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityFailure):
        views.compute(version)


def test_mistakes_leave_nothing(views, view, ledger):
    size = ledger.size()
    elsewhere = replace(view.parts[2].source, dataset="shpos")
    with pytest.raises(InvalidInput, match=r"there is no dataset 'shpos' \(did you mean 'shops'\?\)"):
        views.register("developer", replace(view, parts=(view.parts[0], view.parts[1], replace(view.parts[2], source=elsewhere))))
    with pytest.raises(InvalidInput, match="dataset 'people' is pinned, but the view does not read it"):
        views.register("developer", view, dataset_versions={"people": 1})
    with pytest.raises(NotFound, match="'shops@9'"):
        views.register("developer", view, dataset_versions={"shops": 9})
    with pytest.raises(NotFound, match="late_payment"):
        views.get("late_payment")
    assert ledger.size() == size


def test_a_view_that_sees_the_future_is_not_registered(views, view, ledger):
    size = ledger.size()
    early = with_payments(view, columns={**view.parts[0].source.columns, "known": "paid - INTERVAL '1 hour'"})
    with pytest.raises(InvalidInput, match="sees the future: Feature 'mean_delay': source 'payments' declares") as error:
        views.register("developer", early)
    assert {leak["feature"] for leak in error.value.facts["leaks"]} == {"mean_delay", "last_delay"}
    assert ledger.size() == size


def test_a_check_of_a_version_says_what_was_found(views, view):
    assert views.check(views.register("developer", view), seed=3, rows=10) == ()
