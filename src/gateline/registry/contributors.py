"""Who had a hand in a model version, computed from lineage: none of them may approve it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateline.kernel.errors import NotFound
from gateline.kernel.names import split_version_id
from gateline.lineage import Lineage, Node

if TYPE_CHECKING:
    from gateline.data import Datasets
    from gateline.features import FeatureFits, FeatureSets
    from gateline.registry.model import ModelVersion
    from gateline.tracking import Tracking


def contributors_of(
    version: ModelVersion,
    *,
    lineage: Lineage,
    tracking: Tracking,
    datasets: Datasets,
    feature_sets: FeatureSets,
    feature_fits: FeatureFits,
) -> frozenset[str] | None:
    """Return the author, who ran its training, and who made the data and features it was derived from, however far up.

    Returns None when lineage names a thing that has no record: then nobody can say who contributed. Who asked for a gate run judged the
    model and did not contribute to it.
    """
    graph = lineage.ancestors(Node(kind="model_version", id=version.id))
    try:
        makers = {
            maker
            for node in graph.nodes
            for maker in _makers(node, tracking=tracking, datasets=datasets, feature_sets=feature_sets, feature_fits=feature_fits)
        }
    except NotFound:
        return None
    return frozenset(makers - {""} | {version.created_by})


def _makers(node: Node, *, tracking: Tracking, datasets: Datasets, feature_sets: FeatureSets, feature_fits: FeatureFits) -> Iterator[str]:
    """Yield who made the thing at a node."""
    match node.kind:
        case "dataset_version":
            yield datasets.get(*split_version_id(node.id)).created_by
        case "feature_set_version":
            yield feature_sets.get(*split_version_id(node.id)).created_by
        case "feature_fit":
            yield feature_fits.get(node.id).created_by
        case "run":
            yield tracking.get(node.id).user
        case _:
            return
