"""Typed edges from raw data to each deployed prediction."""

from gateline.lineage.model import Edge, Graph, Node
from gateline.lineage.service import Lineage

__all__ = ["Edge", "Graph", "Lineage", "Node"]
