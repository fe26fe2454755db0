"""Distances between a reference and a current sample, each with its noise floor.

The noise floor is the value to expect when nothing has changed and only the sample sizes n and m
act. A distance near its noise floor is no evidence of drift, however large it looks.

Other libraries give other numbers under the same names, because they bin and round otherwise:
Evidently's PSI uses equal-width bins over the pooled range and its Jensen-Shannon distance the
natural logarithm; NannyML's KS on 10,000 reference rows or more is computed on equal-width bins;
TFDV reports the Jensen-Shannon divergence, not the distance; Evidently and whylogs run the
chi-squared test as goodness of fit, as if the reference were exact, which about doubles the
statistic; frouros floors empty PSI bins at 2.2e-308. So each distance here carries its definition.

A side without rows makes a distance NaN with an infinite noise floor: test ``math.isnan`` before
comparing with a threshold, since every comparison with NaN is false.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Mean of the Kolmogorov distribution, sqrt(pi / 2) ln 2.
_KOLMOGOROV_MEAN = math.sqrt(math.pi / 2) * math.log(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How far the current sample lies from the reference (smaller is closer).

    Attributes:
        name: ``ks``, ``psi``, ``js_distance``, ``js_divergence``, ``total_variation``,
            ``chi2`` or ``null_share``.
        value: The distance, 0 or more; NaN when a side has no rows.
        noise_floor: The value to expect without any change, at these sample sizes.
        definition: One line that fixes formula, binning and constants, kept as evidence.
        p_value: Chance of at least this distance without change, under independent rows; None
            where no trustworthy distribution is known.
    """

    name: str
    value: float
    noise_floor: float
    definition: str
    p_value: float | None


def ks_two_sample(reference: ArrayLike, current: ArrayLike) -> Distance:
    """Return the exact two-sample Kolmogorov-Smirnov distance, ties included.

    ``D = sup |F - G|`` over right limits. The p-value is ``kstwo.sf(D, round(n m / (n + m)))``,
    as in SciPy ``ks_2samp(method="asymp")``; for at most 10,000 rows SciPy's ``auto`` and those
    who use it are exact instead and differ in the third digit. The noise floor is the mean of
    the Kolmogorov distribution, ``0.8687 sqrt(1 / n + 1 / m)``.

    Args:
        reference: Numbers, shape (n,). NaN are dropped.
        current: Numbers, shape (m,). NaN are dropped.

    Examples:
        >>> found = ks_two_sample([1.0, 2.0, 2.0, 3.0], [2.0, 3.0, 4.0, float("nan")])
        >>> round(found.value, 6), round(found.noise_floor, 6)
        (0.416667, 0.663504)
    """
    x = _sorted_without_nan(reference)
    y = _sorted_without_nan(current)
    definition = "KS D = sup|F - G| on all values, NaN dropped; p = kstwo.sf(D, round(nm/(n+m)))"
    if not len(x) or not len(y):
        return _undefined("ks", definition)
    # Between two values of x only G moves, and it only rises, so the supremum is met at a value
    # of x, just after it or just before it. That saves looking at the values of y.
    last = np.append(x[1:] != x[:-1], True)
    at = x[last]
    after_x = (np.flatnonzero(last) + 1) / len(x)
    before_x = np.append(0.0, after_x[:-1])
    after = np.abs(after_x - np.searchsorted(y, at, side="right") / len(y)).max()
    before = np.abs(before_x - np.searchsorted(y, at, side="left") / len(y)).max()
    value = float(max(after, before))
    return _ks_distance(value, len(x), len(y), definition)


def ks_from_counts(reference_counts: ArrayLike, current_counts: ArrayLike) -> Distance:
    """Return the Kolmogorov-Smirnov distance seen at the upper ends of ordered bins.

    It never exceeds the exact D; on reference-quantile bins it falls short by at most the
    largest mass of one bin, 1/256 with the default edges unless ties exceed it.

    Args:
        reference_counts: Rows per bin in order of value, shape (bins,).
        current_counts: Rows per bin, same bins.

    Examples:
        >>> ks_from_counts([10, 10, 10], [10, 10, 10]).value
        0.0
        >>> ks_from_counts([30, 10], [10, 30]).value
        0.5
    """
    a, b = _counts(reference_counts, current_counts)
    definition = f"KS D at the edges of {len(a)} bins; p = kstwo.sf(D, round(nm/(n+m)))"
    if not a.sum() or not b.sum():
        return _undefined("ks", definition)
    value = float(np.abs(np.cumsum(a) / a.sum() - np.cumsum(b) / b.sum()).max())
    return _ks_distance(value, int(a.sum()), int(b.sum()), definition)


def psi_from_counts(reference_counts: ArrayLike, current_counts: ArrayLike, *, floor: float = 1e-4) -> Distance:
    """Return the population stability index, ``sum (p - q) ln(p / q)``.

    Shares below ``floor`` are raised to it on each side, without rescaling. The noise floor is
    ``(B - 1)(1 / n + 1 / m)`` with B bins that hold a row on either side; it was checked by
    simulation for at least about 10 rows per bin. Source: Lewis, An Introduction to Credit
    Scoring, 1994; it is the symmetric Kullback-Leibler divergence (Jeffreys, 1946).

    Args:
        reference_counts: Rows per bin, shape (bins,).
        current_counts: Rows per bin, same bins.
        floor: Smallest share used for a bin.

    Examples:
        >>> found = psi_from_counts([50, 50], [60, 40])
        >>> round(found.value, 6), found.noise_floor
        (0.040547, 0.02)
    """
    a, b = _counts(reference_counts, current_counts)
    definition = f"PSI = sum (p-q) ln(p/q) on {len(a)} bins, shares floored at {floor:g}"
    if not a.sum() or not b.sum():
        return _undefined("psi", definition)
    p, q = np.maximum(a / a.sum(), floor), np.maximum(b / b.sum(), floor)
    value = float(((p - q) * np.log(p / q)).sum())
    noise = _free_bins(a, b) * _inverse_sizes(a, b)
    return Distance(name="psi", value=value, noise_floor=noise, definition=definition, p_value=None)


def js_divergence_from_counts(reference_counts: ArrayLike, current_counts: ArrayLike) -> Distance:
    """Return the Jensen-Shannon divergence in bits (0 to 1), as TFDV and Vertex AI report it.

    ``(KL(p || m) + KL(q || m)) / 2`` with ``m = (p + q) / 2`` and base 2 (Lin, IEEE Transactions
    on Information Theory 37, 1991). Noise floor: ``(B - 1)(1 / n + 1 / m) / (8 ln 2)``.

    Args:
        reference_counts: Rows per bin, shape (bins,).
        current_counts: Rows per bin, same bins.

    Examples:
        >>> js_divergence_from_counts([1, 0], [0, 1]).value
        1.0
    """
    from scipy.special import rel_entr

    a, b = _counts(reference_counts, current_counts)
    definition = f"Jensen-Shannon divergence, base 2, on {len(a)} bins"
    if not a.sum() or not b.sum():
        return _undefined("js_divergence", definition)
    p, q = a / a.sum(), b / b.sum()
    middle = (p + q) / 2
    nats = float((rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / 2)
    value = min(1.0, max(0.0, nats / math.log(2)))
    noise = _free_bins(a, b) * _inverse_sizes(a, b) / (8 * math.log(2))
    return Distance(name="js_divergence", value=value, noise_floor=noise, definition=definition, p_value=None)


def js_distance_from_counts(reference_counts: ArrayLike, current_counts: ArrayLike) -> Distance:
    """Return the Jensen-Shannon distance, base 2 (0 to 1): the root of the divergence.

    Equal to SciPy ``jensenshannon(p, q, base=2)``; SciPy's default and Evidently use base e,
    which is smaller by the factor ``sqrt(ln 2) = 0.8326`` (Endres and Schindelin, 2003).

    Args:
        reference_counts: Rows per bin, shape (bins,).
        current_counts: Rows per bin, same bins.

    Examples:
        >>> round(js_distance_from_counts([50, 50], [60, 40]).value, 6)
        0.085435
    """
    divergence = js_divergence_from_counts(reference_counts, current_counts)
    return Distance(
        name="js_distance",
        value=math.sqrt(divergence.value),
        noise_floor=math.sqrt(divergence.noise_floor),
        definition=divergence.definition.replace("divergence", "distance"),
        p_value=None,
    )


def total_variation_from_counts(reference_counts: ArrayLike, current_counts: ArrayLike) -> Distance:
    """Return the total variation distance, ``sum |p - q| / 2`` (0 to 1).

    It is the share of rows that would have to change bin. The noise floor is its mean for
    normal shares, ``sum sqrt(s (1 - s)) sqrt((1 / n + 1 / m) / (2 pi))`` with the pooled shares
    s. The p-value is that of the homogeneity chi-squared test on the same bins, the usual
    companion, since total variation has no simple distribution of its own.

    Args:
        reference_counts: Rows per bin, shape (bins,).
        current_counts: Rows per bin, same bins.

    Examples:
        >>> found = total_variation_from_counts([50, 50], [60, 40])
        >>> round(found.value, 6), round(found.noise_floor, 4)
        (0.1, 0.0561)
    """
    a, b = _counts(reference_counts, current_counts)
    definition = f"TV = sum |p-q| / 2 on {len(a)} bins; p-value of the homogeneity chi2 test"
    if not a.sum() or not b.sum():
        return _undefined("total_variation", definition)
    value = float(np.abs(a / a.sum() - b / b.sum()).sum() / 2)
    pooled = (a + b) / (a.sum() + b.sum())
    spread = float(np.sqrt(pooled * (1 - pooled)).sum())
    return Distance(
        name="total_variation",
        value=value,
        noise_floor=spread * math.sqrt(_inverse_sizes(a, b) / (2 * math.pi)),
        definition=definition,
        p_value=chi2_homogeneity_from_counts(a, b).p_value,
    )


def chi2_homogeneity_from_counts(reference_counts: ArrayLike, current_counts: ArrayLike) -> Distance:
    """Return Pearson's statistic that both samples share one distribution.

    Both rows are random: expected counts come from the pooled shares (Pearson, 1911), as in
    SciPy ``chi2_contingency(correction=False)``, alibi-detect, frouros and NannyML. The noise
    floor is the degrees of freedom, ``B - 1``, the statistic's mean without change.

    Args:
        reference_counts: Rows per bin, shape (bins,).
        current_counts: Rows per bin, same bins.

    Examples:
        >>> found = chi2_homogeneity_from_counts([50, 50], [60, 40])
        >>> round(found.value, 6), found.noise_floor, round(found.p_value, 6)
        (2.020202, 1.0, 0.155218)
    """
    from scipy.stats import chi2

    a, b = _counts(reference_counts, current_counts)
    definition = "Pearson chi2 of homogeneity (2 x B), no continuity correction"
    if not a.sum() or not b.sum():
        return _undefined("chi2", definition)
    n, m = a.sum(), b.sum()
    both = (a + b)[a + b > 0]
    left = a[a + b > 0]
    # Sum over both rows of (observed - expected)**2 / expected, in closed form for two rows.
    value = float((np.square(left - both * n / (n + m)) / both).sum() * (n + m) ** 2 / (n * m))
    free = _free_bins(a, b)
    p_value = float(chi2.sf(value, free)) if free else 1.0
    return Distance(name="chi2", value=value, noise_floor=float(free), definition=definition, p_value=p_value)


def _ks_distance(value: float, n: int, m: int, definition: str) -> Distance:
    from scipy.stats import kstwo

    effective = max(1, round(n * m / (n + m)))
    return Distance(
        name="ks",
        value=value,
        noise_floor=_KOLMOGOROV_MEAN * math.sqrt(1 / n + 1 / m),
        definition=definition,
        p_value=float(np.clip(kstwo.sf(value, effective), 0.0, 1.0)),
    )


def _undefined(name: str, definition: str) -> Distance:
    return Distance(name=name, value=math.nan, noise_floor=math.inf, definition=definition, p_value=None)


def _sorted_without_nan(values: ArrayLike) -> Floats:
    numbers = np.asarray(values, dtype=np.float64).ravel()
    return np.sort(numbers[~np.isnan(numbers)])


def _counts(reference: ArrayLike, current: ArrayLike) -> tuple[Floats, Floats]:
    a = np.asarray(reference, dtype=np.float64)
    b = np.asarray(current, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"both sides need the same bins, got shapes {a.shape} and {b.shape}")
    if not ((a >= 0).all() and (b >= 0).all()):
        raise ValueError("counts must be 0 or more, without NaN")
    return a, b


def _free_bins(a: Floats, b: Floats) -> int:
    """Return the bins that hold a row on either side, less one."""
    return int((a + b > 0).sum()) - 1


def _inverse_sizes(a: Floats, b: Floats) -> float:
    return float(1 / a.sum() + 1 / b.sum())
