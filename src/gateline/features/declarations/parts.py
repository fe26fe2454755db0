"""The parts of a plan: sources, and how features are taken from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias


def names_of(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return one name, or several, as a tuple."""
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
        object.__setattr__(self, "key", names_of(self.key))

    @property
    def outputs(self) -> Mapping[str, str]:
        """Feature name to source alias, by name."""
        return dict(sorted(self.features.items()))

    @property
    def reach_seconds(self) -> int:
        """How far before `t` the part looks at most."""
        return self.offset_seconds + self.max_age_seconds

    @property
    def keys(self) -> tuple[str, ...]:
        """The key as a tuple."""
        return names_of(self.key)

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
        object.__setattr__(self, "key", names_of(self.key))

    @property
    def outputs(self) -> Mapping[str, str]:
        """Feature name to source alias."""
        return {self.name: self.column}

    @property
    def reach_seconds(self) -> int:
        """How far before `t` the part looks at most."""
        return self.offset_seconds + self.window_seconds + self.hop_seconds

    @property
    def keys(self) -> tuple[str, ...]:
        """The key as a tuple."""
        return names_of(self.key)

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
        object.__setattr__(self, "key", names_of(self.key))

    @property
    def outputs(self) -> Mapping[str, str]:
        """Feature name to source alias, by name."""
        return dict(sorted(self.features.items()))

    @property
    def keys(self) -> tuple[str, ...]:
        """The key as a tuple."""
        return names_of(self.key)

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
