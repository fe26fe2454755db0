"""What was registered as a feature view before feature sets were called that stays readable, with its lineage."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

import gateline
from gateline.data import Datasets, ObjectStore, Tables
from gateline.features import FeatureSets, LatestView, LookupView, OnDemandView, WindowView
from gateline.kernel.canonical import canonical_bytes
from gateline.ledger import Ledger, SigningKey
from gateline.lineage import Lineage, Node

SOURCE = {
    "name": "orders", "dataset": "orders", "columns": {"id": "id", "shop": "shop", "at": "at", "amount": "amount"}, "event_time": "at",
    "available_at": "at", "where": None, "tie_breaker": [], "known_ahead": False,
}  # fmt: skip
PARTS = [
    {
        "kind": "latest", "name": "last", "source": "orders", "key": ["shop"], "features": {"last_amount": "amount"},
        "max_age_seconds": 3600, "offset_seconds": 60,
    },
    {
        "kind": "window", "name": "spent", "source": "orders", "key": ["shop"], "column": "amount", "aggregate": "sum",
        "window_seconds": 7200, "offset_seconds": 0,
    },
    {"kind": "lookup", "name": "own", "source": "orders", "key": ["id"], "features": {"own_amount": "amount"}},
]  # fmt: skip
DEFINITION = {
    "name": "spending", "sources": [SOURCE], "spine": "orders", "entity": ["id"], "time": "at", "parts": PARTS, "columns": ["amount"],
    "on_demand": [{"name": "share", "sql": "amount / spent"}], "label": None, "unit": "", "slices": [], "categorical": [],
    "known_at": [], "description": "As it was.",
}  # fmt: skip
FEATURES = ("last_amount", "spent", "own_amount", "amount", "share")


@pytest.fixture
def feature_sets(unmigrated_records, clock, home):
    """The set `spending@1` in the schema of revision 0001, brought to the newest."""
    config = Config()
    config.set_main_option("script_location", f"{gateline.__path__[0]}/migrations")
    with unmigrated_records.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    row = {
        "id": "spending@1", "name": "spending", "version": 1, "digest": "d" * 64, "definition_digest": "e" * 64, "definition": DEFINITION,
        "dataset_versions": {"orders": "orders@1"}, "dataset_digests": {"orders": "f" * 64},
        "features": [{"name": name, "dtype": "float64", "kind": "numeric"} for name in FEATURES], "created_at": 7,
        "created_by": "developer",
    }  # fmt: skip
    node = {"kind": "feature_view_version", "id": "spending@1", "label": "spending@1"}
    edge = {
        "source_kind": "feature_view_version", "source_id": "spending@1", "target_kind": "model_version", "target_id": "m@1",
        "relation": "computed_by", "created_at": 7,
    }  # fmt: skip
    with unmigrated_records.engine.begin() as connection:
        for table, fields in (("feature_view_version", row), ("lineage_node", node), ("lineage_edge", edge)):
            stored = {name: one if isinstance(one, str | int) else canonical_bytes(one).decode() for name, one in fields.items()}
            names, places = ", ".join(f'"{name}"' for name in stored), ", ".join(f":{name}" for name in stored)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), stored)
    unmigrated_records.migrate()
    ledger, lineage = Ledger(unmigrated_records, clock, SigningKey.load_or_create(home / "keys")), Lineage(unmigrated_records)
    datasets = Datasets(ledger, ObjectStore(home / "objects"), lineage, Tables(str(home / "tables"), cache=home / "cache"))
    return FeatureSets(ledger, lineage, datasets)


def test_its_definition_means_what_it_meant_and_its_digest_is_kept(feature_sets):
    version = feature_sets.get("spending")
    assert (version.id, version.digest, version.created_by) == ("spending@1", "d" * 64, "developer")
    assert [type(view) for view in version.definition.views] == [LatestView, WindowView, LookupView, OnDemandView]
    assert version.definition.features == FEATURES
    last, spent, own = version.definition.plan.parts
    assert (last.keys, last.max_age_seconds, last.offset_seconds) == (("shop",), 3600, 60)
    assert (spent.aggregate, spent.column, spent.window_seconds, spent.hop_seconds) == ("sum", "amount", 7200, 0)
    assert (own.keys, own.features) == (("id",), {"own_amount": "amount"})
    assert version.definition.plan.on_demand[0].sql == "amount / spent"


def test_what_was_made_of_it_still_leads_back_to_it(feature_sets, unmigrated_records):
    graph = Lineage(unmigrated_records).ancestors(Node(kind="model_version", id="m@1"))
    assert [(node.kind, node.id) for node in graph.nodes] == [("model_version", "m@1"), ("feature_set_version", "spending@1")]
    assert feature_sets.list()[0].id == "spending@1"
