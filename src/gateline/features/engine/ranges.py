"""Reducing many ranges of one sequence, each in logarithmic time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt


def range_reduce(
    values: npt.NDArray[Any],
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
    operation: Callable[..., npt.NDArray[Any]],
    identity: float,
    base: int = 0,
) -> npt.NDArray[Any]:
    """Return `operation` over `values[low:high]` for each pair, and `identity` for empty ranges.

    Partial results of 2, 4, 8, … neighbours are taken from the bottom up (an implicit segment tree). Neighbours are told by position, not
    by place in `values`: a part of a longer sequence, with the position of its first value as `base`, is reduced as the whole would be.

    Args:
        values: n values.
        low: m positions, `base` to `base` + n.
        high: m positions, `low` to `base` + n.
        operation: A commutative, associative NumPy ufunc.
        identity: Its neutral element.
        base: Position of the first value.

    >>> range_reduce(np.array([1, 2, 4, 8]), np.array([0, 1, 2]), np.array([4, 3, 2]), np.maximum, 0).tolist()
    [8, 4, 0]
    """
    result = np.full(len(low), identity, dtype=values.dtype)
    active = np.flatnonzero(low < high)
    start, end, level = low[active].copy(), high[active].copy(), values

    def take(which: npt.NDArray[np.int64], position: npt.NDArray[np.int64]) -> None:
        rows = active[which]
        result[rows] = operation(result[rows], level[position - base])

    while len(active):
        odd = np.flatnonzero(start & 1)
        take(odd, start[odd])
        start[odd] += 1
        odd = np.flatnonzero((end & 1) & (start < end))
        end[odd] -= 1
        take(odd, end[odd])
        keep = start < end
        active, start, end = active[keep], start[keep] >> 1, end[keep] >> 1
        level = level[base & 1 :]  # a pair whose first half lies before the values is skipped, for no range holds all of it
        if len(level) % 2:
            level = np.append(level, np.asarray([identity], dtype=level.dtype))
        level = operation(level[0::2], level[1::2])
        base = (base + 1) >> 1
    return result
