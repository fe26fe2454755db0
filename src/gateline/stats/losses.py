"""Losses and scores of a binary classifier, per row or as one number."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gateline.stats.intervals import Interval, percentile_interval, unit_sums

Floats = NDArray[np.float64]

PROBABILITY_CLIP = 1e-6


def log_loss_rows(label: ArrayLike, probability: ArrayLike) -> Floats:
    """Return the log loss of every row (smaller is better, natural logarithm).

    ``-(y ln p + (1 - y) ln(1 - p))`` with p clipped to ``[1e-6, 1 - 1e-6]``, so that one
    certain mistake costs 13.8 and not infinity (Good, Rational Decisions, 1952).

    Args:
        label: 0 or 1 (or bool) per row, shape (rows,).
        probability: Predicted probability of 1, shape (rows,). NaN gives NaN.

    Examples:
        >>> log_loss_rows([1, 0], [0.5, 0.0]).round(6).tolist()
        [0.693147, 1e-06]
    """
    y, p = _pair(label, probability)
    p = np.clip(p, PROBABILITY_CLIP, 1 - PROBABILITY_CLIP)
    return -(y * np.log(p) + (1 - y) * np.log1p(-p))


def brier_rows(label: ArrayLike, probability: ArrayLike) -> Floats:
    """Return the Brier score of every row, ``(p - y)**2`` (smaller is better, 0 to 1).

    Source: Brier, Monthly Weather Review 78, 1950, in its one-column form.

    Args:
        label: 0 or 1 (or bool) per row, shape (rows,).
        probability: Predicted probability of 1, shape (rows,). NaN gives NaN.

    Examples:
        >>> brier_rows([1, 0], [0.5, 0.0]).tolist()
        [0.25, 0.0]
    """
    y, p = _pair(label, probability)
    return np.square(p - y)


def calibration_gap(label: ArrayLike, probability: ArrayLike) -> float:
    """Return mean prediction minus mean outcome (0 is best; above 0 predicts too much).

    Args:
        label: 0 or 1 (or bool) per row, shape (rows,).
        probability: Predicted probability of 1, shape (rows,).

    Returns:
        The gap in -1 to 1; NaN without rows.

    Examples:
        >>> calibration_gap([1, 0], [0.5, 0.25])
        -0.125
    """
    y, p = _pair(label, probability)
    return float(p.mean() - y.mean()) if len(y) else float("nan")


def auc(label: ArrayLike, score: ArrayLike) -> float:
    """Return the area under the ROC curve (larger is better, 0.5 is chance).

    The chance that a random positive scores above a random negative, ties counted half:
    ``(sum of positive ranks - P (P + 1) / 2) / (P N)`` with tied ranks averaged
    (Hanley and McNeil, Radiology 143, 1982).

    Args:
        label: 0 or 1 (or bool) per row, shape (rows,).
        score: Any score that grows with the chance of 1, shape (rows,). NaN gives NaN.

    Returns:
        The area in 0 to 1; NaN when only one class is present.

    Examples:
        >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
        >>> auc([1, 1], [0.1, 0.4])
        nan
    """
    from scipy.stats import rankdata

    y, s = _pair(label, score)
    positives = float(y.sum())
    negatives = len(y) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = float((rankdata(s, method="average") * y).sum())
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def auc_interval(
    label: ArrayLike,
    score: ArrayLike,
    units: NDArray[Any],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 300,
) -> Interval:
    """Return the percentile interval of the AUC, resampling whole units.

    Rows are sorted by score once; a resample then only re-weights them by how often their unit
    was drawn, which costs one pass over the rows.

    Args:
        label: 0 or 1 (or bool) per row, shape (rows,).
        score: Finite score per row, shape (rows,).
        units: The dependence unit of each row, shape (rows,).
        seed: Seed of the PCG64 generator.
        level: Wanted coverage, between 0 and 1.
        resamples: Number of resamples.

    Returns:
        The interval within 0 to 1. It is ``(0, 1)``, nothing known, with fewer than two units
        or one class. A resample with one class only counts against both ends.

    Raises:
        ValueError: The shapes differ, a score is not finite, or a label is not 0 or 1.

    Examples:
        >>> auc_interval([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], np.array([1, 1, 1, 1]), seed=1)
        Interval(lower=0.0, upper=1.0, level=0.95)
    """
    y, s = _pair(label, score)
    sums, index = unit_sums(s, units)
    count = len(sums)
    if count < 2 or not 0 < y.sum() < len(y):
        return Interval(lower=0.0, upper=1.0, level=level)
    order = np.argsort(s, kind="stable")
    s, y, index = s[order], y[order], index[order]
    starts = np.flatnonzero(np.concatenate([[True], s[1:] != s[:-1]]))
    generator = np.random.Generator(np.random.PCG64(seed))
    areas = np.empty(resamples)
    for resample in range(resamples):
        times = np.bincount(generator.integers(count, size=count), minlength=count)
        areas[resample] = _weighted_auc(y, times[index].astype(np.float64), starts)
    found = percentile_interval(areas, level)
    return Interval(lower=max(0.0, found.lower), upper=min(1.0, found.upper), level=level)


def _weighted_auc(label: Floats, weight: Floats, starts: NDArray[np.intp]) -> float:
    """Return the AUC of weighted rows sorted by score; ``starts`` are the first tied rows."""
    positive = np.add.reduceat(weight * label, starts)
    negative = np.add.reduceat(weight, starts) - positive
    pairs = positive.sum() * negative.sum()
    if pairs == 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / pairs)


def _pair(label: ArrayLike, number: ArrayLike) -> tuple[Floats, Floats]:
    """Return labels and numbers as equally long float arrays, or say what is wrong."""
    y = np.asarray(label, dtype=np.float64)
    x = np.asarray(number, dtype=np.float64)
    if y.ndim != 1 or y.shape != x.shape:
        raise ValueError(f"both columns must be 1-D and equally long, got {y.shape} and {x.shape}")
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("labels must be 0 or 1; drop rows without a label first")
    return y, x
