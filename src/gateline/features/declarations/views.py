"""Feature views as people declare them: each compiles to parts of the intermediate form in `plan`.

A view is the unit that is owned, versioned, found in the catalogue and kept in the online store; a feature set puts views together for
one model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from gateline.features.declarations.plan import COMPILER_VERSION, Aggregate, EventSource, Latest, Lookup, Part, Window
from gateline.features.declarations.request_views import CalendarView, Described, OnDemandView
from gateline.features.declarations.spans import seconds_of, span_of
from gateline.kernel.canonical import digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """What a view is about, such as an airport: the aliases that sources and requests share."""

    name: str
    keys: tuple[str, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        if not self.keys:
            object.__setattr__(self, "keys", (self.name,))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"name": self.name, "keys": list(self.keys), "description": self.description}


def entity_of(value: Entity | str | Sequence[str]) -> Entity:
    """Return an entity as it is, or the one named by its key or keys."""
    if isinstance(value, Entity):
        return value
    keys = (value,) if isinstance(value, str) else tuple(value)
    return Entity(name="_".join(keys), keys=keys)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """An aggregate of a column of the source, such as `Aggregation("mean", "dep_delay")`.

    Attributes:
        aggregate: How values become one; see `Aggregate`.
        column: Source alias; may be left out for `count`, which then counts rows.
        feature: Name of the feature. With several windows, `_<window>` is added. By default view, aggregate, column and window.
        denominator: Source alias of the second column, for `ratio`.
        k: How many of the last values, for `last_k`; feature names end in `_1` (the newest) to `_k`.
    """

    aggregate: Aggregate | str
    column: str = ""
    feature: str = ""
    denominator: str = ""
    k: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "aggregate": str(self.aggregate), "column": self.column, "feature": self.feature, "denominator": self.denominator, "k": self.k,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestView(Described):
    """The newest row of an entity that was available at `t`, as far as it is not older than `max_age`: one meaning, offline and online.

    Attributes:
        name: Unique within a set and in the catalogue.
        source: Where the rows come from.
        entity: Whom the row is about.
        features: Feature name to source alias, or aliases that are feature names as they are.
        max_age: Age up to which a row counts, such as `2d`, or whole seconds; an older one gives missing values.
        offset: How much earlier than `t` one looks.
    """

    name: str
    source: EventSource
    entity: Entity | str | tuple[str, ...]
    features: Mapping[str, str] | Sequence[str]
    max_age: str | int
    offset: str | int = 0

    def __post_init__(self) -> None:
        _normalise(self)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The view in the intermediate form."""
        return (
            Latest(
                name=self.name, source=self.source, key=entity_of(self.entity).keys, features=_mapping(self.features),
                max_age_seconds=seconds_of(self.max_age), offset_seconds=seconds_of(self.offset),
            ),
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return the declaration for JSON; the source is given by name."""
        return {
            "kind": "latest", "name": self.name, "source": self.source.name, "entity": entity_of(self.entity).as_dict(),
            "features": dict(sorted(_mapping(self.features).items())), "max_age": seconds_of(self.max_age),
            "offset": seconds_of(self.offset), **self.described(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowView(Described):
    """Aggregates over the rows of an entity that became available in `(t - window, t]`: every aggregation over every window.

    Attributes:
        name: Unique within a set and in the catalogue.
        source: Where the rows come from.
        entity: Whom the rows are about.
        aggregations: What is computed.
        windows: Lengths, such as `2h` or `7d`, or whole seconds.
        hop: 0 for exact windows; otherwise windows begin at a multiple of the hop, online and offline alike (see `plan.Window`).
        offset: How much earlier than `t` the windows end.
    """

    name: str
    source: EventSource
    entity: Entity | str | tuple[str, ...]
    aggregations: tuple[Aggregation, ...]
    windows: tuple[str | int, ...]
    hop: str | int = 0
    offset: str | int = 0

    def __post_init__(self) -> None:
        _normalise(self)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The view in the intermediate form: one part for each feature."""
        return tuple(part for one in self.aggregations for window in self.windows for part in self._features(one, seconds_of(window)))

    def _features(self, one: Aggregation, window: int) -> list[Window]:
        name = one.feature or "_".join(word for word in (self.name, str(one.aggregate), one.column) if word)
        if len(self.windows) > 1 or not one.feature:
            name = f"{name}_{span_of(window)}"
        positions = range(1, one.k + 1) if one.k else (0,)
        return [
            Window(
                name=f"{name}_{position}" if position else name, source=self.source, key=entity_of(self.entity).keys,
                column=one.column or self.source.available_at, aggregate=one.aggregate, window_seconds=window,
                offset_seconds=seconds_of(self.offset), hop_seconds=seconds_of(self.hop), denominator=one.denominator, position=position,
            )
            for position in positions
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return the declaration for JSON; the source is given by name."""
        return {
            "kind": "window", "name": self.name, "source": self.source.name, "entity": entity_of(self.entity).as_dict(),
            "aggregations": [one.as_dict() for one in self.aggregations], "windows": [seconds_of(one) for one in self.windows],
            "hop": seconds_of(self.hop), "offset": seconds_of(self.offset), **self.described(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupView(Described):
    """Columns of a reference table with one row per entity, as far as that row was available at `t`.

    Attributes:
        name: Unique within a set and in the catalogue.
        source: The table; often its `available_at` is one fixed `instant`.
        entity: Whom a row is about; unique in the table.
        features: Feature name to source alias, or aliases that are feature names as they are.
    """

    name: str
    source: EventSource
    entity: Entity | str | tuple[str, ...]
    features: Mapping[str, str] | Sequence[str]

    def __post_init__(self) -> None:
        _normalise(self)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The view in the intermediate form."""
        return (Lookup(name=self.name, source=self.source, key=entity_of(self.entity).keys, features=_mapping(self.features)),)

    def as_dict(self) -> dict[str, Any]:
        """Return the declaration for JSON; the source is given by name."""
        return {
            "kind": "lookup", "name": self.name, "source": self.source.name, "entity": entity_of(self.entity).as_dict(),
            "features": dict(sorted(_mapping(self.features).items())), **self.described(),
        }  # fmt: skip


SourcedView: TypeAlias = LatestView | WindowView | LookupView
View: TypeAlias = SourcedView | OnDemandView | CalendarView


def view_fingerprint(view: SourcedView | CalendarView) -> str:
    """Return the digest of what a view is called and what decides its values; owner, descriptions and tags are no part of it.

    An online view is kept under its fingerprint, so that a changed definition never mixes with the values of the one before.
    """
    if isinstance(view, CalendarView):
        parts, source = [view.calendar_part("").as_dict()], None
    else:
        parts, source = [part.as_dict() for part in view.parts], view.source.as_dict()
    return digest("feature.view", {"compiler": COMPILER_VERSION, "name": view.name, "source": source, "parts": parts})


def _mapping(features: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    return dict(features) if isinstance(features, Mapping) else {name: name for name in features}


def _normalise(view: SourcedView) -> None:
    """Bring a declaration to the one form in which equal declarations are equal."""
    object.__setattr__(view, "entity", entity_of(view.entity))
    object.__setattr__(view, "tags", tuple(sorted(view.tags)))
    if isinstance(view, LatestView | LookupView):
        object.__setattr__(view, "features", _mapping(view.features))
    if isinstance(view, LatestView):
        object.__setattr__(view, "max_age", seconds_of(view.max_age))
    if isinstance(view, WindowView):
        object.__setattr__(view, "aggregations", tuple(view.aggregations))
        object.__setattr__(view, "windows", tuple(seconds_of(one) for one in view.windows))
        object.__setattr__(view, "hop", seconds_of(view.hop))
    if isinstance(view, LatestView | WindowView):
        object.__setattr__(view, "offset", seconds_of(view.offset))
