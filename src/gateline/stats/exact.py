"""Sums, and sums of squares, of fractions without rounding: the same bits in any order, by any engine, over any part of a table.

A fraction is a whole number of units of 2^(32·first), written in digits of base 2^32 that carry its sign. Digits are added in 64 bits, so
that running totals can be subtracted, and the exact result is rounded once. Source: U. Kulisch, "Very fast and exact accumulation of
products", Computing 91 (2011). Nothing here needs more than NumPy: Spark sends these functions to its workers as they are.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_BITS = 32
_MASK = (1 << _BITS) - 1
_SHORTEST = -34  # the least fraction of 64 bits is 2^-1074

Numbers = npt.NDArray[np.float64]
Digits = npt.NDArray[np.int64]


def grid(least: float, largest: float, *, whole: bool = False) -> tuple[int, int]:
    """Return the place of the first digit and how many are needed for fractions between two magnitudes, neither of them 0.

    >>> grid(0.25, 1000.0), grid(1.0, 2.0**40), grid(1.0, 2.0**40, whole=True)
    ((-2, 3), (-2, 4), (0, 2))
    """
    first = 0 if whole else max((math.frexp(least)[1] - 53) // _BITS, _SHORTEST)
    return first, math.frexp(largest)[1] // _BITS - first + 1


def grid_of(values: Numbers, *, whole: bool = False) -> tuple[int, int]:
    """Return the grid of finite values, which are all whole numbers if so said."""
    sizes = np.abs(values[values != 0])
    return grid(float(sizes.min()), float(sizes.max()), whole=whole) if len(sizes) else (0, 1)


def digits(values: Numbers | Digits, first: int, count: int) -> Digits:
    """Return the digits of n finite fractions, or of whole numbers of 64 bits, lowest first, shape (count, n).

    Each is below 2^32 and has the sign of its value. Whole numbers are not made fractions first, which beyond 2^53 would change them.

    >>> digits(np.array([2**53 + 1, -(2**63)]), 0, 2).tolist()
    [[1, 0], [2097152, -2147483648]]
    """
    found = np.zeros((count, len(values)), dtype=np.int64)
    if values.dtype == np.int64:
        size, sign = np.abs(values).view(np.uint64), np.sign(values)
        for place in range(max(0, -first), min(count, 2 - first)):
            found[place] = ((size >> np.uint64(_BITS * (first + place))) & np.uint64(_MASK)).astype(np.int64) * sign
        return found
    with np.errstate(over="ignore", invalid="ignore"):
        for place in range(count):
            step = 2.0 ** (-_BITS // 2 * (first + place))  # in two steps, for the whole of it may leave the range of fractions
            scaled = np.trunc(values * step * step)
            low = scaled - np.trunc(scaled / (_MASK + 1)) * (_MASK + 1)
            found[place] = np.where(np.isfinite(low), low, 0)  # a fraction too large for the step has no such digit
    return found


def squares(found: Digits) -> Digits:
    """Return the digits of the squares of numbers, none below 0, shape (2·count, n); the place of the first is twice as high.

    >>> squares(digits(np.array([-3.0, 2.0**20]), 0, 1)).tolist()
    [[9, 0], [0, 256]]
    """
    size, _ = _magnitude(found)
    size = size[: len(found)].astype(np.uint64)
    product = np.zeros((2 * len(size), size.shape[1]), dtype=np.int64)
    for low in range(len(size)):
        for high in range(low, len(size)):
            part = size[low] * size[high]
            times = 1 if low == high else 2
            product[low + high] += (part & np.uint64(_MASK)).astype(np.int64) * times
            product[low + high + 1] += (part >> np.uint64(_BITS)).astype(np.int64) * times
    return _carried(product)[: len(product)]


def total(sums: Digits, first: int) -> Numbers:
    """Return sums of digits as fractions, each rounded once; infinite, or NaN, where they leave the range of fractions.

    Args:
        sums: Sums or differences of digits below 2^62, shape (count, n).
        first: The place of the first digit.

    >>> total(digits(np.array([1e16, 1.0, -1e16]), -2, 5).sum(axis=1, keepdims=True), -2).tolist()
    [1.0]
    """
    size, sign = _magnitude(sums)
    head, tail, rest = np.zeros((3, sums.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        for place in reversed(range(len(size))):
            part = np.ldexp(size[place].astype(np.float64), _BITS * (first + place))
            head, part = _two_sum(head, part)
            tail, part = _two_sum(tail, part)
            rest = rest + part
        return (head + _to_odd(*_two_sum(tail, rest))) * sign


def _to_odd(values: Numbers, rest: Numbers) -> Numbers:
    """Return values whose last bit says that something is left, so that to add them to larger ones rounds as the whole would.

    Source: S. Boldo, G. Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008.
    """
    even = (values.view(np.int64) & 1) == 0
    return np.where((rest != 0) & even, np.nextafter(values, np.copysign(np.inf, rest)), values)


def variance(count: Digits, sums: Digits, square_sums: Digits, first: int) -> Numbers:
    """Return the sum of squared deviations over n - 1, from exact sums: 0 for equal values, and nothing is lost to cancellation.

    Args:
        count: How many values each sum has, n, below 2^31; shape (m,). For fewer than 2 the result means nothing.
        sums: Sums of `digits`, shape (digits, m).
        square_sums: Sums of the `squares` of these digits.
        first: The place of the first digit of `sums`.
    """
    size, _ = _magnitude(sums)
    square = squares(size)
    wide = _carried(square_sums)
    difference = np.zeros((max(len(square), len(wide) + 1), len(count)), dtype=np.int64)
    difference[: len(square)] -= square
    for place in range(len(wide)):
        part = wide[place] * count
        difference[place] += part & _MASK
        difference[place + 1] += part >> _BITS
    with np.errstate(invalid="ignore", divide="ignore"):
        return total(difference, 2 * first) / (count * (count - 1.0))


def _carried(sums: Digits) -> Digits:
    """Return the same numbers in digits from 0 to 2^32 - 1, but for the last, new one, which holds what is carried, with its sign."""
    found = np.empty((len(sums) + 1, sums.shape[1]), dtype=np.int64)
    carry = np.zeros(sums.shape[1], dtype=np.int64)
    for place, column in enumerate(sums):
        carried = column + carry
        found[place] = carried & _MASK
        carry = carried >> _BITS
    found[-1] = carry
    return found


def _magnitude(sums: Digits) -> tuple[Digits, Digits]:
    """Return the digits of the absolute values, one more than before, and the signs."""
    found = _carried(sums)
    sign = np.where(found[-1] < 0, -1, 1)
    return (_carried(sums * sign) if (sign < 0).any() else found), sign


def _two_sum(one: Numbers, other: Numbers) -> tuple[Numbers, Numbers]:
    """Return a sum and what rounding took from it (D. Knuth, The Art of Computer Programming, volume 2, 4.2.2, theorem B)."""
    both = one + other
    back = both - one
    return both, (one - (both - back)) + (other - back)
