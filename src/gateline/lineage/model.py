"""What was made from what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A thing that has a history.

    Attributes:
        kind: raw_file, dataset_version, feature_set_version, feature_fit, frame, run, gate_run, model_version, endpoint or
            prediction_segment.
        id: Its record id, or its SHA-256 when it is a file.
        label: Words for people; not part of the identity.
    """

    kind: str
    id: str
    label: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"kind": self.kind, "id": self.id, "label": self.label}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """`target` was derived from `source`; `relation` says how."""

    source: Node
    target: Node
    relation: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"source": self.source.as_dict(), "target": self.target.as_dict(), "relation": self.relation}


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A node and all it was derived from; nearest first."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"nodes": [node.as_dict() for node in self.nodes], "edges": [edge.as_dict() for edge in self.edges]}
