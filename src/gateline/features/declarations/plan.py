"""The closed intermediate form of features: what declarations compile to, and what every engine computes in the same way.

Times: a row of a source says what happened at `event_time` and could be known from `available_at` on; a feature of a row at time `t` uses
only what was available at `t`. Expressions are SQL over the columns of one dataset row, from the closed vocabulary in `rules`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateline.features.declarations.calendars import CalendarPart
from gateline.features.declarations.parts import Aggregate, EventSource, Latest, Lookup, OnDemand, Part, Window, names_of
from gateline.kernel.canonical import digest
from gateline.kernel.clock import iso, parse_iso

__all__ = [
    "COMPILER_VERSION", "Aggregate", "CalendarPart", "EventSource", "KnownAt", "Label", "Latest", "Lookup", "OnDemand", "Part", "Plan",
    "Window", "instant",
]  # fmt: skip

COMPILER_VERSION = 2


def instant(text: str) -> str:
    """Return the expression of a fixed instant, for tables that are known as a whole from then on.

    >>> instant("2013-01-01T00:00:00Z")
    "CAST('2013-01-01T00:00:00.000000Z' AS TIMESTAMPTZ)"

    Raises:
        InvalidInput: the text is no ISO 8601 time with an offset.
    """
    return f"CAST('{iso(parse_iso(text))}' AS TIMESTAMPTZ)"


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
        calendars: Features from the local calendar of a spine column.
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
    calendars: tuple[CalendarPart, ...] = ()
    columns: tuple[str, ...] = ()
    on_demand: tuple[OnDemand, ...] = ()
    label: Label | None = None
    unit: str = ""
    slices: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    known_at: tuple[KnownAt, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "entity", names_of(self.entity))

    @property
    def plan(self) -> Plan:
        """The plan itself, so that a feature set and its plan can be computed alike."""
        return self

    @property
    def entities(self) -> tuple[str, ...]:
        """The entity as a tuple."""
        return names_of(self.entity)

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
        """Names of all features: of parts and of calendars (by name within each), then spine columns, then on demand."""
        computed = (name for part in (*self.parts, *self.calendars) for name in part.outputs)
        return (*computed, *self.columns, *(one.name for one in self.on_demand))

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
            "calendars": [part.as_dict() for part in self.calendars],
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
