"""Profiles: one column of one window as counts on edges frozen from the reference.

A profile is about 2 KB, merges by addition in any order, and is all that a drift verdict needs,
so a stored verdict can be recomputed from stored evidence. The edges of a numeric column are
quantiles of the reference; bins are ``(e[i-1], e[i]]`` with open ends.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gateline.stats.distance import (
    Distance,
    js_distance_from_counts,
    ks_from_counts,
    psi_from_counts,
    total_variation_from_counts,
)
from gateline.stats.edges import Edges, categorical_edges, numeric_edges, tally_categories

__all__ = [
    "Edges",
    "Profile",
    "categorical_edges",
    "compare",
    "null_share",
    "numeric_edges",
    "profile_categorical",
    "profile_numeric",
]

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One column of one window: counts on frozen edges, and a few moments.

    Attributes:
        edges: The frozen edges.
        counts: Rows per slot of ``edges``, shape (edges.slots,), read-only.
        count: Rows in all, nulls included; the sum of ``counts``.
        minimum: Smallest finite number; None for categories or without numbers.
        maximum: Largest finite number; None for categories or without numbers.
        total: Sum of the finite numbers; 0 for categories.
        total_squares: Sum of their squares; 0 for categories.
    """

    edges: Edges
    counts: Counts = field(compare=False)
    count: int
    minimum: float | None
    maximum: float | None
    total: float
    total_squares: float
    # Stands for the counts in == and hash, which arrays do not support.
    _packed: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        counts = np.array(self.counts, dtype=np.int64)
        if counts.shape != (self.edges.slots,) or (counts < 0).any():
            raise ValueError(f"counts must be {self.edges.slots} numbers of 0 or more")
        if int(counts.sum()) != self.count:
            raise ValueError(f"counts add up to {int(counts.sum())}, but count is {self.count}")
        counts.setflags(write=False)
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "_packed", counts.tobytes())

    @property
    def nulls(self) -> int:
        """Rows without a value (None or NaN)."""
        return int(self.counts[-1])

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values; ``from_dict`` gives the equal profile, to the last bit."""
        edges = {
            "kind": self.edges.kind,
            "inner": list(self.edges.inner),
            "categories": list(self.edges.categories),
        }
        moments = {name: getattr(self, name) for name in ("count", "minimum", "maximum", "total", "total_squares")}
        return {"edges": edges, "counts": self.counts.tolist(), **moments}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the profile that ``as_dict`` described.

        Raises:
            ValueError: The counts do not fit the edges or the row count.
            KeyError: A field is missing.
        """
        edges = Edges(
            kind=stored["edges"]["kind"],
            inner=tuple(float(edge) for edge in stored["edges"]["inner"]),
            categories=tuple(stored["edges"]["categories"]),
        )
        return cls(
            edges=edges,
            counts=np.array(stored["counts"], dtype=np.int64),
            count=int(stored["count"]),
            minimum=stored["minimum"],
            maximum=stored["maximum"],
            total=float(stored["total"]),
            total_squares=float(stored["total_squares"]),
        )

    def merge(self, other: "Profile") -> "Profile":
        """Return the profile of both windows together.

        Counts, minimum and maximum are exact in any order and grouping. The two sums are the
        same in either order, and in any grouping up to floating-point rounding.

        Raises:
            ValueError: The edges differ; windows on different edges cannot be added.
        """
        _require_same_edges(self, other)
        lows = [x.minimum for x in (self, other) if x.minimum is not None]
        highs = [x.maximum for x in (self, other) if x.maximum is not None]
        return Profile(
            edges=self.edges,
            counts=self.counts + other.counts,
            count=self.count + other.count,
            minimum=min(lows, default=None),
            maximum=max(highs, default=None),
            total=self.total + other.total,
            total_squares=self.total_squares + other.total_squares,
        )

    def coarse(self, bins: int = 10, *, reference: "Profile | None" = None) -> Counts:
        """Return the counts on about ``bins`` bins of equal mass in the reference.

        Neighbouring fine bins are joined; bin k ends at the first edge with at least ``k /
        bins`` of the reference's values at or below it, so ties make fewer bins. Values below
        or above everything in a tied reference keep a bin of their own. Categories are not
        joined.

        Args:
            bins: Wanted number of bins.
            reference: The profile that fixes the joining; None means this profile itself.

        Returns:
            Numeric: joined bins, then null. Categorical: all slots (categories, unseen, null).

        Raises:
            ValueError: The edges differ from those of the reference.
        """
        fixed = self if reference is None else reference
        _require_same_edges(fixed, self)
        if self.edges.kind == "categorical":
            return self.counts.copy()
        mass = fixed.counts[:-1]
        reached = np.cumsum(mass) * bins
        ends = set(np.searchsorted(reached, np.arange(1, bins) * mass.sum(), side="left").tolist())
        if mass[0] == 0:
            ends.add(0)
        starts = [0, *(end + 1 for end in sorted(ends) if end + 1 < len(mass))]
        joined = np.add.reduceat(self.counts[:-1], starts)
        return np.append(joined, self.counts[-1])


def profile_numeric(values: ArrayLike, edges: Edges) -> Profile:
    """Return the profile of a numeric column.

    Args:
        values: Numbers, shape (rows,); None and NaN count as null. Infinities are counted in
            the end bins and left out of minimum, maximum and the sums.
        edges: Numeric edges of the reference.

    Examples:
        >>> edges = numeric_edges([1.0, 2.0, 3.0, 4.0, 5.0], bins=4)
        >>> profile_numeric([2.0, 2.5, 9.0, float("nan")], edges).counts.tolist()
        [1, 1, 0, 1, 1]
    """
    if edges.kind != "numeric":
        raise ValueError("profile_numeric needs numeric edges")
    numbers = np.asarray(values, dtype=np.float64).ravel()
    known = np.sort(numbers[~np.isnan(numbers)])
    # Sorting first and then placing the few edges is faster than placing every value.
    below = np.searchsorted(known, np.asarray(edges.inner, dtype=np.float64), side="right")
    bins = np.diff(np.concatenate([[0], below, [len(known)]]))
    finite = known[np.isfinite(known)]
    return Profile(
        edges=edges,
        counts=np.append(bins, len(numbers) - len(known)),
        count=len(numbers),
        minimum=float(finite[0]) if len(finite) else None,
        maximum=float(finite[-1]) if len(finite) else None,
        total=float(finite.sum()),
        total_squares=float(np.square(finite).sum()),
    )


def profile_categorical(values: Iterable[object], edges: Edges) -> Profile:
    """Return the profile of a categorical column.

    Args:
        values: Categories, shape (rows,); None and NaN count as null, anything else by its text.
        edges: Categorical edges of the reference.

    Examples:
        >>> edges = categorical_edges(["b", "a", "b"])
        >>> profile_categorical(["a", "new", None, "b"], edges).counts.tolist()
        [1, 1, 1, 1]
    """
    if edges.kind != "categorical":
        raise ValueError("profile_categorical needs categorical edges")
    tally, nulls = tally_categories(values)
    known = [tally.pop(name, 0) for name in edges.categories]
    counts = np.array([*known, tally.total(), nulls], dtype=np.int64)
    return Profile(
        edges=edges,
        counts=counts,
        count=int(counts.sum()),
        minimum=None,
        maximum=None,
        total=0.0,
        total_squares=0.0,
    )


def compare(reference: Profile, current: Profile) -> tuple[Distance, ...]:
    """Return how far the current window lies from the reference, with noise floors.

    Three distances: first ``ks`` for numbers (on the fine bins, nulls left out) or
    ``total_variation`` for categories (unseen and null included); then ``psi`` and
    ``js_distance`` on about 10 bins of equal reference mass plus null (categories: on all
    categories plus unseen plus null). KS is blind to nulls: look at ``null_share`` too.

    Raises:
        ValueError: The profiles were counted on different edges.

    Examples:
        >>> edges = numeric_edges(np.arange(1000.0))
        >>> one = profile_numeric(np.arange(1000.0), edges)
        >>> [(found.name, found.value) for found in compare(one, one)]
        [('ks', 0.0), ('psi', 0.0), ('js_distance', 0.0)]
    """
    _require_same_edges(reference, current)
    joined = reference.coarse(), current.coarse(reference=reference)
    if reference.edges.kind == "numeric":
        first = ks_from_counts(reference.counts[:-1], current.counts[:-1])
        bins = "reference-quantile bins, null last"
    else:
        first = total_variation_from_counts(reference.counts, current.counts)
        bins = "reference categories, then unseen, then null"
    others = (psi_from_counts(*joined), js_distance_from_counts(*joined))
    return tuple(dataclasses.replace(found, definition=f"{found.definition}; {bins}") for found in (first, *others))


def null_share(reference: Profile, current: Profile) -> Distance:
    """Return by how much the share of nulls changed (0 to 1), up or down.

    Args:
        reference: Profile of the reference.
        current: Profile of the current window; its edges need not be the same.

    Examples:
        >>> edges = numeric_edges([1.0, 2.0])
        >>> whole, holes = (profile_numeric(v, edges) for v in ([1.0, 2.0], [1.0, None]))
        >>> null_share(whole, holes).value
        0.5
    """
    found = total_variation_from_counts(
        [reference.count - reference.nulls, reference.nulls],
        [current.count - current.nulls, current.nulls],
    )
    definition = "absolute difference of the null shares; p-value of the homogeneity chi2 test"
    return dataclasses.replace(found, name="null_share", definition=definition)


def _require_same_edges(reference: Profile, current: Profile) -> None:
    if reference.edges != current.edges:
        raise ValueError("the profiles were counted on different edges; count both on the same")
