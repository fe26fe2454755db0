"""Edges: how the values of one column are counted, frozen from the reference."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

CATEGORIES_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """How the values of one column are counted; taken from the reference and then frozen.

    Attributes:
        kind: ``numeric`` or ``categorical``.
        inner: Numeric: increasing finite inner edges; bin i is ``(inner[i-1], inner[i]]``, the
            first and last bin are open. Slots: ``len(inner) + 1`` bins, then null.
        categories: Categorical: known categories, most frequent first. Slots: one per category,
            then "other or unseen", then null.
    """

    kind: Literal["numeric", "categorical"]
    inner: tuple[float, ...]
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.kind not in ("numeric", "categorical"):
            raise ValueError(f"kind must be numeric or categorical, got {self.kind!r}")
        if (self.categories if self.kind == "numeric" else self.inner) != ():
            raise ValueError(f"{self.kind} edges must have inner edges or categories, not both")
        if not np.isfinite(self.inner).all() or any(a >= b for a, b in pairwise(self.inner)):
            raise ValueError("inner edges must be finite and strictly increasing")
        if len(set(self.categories)) != len(self.categories):
            raise ValueError("categories must be distinct")

    @property
    def slots(self) -> int:
        """Number of counters, the null slot included (it is the last)."""
        return len(self.inner if self.kind == "numeric" else self.categories) + 2


def numeric_edges(values: ArrayLike, *, bins: int = 256) -> Edges:
    """Return edges at the inner quantiles of the reference (linear, duplicates joined).

    At most ``bins - 1`` quantiles. When the smallest value is tied so often that it is itself
    the first edge, one guard edge just below it is added; without it a constant column that
    falls would stay in its bin unseen.

    Args:
        values: Reference numbers, shape (rows,); null, NaN and infinities are left out.
        bins: Wanted number of bins.

    Examples:
        >>> numeric_edges([1.0, 2.0, 3.0, 4.0, 5.0], bins=4).inner
        (2.0, 3.0, 4.0)
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    numbers = np.sort(numbers[np.isfinite(numbers)])
    if bins < 2:
        raise ValueError(f"bins must be at least 2, got {bins}")
    if not len(numbers):
        return Edges(kind="numeric", inner=(), categories=())
    inner = np.unique(np.quantile(numbers, np.linspace(0, 1, bins + 1)[1:-1])).tolist()
    guard = float(np.nextafter(numbers[0], -np.inf))
    if inner[0] == numbers[0] and np.isfinite(guard):
        inner.insert(0, guard)
    return Edges(kind="numeric", inner=tuple(inner), categories=())


def categorical_edges(values: Iterable[object]) -> Edges:
    """Return the 200 most frequent categories of the reference, ties in alphabetical order.

    Args:
        values: Reference categories, shape (rows,); None and NaN are left out.

    Examples:
        >>> categorical_edges(["b", "a", "b", None]).categories
        ('b', 'a')
    """
    tally, _ = tally_categories(values)
    ranked = sorted(tally, key=lambda name: (-tally[name], name))
    return Edges(kind="categorical", inner=(), categories=tuple(ranked[:CATEGORIES_MAX]))


def tally_categories(values: Iterable[object]) -> tuple[Counter[str], int]:
    """Return how often each category occurs, by its text, and the number of nulls.

    Examples:
        >>> tally_categories(["a", None, "a", float("nan")])
        (Counter({'a': 2}), 2)
    """
    tally: Counter[str] = Counter()
    nulls = 0
    for value, times in Counter(values).items():
        if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
            nulls += times
        else:
            tally[str(value)] += times
    return tally, nulls
