"""Deciding many hypotheses at once."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bools = NDArray[np.bool_]


def benjamini_hochberg(p_values: ArrayLike, q: float) -> Bools:
    """Return which hypotheses are rejected with a false discovery rate of at most ``q``.

    Rejects the k smallest p-values, k being the largest rank with ``p_(k) <= q k / m``. Valid
    for independent or positively dependent tests (Benjamini and Hochberg, JRSS B 57, 1995).

    Args:
        p_values: Shape (m,), each in 0 to 1. Leave out what could not be measured.
        q: Wanted false discovery rate, between 0 and 1.

    Returns:
        One decision per p-value, in the given order, shape (m,).

    Raises:
        ValueError: A p-value is NaN or outside 0 to 1, or ``q`` is out of range.

    Examples:
        >>> benjamini_hochberg([0.01, 0.5, 0.02, 0.04], 0.05).tolist()
        [True, False, True, False]
    """
    p = _checked(p_values, q)
    order = np.argsort(p, kind="stable")
    passed = np.flatnonzero(p[order] <= q * np.arange(1, len(p) + 1) / max(1, len(p)))
    rejected = np.zeros(len(p), dtype=np.bool_)
    if len(passed):
        rejected[order[: passed[-1] + 1]] = True
    return rejected


def holm(p_values: ArrayLike, alpha: float) -> Bools:
    """Return which hypotheses are rejected with a family error of at most ``alpha``.

    Goes through the p-values from the smallest on and stops at the first with
    ``p_(k) > alpha / (m - k + 1)``. Valid under any dependence (Holm, Scandinavian Journal of
    Statistics 6, 1979).

    Args:
        p_values: Shape (m,), each in 0 to 1.
        alpha: Wanted chance of any false rejection, between 0 and 1.

    Returns:
        One decision per p-value, in the given order, shape (m,).

    Raises:
        ValueError: A p-value is NaN or outside 0 to 1, or ``alpha`` is out of range.

    Examples:
        >>> holm([0.01, 0.5, 0.02, 0.04], 0.05).tolist()
        [True, False, False, False]
    """
    p = _checked(p_values, alpha)
    order = np.argsort(p, kind="stable")
    passed = p[order] <= alpha / np.arange(len(p), 0, -1)
    rejected = np.zeros(len(p), dtype=np.bool_)
    rejected[order] = np.logical_and.accumulate(passed)
    return rejected


def _checked(p_values: ArrayLike, budget: float) -> NDArray[np.float64]:
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must be a 1-D array of numbers in 0 to 1, without NaN")
    if not 0 < budget < 1:
        raise ValueError(f"the error budget must lie between 0 and 1, got {budget}")
    return p
