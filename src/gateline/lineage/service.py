"""Writing and walking lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, tuple_

from gateline.lineage import store
from gateline.lineage.model import Edge, Graph, Node
from gateline.lineage.store import EdgeRow, NodeRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gateline.kernel.records import Records
    from gateline.ledger import Transaction

_NODES_MAX = 10_000


class Lineage:
    """What was made from what, from raw files to predictions."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def link(self, tx: Transaction, source: Node, target: Node, relation: str) -> None:
        """Record that `target` was derived from `source`; a known edge is left as it is, also when two changes link at once."""
        for node in (source, target):
            store.insert_once(tx.session, store.NodeRow, node.as_dict())
        edge = {
            "source_kind": source.kind, "source_id": source.id, "target_kind": target.kind, "target_id": target.id,
            "relation": relation, "created_at": tx.now,
        }  # fmt: skip
        if store.insert_once(tx.session, store.EdgeRow, edge):
            tx.record("lineage.linked", f"{target.kind}:{target.id}", {"source": f"{source.kind}:{source.id}", "relation": relation})

    def ancestors(self, node: Node) -> Graph:
        """Return the node and everything it was derived from, nearest first, at most 10,000 nodes."""
        with self._records.read() as session:
            found: dict[tuple[str, str], Node] = {(node.kind, node.id): self._labelled(session, node)}
            edges: list[Edge] = []
            frontier = [node]
            while frontier and len(found) < _NODES_MAX:
                frontier = self._step(session, frontier, found, edges)
            return Graph(nodes=tuple(found.values()), edges=tuple(edges))

    def leads_to(self, node: Node, kind: str) -> bool:
        """Return whether anything of a kind was derived from the node, directly or through others; yes when more than 10,000 nodes were."""
        with self._records.read() as session:
            known, frontier = {(node.kind, node.id)}, [(node.kind, node.id)]
            while frontier:
                query = select(EdgeRow.target_kind, EdgeRow.target_id).where(tuple_(EdgeRow.source_kind, EdgeRow.source_id).in_(frontier))
                found = {(target, identity) for target, identity in session.execute(query)} - known
                if any(target == kind for target, _ in found):
                    return True
                known |= found
                if len(known) > _NODES_MAX:
                    return True
                frontier = sorted(found)
        return False

    def _step(self, session: Session, frontier: list[Node], found: dict[tuple[str, str], Node], edges: list[Edge]) -> list[Node]:
        """Follow the edges that end in the frontier, and return the nodes met for the first time."""
        keys = [(node.kind, node.id) for node in frontier]
        query = select(EdgeRow).where(tuple_(EdgeRow.target_kind, EdgeRow.target_id).in_(keys)).order_by(EdgeRow.created_at)
        fresh: list[Node] = []
        for row in session.scalars(query).all():
            key = (row.source_kind, row.source_id)
            if key not in found:
                found[key] = self._labelled(session, Node(kind=row.source_kind, id=row.source_id))
                fresh.append(found[key])
            edges.append(Edge(source=found[key], target=found[row.target_kind, row.target_id], relation=row.relation))
        return fresh

    @staticmethod
    def _labelled(session: Session, node: Node) -> Node:
        row = session.get(NodeRow, (node.kind, node.id))
        return node if row is None else Node(kind=node.kind, id=node.id, label=row.label)
