"""Feature sets: what a model uses, as people declare it, and what is registered of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NewType

from gateline.data.model import DatasetVersionId
from gateline.features.declarations.plan import EventSource, KnownAt, Label, Plan
from gateline.features.declarations.request_views import CalendarView, OnDemandView
from gateline.features.declarations.transforms import Transform
from gateline.features.declarations.views import SourcedView, View
from gateline.kernel.canonical import digest
from gateline.kernel.clock import Instant

FeatureSetVersionId = NewType("FeatureSetVersionId", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSet:
    """A named set of features with their label: one row for each row of the spine.

    Attributes:
        name: Name of the set.
        spine: The requests: who is asked about and when. Its columns must be available at `time`.
        entity: Spine aliases that identify a row; together they give `row_id`.
        time: Spine alias of `t`, the time at which the features are taken.
        views: Where the features come from.
        columns: Spine aliases that are features as they are.
        label: What is predicted; None for a set that only serves.
        unit: Spine alias of the dependence unit that intervals resample, such as the day.
        slices: Spine aliases by which quality is looked at.
        categorical: Features whose values are categories.
        known_at: Facts about when columns of the datasets are known.
        fitted: Transforms that are fitted to training rows, in order; see `fitted.fit`. They do not change what is computed.
        description: What the set is for.
    """

    name: str
    spine: EventSource
    entity: str | tuple[str, ...]
    time: str
    views: tuple[View, ...] = ()
    columns: tuple[str, ...] = ()
    label: Label | None = None
    unit: str = ""
    slices: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    known_at: tuple[KnownAt, ...] = ()
    fitted: tuple[Transform, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "entity", (self.entity,) if isinstance(self.entity, str) else tuple(self.entity))

    @property
    def plan(self) -> Plan:
        """What the set compiles to."""
        return Plan(
            name=self.name,
            spine=self.spine,
            entity=self.entity,
            time=self.time,
            parts=tuple(part for view in self.views for part in view.parts),
            calendars=tuple(view.calendar_part(self.time) for view in self.views if isinstance(view, CalendarView)),
            columns=self.columns,
            on_demand=tuple(one for view in self.views if isinstance(view, OnDemandView) for one in view.on_demand),
            label=self.label,
            unit=self.unit,
            slices=self.slices,
            categorical=self.categorical,
            known_at=self.known_at,
        )

    @property
    def sourced_views(self) -> tuple[SourcedView, ...]:
        """The views whose values come from a source, and so can be kept online."""
        return tuple(view for view in self.views if not isinstance(view, OnDemandView | CalendarView))

    @property
    def entities(self) -> tuple[str, ...]:
        """The entity as a tuple."""
        return self.plan.entities

    @property
    def features(self) -> tuple[str, ...]:
        """Names of all features, in the order of the plan."""
        return self.plan.features

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets that the set reads, sorted."""
        return self.plan.datasets

    def as_dict(self) -> dict[str, Any]:
        """Return the canonical definition; `codec.set_from_dict` reads it back."""
        return {
            "name": self.name,
            "sources": [source.as_dict() for source in self.plan.sources],
            "spine": self.spine.name,
            "entity": list(self.entity),
            "time": self.time,
            "views": [view.as_dict() for view in self.views],
            "columns": list(self.columns),
            "label": self.label.as_dict() if self.label else None,
            "unit": self.unit,
            "slices": list(self.slices),
            "categorical": sorted(self.categorical),
            "known_at": [one.as_dict() for one in self.known_at],
            "fitted": [one.as_dict() for one in self.fitted],
            "description": self.description,
        }

    @property
    def digest(self) -> str:
        """Digest of the definition, which changes with every field."""
        return digest("feature_set", self.as_dict())


class FeatureKind(StrEnum):
    """What a feature's values are."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureColumn:
    """A feature with its type: dtype is int64, float64, boolean or string. Every feature may be missing."""

    name: str
    dtype: str
    kind: FeatureKind

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"name": self.name, "dtype": self.dtype, "kind": self.kind.value}


class LeakKind(StrEnum):
    """How the future reaches a feature."""

    FUTURE_ROW = "future_row"
    REQUEST_TOO_EARLY = "request_too_early"
    BEFORE_EVENT = "before_event"
    BEFORE_KNOWN = "before_known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A feature that uses what was not known at `t`.

    Attributes:
        kind: How.
        feature: Which feature.
        row: An example: a row id of the set, or `dataset[row number]`, counted from 1.
        t: The time at which that row uses the value, in UTC microseconds.
        detail: A sentence with the numbers.
    """

    kind: LeakKind
    feature: str
    row: str
    t: Instant
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"kind": self.kind.value, "feature": self.feature, "row": self.row, "t": self.t, "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSetVersion:
    """One immutable version of a feature set: its definition, and the dataset versions it reads.

    Attributes:
        id: Name and number, such as `flight_delay@1`.
        digest: Digest of definition and dataset versions.
        definition: The set.
        dataset_versions: Dataset name to the pinned version.
        dataset_digests: Dataset name to the digest of the pinned version.
        features: The features with their types, in the order of the set.
        created_at: UTC microseconds.
    """

    id: FeatureSetVersionId
    name: str
    version: int
    digest: str
    definition: FeatureSet
    dataset_versions: Mapping[str, DatasetVersionId]
    dataset_digests: Mapping[str, str]
    features: tuple[FeatureColumn, ...]
    created_at: Instant
    created_by: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "id": self.id, "name": self.name, "version": self.version, "digest": self.digest, "definition_digest": self.definition.digest,
            "definition": self.definition.as_dict(), "dataset_versions": dict(sorted(self.dataset_versions.items())),
            "dataset_digests": dict(sorted(self.dataset_digests.items())), "features": [one.as_dict() for one in self.features],
            "created_at": self.created_at, "created_by": self.created_by,
        }  # fmt: skip
