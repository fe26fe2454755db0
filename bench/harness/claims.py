"""What a benchmark claims: a value beside its goal."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HOLDS = {">=": lambda value, goal: value >= goal, "<=": lambda value, goal: value <= goal, "=": lambda value, goal: value == goal}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A measured value, and what it must be.

    Attributes:
        id: Unique within the benchmark.
        what: One sentence that says what was measured.
        value: What was measured.
        unit: Of value and goal; `x` for a ratio.
        sense: `>=`, `<=` or `=`: how the value must stand to the goal.
        goal: The bound.
    """

    id: str
    what: str
    value: float
    unit: str
    sense: str
    goal: float

    @property
    def holds(self) -> bool:
        """Whether the value, not its rounding, meets the goal."""
        return bool(_HOLDS[self.sense](self.value, self.goal))

    def as_json(self) -> dict[str, Any]:
        """The form in bench/results."""
        return {"id": self.id, "what": self.what, "value": round(self.value, 3), "unit": self.unit, "sense": self.sense,
                "goal": self.goal, "holds": self.holds}  # fmt: skip

    def line(self) -> str:
        """The form on the terminal."""
        verdict = "holds" if self.holds else "FAILS"
        return f"{verdict}  {self.id:30} {round(self.value, 3):>12,} {self.unit:8} goal {self.sense} {self.goal:,}"


def at_least(name: str, what: str, value: float, unit: str, goal: float) -> Claim:
    """Claim that greater is better, and the value great enough."""
    return Claim(id=name, what=what, value=value, unit=unit, sense=">=", goal=goal)


def at_most(name: str, what: str, value: float, unit: str, goal: float) -> Claim:
    """Claim that smaller is better, and the value small enough."""
    return Claim(id=name, what=what, value=value, unit=unit, sense="<=", goal=goal)


def exactly(name: str, what: str, value: float, unit: str, goal: float) -> Claim:
    """Claim that the value is the goal."""
    return Claim(id=name, what=what, value=value, unit=unit, sense="=", goal=goal)


def median(measured: Iterable[Mapping[str, Any]], what: str = "seconds") -> float:
    """Return the median of one number of several measurements."""
    return statistics.median(one[what] for one in measured)
