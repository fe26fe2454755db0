"""What reads and events need of definitions, worked out once and kept in memory, up to a bound.

All of it follows from versions of feature sets and datasets, which are never changed or removed; so it cannot become wrong, whichever
process changes what. What does change is never kept here: see `FeatureSets` and `FeatureViews`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from gateline.data import POLARS_TYPES
from gateline.features.engine.derived import aliases_needed
from gateline.features.engine.expressions import FEATURE_TYPES
from gateline.features.online.rows import source_schema
from gateline.kernel.limits import DEFINITIONS_CACHED
from gateline.kernel.names import split_version_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from gateline.data import Datasets
    from gateline.features.declarations.plan import EventSource, Plan
    from gateline.features.model import FeatureSetVersion
    from gateline.features.service import FeatureSets

    Schema = Mapping[str, pl.DataType]

_TYPES = {name: dtype for dtype, name in FEATURE_TYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a request for all features of a set is made of.

    Attributes:
        plan: What the set compiles to.
        schema: Alias to type of what a request brings, besides the keys of views.
        known: Feature to type of what comes from views.
    """

    plan: Plan
    schema: Schema
    known: Schema


class Prepared:
    """Schemas by the id of a feature set version; each method may be called from any thread.

    Args:
        feature_sets: Where definitions are read from.
        datasets: Where types of columns are read from.
    """

    def __init__(self, feature_sets: FeatureSets, datasets: Datasets) -> None:
        self._feature_sets = feature_sets
        self._datasets = datasets
        self._request = lru_cache(maxsize=DEFINITIONS_CACHED)(self._make_request)
        self._keys = lru_cache(maxsize=DEFINITIONS_CACHED)(self._make_keys)
        self._rows = lru_cache(maxsize=DEFINITIONS_CACHED)(self._make_rows)

    def request(self, feature_set: str) -> Request:
        """Return what a request for the set is made of."""
        return self._request(feature_set)

    def keys(self, feature_set: str, view: str) -> Schema:
        """Return alias to type of the entity key of one of the set's views."""
        return self._keys(feature_set, view)

    def rows(self, feature_set: str, dataset: str) -> Schema:
        """Return column to type of the version that the set pins of a dataset."""
        return self._rows(feature_set, dataset)

    def _make_request(self, feature_set: str) -> Request:
        version = self._version(feature_set)
        plan = version.definition.plan
        schema = self._aliases(version, plan.spine)
        dtypes = {one.name: _TYPES[one.dtype] for one in version.features}
        outputs = sorted({name for part in plan.parts for name in part.outputs})
        return Request(
            plan=plan, schema={alias: schema[alias] for alias in aliases_needed(plan)}, known={name: dtypes[name] for name in outputs}
        )

    def _make_keys(self, feature_set: str, view: str) -> Schema:
        version = self._version(feature_set)
        part = next(part for one in version.definition.sourced_views if one.name == view for part in one.parts)
        schema = self._aliases(version, part.source)
        return {alias: schema[alias] for alias in part.keys}

    def _make_rows(self, feature_set: str, dataset: str) -> Schema:
        pinned = self._datasets.get(*split_version_id(self._version(feature_set).dataset_versions[dataset]))
        return {name: POLARS_TYPES[kind] for name, kind in pinned.types.items()}

    def _aliases(self, version: FeatureSetVersion, source: EventSource) -> Schema:
        return source_schema(source, self.rows(version.id, source.dataset))

    def _version(self, feature_set: str) -> FeatureSetVersion:
        return self._feature_sets.get(*split_version_id(feature_set))
