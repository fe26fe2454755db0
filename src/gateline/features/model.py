"""Declarations of features. They say what is computed, as known when; `gateline.features.compute` and serving both follow them.

Times: a row of a source says what happened at `event_time` and could be known from `available_at` on; a feature of a row at time `t` uses
only what was available at `t`. Expressions are SQL over the columns of one dataset row, from the closed vocabulary in `rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NewType, TypeAlias

from gateline.data.model import DatasetVersionId
from gateline.kernel.canonical import digest
from gateline.kernel.clock import Instant, iso, parse_iso

FeatureSetVersionId = NewType("FeatureSetVersionId", str)


def instant(text: str) -> str:
    """Return the expression of a fixed instant, for tables that are known as a whole from then on.

    >>> instant("2013-01-01T00:00:00Z")
    "CAST('2013-01-01T00:00:00.000000Z' AS TIMESTAMPTZ)"

    Raises:
        InvalidInput: the text is no ISO 8601 time with an offset.
    """
    return f"CAST('{iso(parse_iso(text))}' AS TIMESTAMPTZ)"


def _names(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


class Aggregate(StrEnum):
    """How the values in a window become one. Missing values are left out; of no values, `count` is 0 and the others are missing."""

    MEAN = "mean"
    COUNT = "count"
    SUM = "sum"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows of a dataset with the time they speak of and the time they could be known.

    Rows without event time or availability are never used; NaN and infinities count as missing.

    Attributes:
        name: Unique within the set.
        dataset: Name of the dataset; its version is pinned when the set is registered.
        columns: Alias to expression over the dataset's columns.
        event_time: Alias of the time the row speaks of.
        available_at: Alias of the time the row could be known first.
        where: Expression that rows must satisfy; None keeps all.
        tie_breaker: Aliases that order rows of equal event time and availability.
        known_ahead: Whether rows may be known before their event time, as schedules and forecasts are.
    """

    name: str
    dataset: str
    columns: Mapping[str, str]
    event_time: str
    available_at: str
    where: str | None = None
    tie_breaker: tuple[str, ...] = ()
    known_ahead: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "name": self.name, "dataset": self.dataset, "columns": dict(sorted(self.columns.items())), "event_time": self.event_time,
            "available_at": self.available_at, "where": self.where, "tie_breaker": list(self.tie_breaker), "known_ahead": self.known_ahead,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """The newest row of a key that was available at `t - offset`: greatest event time, then availability, then tie-breaker.

    Attributes:
        name: Unique within the set.
        source: Where the rows come from.
        key: Aliases that row and spine share.
        features: Feature name to source alias.
        max_age_seconds: Age (`t - offset - event_time`) up to which the row counts; an older one gives missing values.
        offset_seconds: How much earlier than `t` one looks.
    """

    name: str
    source: Source
    key: str | tuple[str, ...]
    features: Mapping[str, str]
    max_age_seconds: int
    offset_seconds: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _names(self.key))

    @property
    def outputs(self) -> Mapping[str, str]:
        """Feature name to source alias, by name."""
        return dict(sorted(self.features.items()))

    @property
    def keys(self) -> tuple[str, ...]:
        """The key as a tuple."""
        return _names(self.key)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; the source is given by name."""
        return {
            "kind": "latest", "name": self.name, "source": self.source.name, "key": list(self.keys),
            "features": dict(sorted(self.features.items())), "max_age_seconds": self.max_age_seconds, "offset_seconds": self.offset_seconds,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """An aggregate over the rows of a key that became available in `(t - offset - window, t - offset]`, exactly.

    Attributes:
        name: The feature.
        source: Where the rows come from.
        key: Aliases that row and spine share.
        column: Source alias that is aggregated.
        aggregate: mean, count, sum, min or max.
        window_seconds: Length of the window.
        offset_seconds: How much earlier than `t` the window ends.
    """

    name: str
    source: Source
    key: str | tuple[str, ...]
    column: str
    aggregate: Aggregate | str
    window_seconds: int
    offset_seconds: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _names(self.key))

    @property
    def outputs(self) -> Mapping[str, str]:
        """Feature name to source alias."""
        return {self.name: self.column}

    @property
    def keys(self) -> tuple[str, ...]:
        """The key as a tuple."""
        return _names(self.key)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; the source is given by name."""
        return {
            "kind": "window", "name": self.name, "source": self.source.name, "key": list(self.keys), "column": self.column,
            "aggregate": str(self.aggregate), "window_seconds": self.window_seconds, "offset_seconds": self.offset_seconds,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Columns of a reference table with one row per key, as far as that row was available at `t`.

    Attributes:
        name: Unique within the set.
        source: The table; often its `available_at` is one fixed `instant`.
        key: Aliases that table and spine share; unique in the table.
        features: Feature name to source alias.
    """

    name: str
    source: Source
    key: str | tuple[str, ...]
    features: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _names(self.key))

    @property
    def outputs(self) -> Mapping[str, str]:
        """Feature name to source alias, by name."""
        return dict(sorted(self.features.items()))

    @property
    def keys(self) -> tuple[str, ...]:
        """The key as a tuple."""
        return _names(self.key)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; the source is given by name."""
        return {
            "kind": "lookup", "name": self.name, "source": self.source.name, "key": list(self.keys),
            "features": dict(sorted(self.features.items())),
        }  # fmt: skip


Part: TypeAlias = Latest | Window | Lookup


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemand:
    """A feature computed from one row: an expression over spine columns and the features of parts."""

    name: str
    sql: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"name": self.name, "sql": self.sql}


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What the model predicts, and when it became known.

    Attributes:
        source: The spine itself, or a source that has the entity's aliases and at most one row per entity.
        sql: Value over the dataset's columns; missing when it never became known.
        available_at: Time over the dataset's columns.
    """

    source: Source
    sql: str
    available_at: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; the source is given by name."""
        return {"source": self.source.name, "sql": self.sql, "available_at": self.available_at}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAt:
    """A fact about a dataset: these columns of a row are known only from the time `sql` on.

    It is declared once, beside the data, and every source that uses the columns is held against it by `find_leaks`.
    """

    dataset: str
    columns: tuple[str, ...]
    sql: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"dataset": self.dataset, "columns": sorted(self.columns), "sql": self.sql}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSet:
    """A named set of features with their label: one row for each row of the spine.

    Attributes:
        name: Name of the set.
        spine: The requests: who is asked about and when. Its columns must be available at `time`.
        entity: Spine aliases that identify a row; together they give `row_id`.
        time: Spine alias of `t`, the time at which the features are taken.
        parts: Features from sources.
        columns: Spine aliases that are features as they are.
        on_demand: Features computed from the row.
        label: What is predicted; None for a set that only serves.
        unit: Spine alias of the dependence unit that intervals resample, such as the day.
        slices: Spine aliases by which quality is looked at.
        categorical: Features whose values are categories.
        known_at: Facts about when columns of the datasets are known.
        description: What the set is for.
    """

    name: str
    spine: Source
    entity: str | tuple[str, ...]
    time: str
    parts: tuple[Part, ...] = ()
    columns: tuple[str, ...] = ()
    on_demand: tuple[OnDemand, ...] = ()
    label: Label | None = None
    unit: str = ""
    slices: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    known_at: tuple[KnownAt, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "entity", _names(self.entity))

    @property
    def entities(self) -> tuple[str, ...]:
        """The entity as a tuple."""
        return _names(self.entity)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The spine, then every other source, each once, in order of use."""
        used = [self.spine, *(part.source for part in self.parts), *((self.label.source,) if self.label else ())]
        unique: list[Source] = []
        for source in used:
            if source not in unique:
                unique.append(source)
        return tuple(unique)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of all features: of parts (by name within a part), then spine columns, then on demand."""
        return (*(name for part in self.parts for name in part.outputs), *self.columns, *(one.name for one in self.on_demand))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets that the set reads, sorted."""
        return tuple(sorted({source.dataset for source in self.sources}))

    def as_dict(self) -> dict[str, Any]:
        """Return the canonical definition; `codec.view_from_dict` reads it back."""
        return {
            "name": self.name,
            "sources": [source.as_dict() for source in self.sources],
            "spine": self.spine.name,
            "entity": list(self.entities),
            "time": self.time,
            "parts": [part.as_dict() for part in self.parts],
            "columns": list(self.columns),
            "on_demand": [one.as_dict() for one in self.on_demand],
            "label": self.label.as_dict() if self.label else None,
            "unit": self.unit,
            "slices": list(self.slices),
            "categorical": sorted(self.categorical),
            "known_at": [one.as_dict() for one in self.known_at],
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
        row: An example: a row id of the set, or `dataset[row number]`, counted from 0.
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
