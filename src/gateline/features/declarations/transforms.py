"""Transforms that are fitted to training rows, as a feature set declares them; `fitted` learns and applies them.

They are applied in the order in which they are declared, each to what those before it leave of a feature.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar, TypeAlias


class Strategy(StrEnum):
    """What `Impute` puts where a value is missing."""

    MEAN = "mean"
    MEDIAN = "median"
    MOST_FREQUENT = "most_frequent"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class _Declared:
    """A transform of one feature."""

    kind: ClassVar[str] = ""
    feature: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"kind": self.kind, **{one.name: getattr(self, one.name) for one in fields(self)}}


@dataclass(frozen=True, slots=True)
class Standardise(_Declared):
    """Subtract the mean and divide by the standard deviation (which divides by n); a constant feature becomes 0.

    Attributes:
        feature: A number; becomes a fraction.
    """

    kind: ClassVar[str] = "standardise"


@dataclass(frozen=True, slots=True)
class QuantileClip(_Declared):
    """Hold a feature between two of its quantiles (linear between neighbours).

    Attributes:
        feature: A number; becomes a fraction.
        low: Quantile of the lower limit, 0 to 1.
        high: Quantile of the upper limit, `low` to 1.
    """

    kind: ClassVar[str] = "quantile_clip"
    low: float = 0.01
    high: float = 0.99


@dataclass(frozen=True, slots=True)
class OrdinalEncode(_Declared):
    """Number the categories from 0, in their own order; missing values stay missing.

    Attributes:
        feature: A text, whole number or boolean; becomes a whole number.
        unknown: The number of a category that was not seen while fitting.
    """

    kind: ClassVar[str] = "ordinal_encode"
    unknown: int = -1


@dataclass(frozen=True, slots=True)
class Impute(_Declared):
    """Put a value where one is missing.

    Attributes:
        feature: Any feature for `most_frequent` (of equals the least) and `constant`, a number for `mean` and `median`. A whole number
            becomes a fraction where the value is one.
        strategy: Which value.
        value: The value of `constant`.
    """

    kind: ClassVar[str] = "impute"
    strategy: Strategy | str = Strategy.MEDIAN
    value: float | str | bool | None = None


Transform: TypeAlias = Standardise | QuantileClip | OrdinalEncode | Impute
TRANSFORMS: Mapping[str, type[Transform]] = {one.kind: one for one in (Standardise, QuantileClip, OrdinalEncode, Impute)}


def transform_mistakes(transforms: Sequence[Transform], features: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the transforms of a set, whatever the data."""
    for one in transforms:
        where = f"{one.kind} of '{one.feature}'"
        if one.feature not in features:
            yield f"{where}: the set has no such feature"
        if isinstance(one, QuantileClip) and not 0 <= one.low <= one.high <= 1:
            yield f"{where}: quantiles go up from 0 to 1, not from {one.low} to {one.high}"
        if isinstance(one, Impute):
            if one.strategy not in list(Strategy):
                yield f"{where}: '{one.strategy}' is no strategy; use one of {', '.join(Strategy)}"
            elif (one.strategy == Strategy.CONSTANT) != (one.value is not None):
                yield f"{where}: constant has a value, and nothing else has"
