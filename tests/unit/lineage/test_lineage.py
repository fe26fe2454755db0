"""Lineage from raw files to predictions."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gateline.lineage import Lineage, Node

if TYPE_CHECKING:
    from gateline.ledger import Ledger

RAW = Node(kind="raw_file", id="f" * 64, label="flights.csv.zip")
DATA = Node(kind="dataset_version", id="flights@1")
VIEW = Node(kind="feature_set_version", id="delay@1")
MODEL = Node(kind="model_version", id="m@1")


def link(ledger: Ledger, source: Node, target: Node, relation: str = "made_from") -> None:
    with ledger.transaction("tester") as tx:
        Lineage(ledger.records).link(tx, source, target, relation)


def test_ancestors_lead_back_to_the_raw_file_nearest_first(ledger: Ledger) -> None:
    link(ledger, RAW, DATA)
    link(ledger, DATA, VIEW)
    link(ledger, VIEW, MODEL)
    link(ledger, DATA, MODEL, "read_by")
    found = Lineage(ledger.records).ancestors(MODEL)
    assert [node.id for node in found.nodes] == [MODEL.id, VIEW.id, DATA.id, RAW.id]
    assert found.nodes[-1].label == "flights.csv.zip"
    assert len(found.edges) == 4


def test_the_same_edge_twice_is_one_edge_and_one_entry(ledger: Ledger) -> None:
    link(ledger, RAW, DATA)
    link(ledger, RAW, DATA)
    assert len(Lineage(ledger.records).ancestors(DATA).edges) == 1
    assert len(ledger.entries(kind="lineage.linked")) == 1


def test_two_changes_that_link_the_same_nodes_at_once_both_commit(ledger: Ledger) -> None:
    threads = [threading.Thread(target=link, args=(ledger, RAW, DATA)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.entries(kind="lineage.linked")) == 1
    assert ledger.verify().sound


def test_a_node_without_history_is_alone(ledger: Ledger) -> None:
    assert Lineage(ledger.records).ancestors(RAW).nodes == (RAW,)
