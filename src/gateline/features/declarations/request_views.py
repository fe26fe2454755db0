"""Views that read the request alone, and no source: features on demand, and the local calendar; and what all views are described by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateline.features.declarations.calendars import Calendar, CalendarPart, facts_of
from gateline.features.declarations.plan import OnDemand, Part
from gateline.features.declarations.tracing import trace
from gateline.kernel.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What the catalogue shows of every view. No part of what it computes."""

    owner: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"owner": self.owner, "description": self.description, "tags": sorted(self.tags)}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemandView(Described):
    """Features computed from one row of the request and its features from sources, by the same expressions offline and online.

    Attributes:
        name: Unique within a set and in the catalogue.
        expressions: Feature name to SQL over spine aliases and features from sources; never over other on-demand features.
        function: Instead of expressions: a pure function. It is called once, when the view is declared, with one `Column` for each of
            its parameters, which are named like spine aliases or features; it returns feature name to the column it computed.
    """

    name: str
    expressions: Mapping[str, str] = field(default_factory=dict)
    function: Callable[..., Mapping[str, Any]] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.function is not None:
            if self.expressions:
                raise InvalidInput(f"On-demand view '{self.name}' has a function and expressions.", next_step="Declare one of both.")
            object.__setattr__(self, "expressions", trace(self.name, self.function))
            object.__setattr__(self, "function", None)
        object.__setattr__(self, "expressions", dict(sorted(self.expressions.items())))
        object.__setattr__(self, "tags", tuple(sorted(self.tags)))

    @property
    def parts(self) -> tuple[Part, ...]:
        """Nothing: its expressions follow the parts of other views."""
        return ()

    @property
    def on_demand(self) -> tuple[OnDemand, ...]:
        """The view in the intermediate form."""
        return tuple(OnDemand(name=name, sql=sql) for name, sql in sorted(self.expressions.items()))

    def as_dict(self) -> dict[str, Any]:
        """Return the declaration for JSON."""
        return {"kind": "on_demand", "name": self.name, "expressions": dict(self.expressions), **self.described()}


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarView(Described):
    """What the local calendar says about an instant of the request.

    Attributes:
        name: Unique within a set and in the catalogue.
        calendar: The calendar of the project.
        features: Feature name to `CalendarFact`, or facts, which give features called `<view>_<fact>`.
        time: Spine alias of the instant; by default the time of the set.
    """

    name: str
    calendar: Calendar
    features: Mapping[str, str] | Sequence[str]
    time: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", facts_of(self.name, self.features))
        object.__setattr__(self, "tags", tuple(sorted(self.tags)))

    @property
    def parts(self) -> tuple[Part, ...]:
        """Nothing: it reads the spine, not a source."""
        return ()

    def calendar_part(self, time: str) -> CalendarPart:
        """Return the view in the intermediate form, for a set whose time is given."""
        return CalendarPart(name=self.name, calendar=self.calendar, time=self.time or time, facts=facts_of(self.name, self.features))

    def as_dict(self) -> dict[str, Any]:
        """Return the declaration for JSON."""
        features = facts_of(self.name, self.features)
        return {
            "kind": "calendar", "name": self.name, "calendar": self.calendar.as_dict(), "features": features, "time": self.time,
            **self.described(),
        }  # fmt: skip
