"""The closed intermediate form of features: what declarations compile to, and what every engine computes in the same way.

Times: a row of a source says what happened at `event_time` and could be known from `available_at` on; a feature of a row at time `t` uses
only what was available at `t`. Expressions are SQL over the columns of one dataset row, from the closed vocabulary in `rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from gateline.kernel.canonical import digest
from gateline.kernel.clock import iso, parse_iso

COMPILER_VERSION = 2


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
    """How the values in a window become one. Missing values are left out, and so are rows that lack one of the two columns of a ratio.

    Of no values, `count` and `approx_distinct` are 0 and every other aggregate is missing. `first` and `last` go by availability, then
    event time, then tie-breaker, then all values; `last_k` is the k-th of these from the end. `var` and `std` divide by n - 1 and are
    missing for fewer than two values. `ratio` is the sum of one column over the sum of another, missing where that sum is 0.
    `approx_distinct` is exact up to 256 distinct values, and an estimate with about 6 % standard error beyond (`distinct.py`). A fraction
    that leaves the range of 64-bit numbers is missing.
    """

    COUNT = "count"
    SUM = "sum"
    MEAN = "mean"
    VAR = "var"
    STD = "std"
    MIN = "min"
    MAX = "max"
    FIRST = "first"
    LAST = "last"
    LAST_K = "last_k"
    APPROX_DISTINCT = "approx_distinct"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSource:
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
        event_id: Aliases that name an event: a row delivered twice counts once. Needed for a source that feeds the online store.
        lateness_seconds: How much later than its availability an event may be delivered to the online store.
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
    event_id: tuple[str, ...] = ()
    lateness_seconds: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "name": self.name, "dataset": self.dataset, "columns": dict(sorted(self.columns.items())), "event_time": self.event_time,
            "available_at": self.available_at, "where": self.where, "tie_breaker": list(self.tie_breaker), "known_ahead": self.known_ahead,
            "event_id": list(self.event_id), "lateness_seconds": self.lateness_seconds,
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
    source: EventSource
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
        aggregate: How the values become one.
        window_seconds: Length of the window.
        offset_seconds: How much earlier than `t` the window ends.
        hop_seconds: 0 for the exact window. Otherwise the window begins at the last multiple of the hop (since 1970-01-01 UTC) at or
            before its exact beginning, so that it is up to one hop longer and its state can be kept in tiles.
        denominator: Source alias of the second column of a ratio.
        position: Which of the last values `last_k` takes; 1 is the newest.
    """

    name: str
    source: EventSource
    key: str | tuple[str, ...]
    column: str
    aggregate: Aggregate | str
    window_seconds: int
    offset_seconds: int = 0
    hop_seconds: int = 0
    denominator: str = ""
    position: int = 0

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
            "hop_seconds": self.hop_seconds, "denominator": self.denominator, "position": self.position,
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
    source: EventSource
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

    source: EventSource
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
class Plan:
    """What a feature set compiles to, and every engine computes: sources, parts and expressions, with nothing left to choose.

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
    """

    name: str
    spine: EventSource
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "entity", _names(self.entity))

    @property
    def plan(self) -> Plan:
        """The plan itself, so that a feature set and its plan can be computed alike."""
        return self

    @property
    def entities(self) -> tuple[str, ...]:
        """The entity as a tuple."""
        return _names(self.entity)

    @property
    def sources(self) -> tuple[EventSource, ...]:
        """The spine, then every other source, each once, in order of use."""
        used = [self.spine, *(part.source for part in self.parts), *((self.label.source,) if self.label else ())]
        unique: list[EventSource] = []
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
        """Return the canonical definition; sets are read back by `codec.set_from_dict`."""
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
        }

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides names and values; what only describes views is no part of it."""
        return digest("feature.plan", {"compiler": COMPILER_VERSION, **self.as_dict()})
