"""Reducing many ranges of one array, each in logarithmic time."""

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
) -> npt.NDArray[Any]:
    """Return `operation` over `values[low:high]` for each pair, and `identity` for empty ranges.

    Partial results of 2, 4, 8, … neighbours are combined from the bottom up (an implicit segment tree). Nothing is ever subtracted, so the
    rounding error of a sum of n fractions is at most about 2·log2(n) units in the last place of the sum of their absolute values.

    Args:
        values: n values.
        low: m positions, 0 to n.
        high: m positions, `low` to n.
        operation: A commutative, associative NumPy ufunc.
        identity: Its neutral element.

    >>> range_reduce(np.array([1.0, 2.0, 4.0, 8.0]), np.array([0, 1, 2]), np.array([4, 3, 2]), np.add, 0.0).tolist()
    [15.0, 6.0, 0.0]
    """
    result = np.full(len(low), identity, dtype=values.dtype)
    active = np.flatnonzero(low < high)
    start, end, level = low[active].copy(), high[active].copy(), values
    while len(active):
        odd = np.flatnonzero(start & 1)
        result[active[odd]] = operation(result[active[odd]], level[start[odd]])
        start[odd] += 1
        odd = np.flatnonzero((end & 1) & (start < end))
        end[odd] -= 1
        result[active[odd]] = operation(result[active[odd]], level[end[odd]])
        keep = start < end
        active, start, end = active[keep], start[keep] >> 1, end[keep] >> 1
        if len(level) % 2:
            level = np.append(level, np.asarray([identity], dtype=level.dtype))
        level = operation(level[0::2], level[1::2])
    return result
