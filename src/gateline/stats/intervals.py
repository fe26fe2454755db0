"""Intervals that resample the unit of dependence, never single rows.

Rows of one day, one customer or one flight share causes. An interval that treats them as
independent is too narrow and calls differences certain that are not. Every function here draws
whole units with replacement (the cluster bootstrap: Davison and Hinkley, Bootstrap Methods and
their Application, 1997, section 3.8; Cameron, Gelbach and Miller, 2008).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Unit draws held in memory at once: 16 MB of int64 indices. Part of the reproducible
# behaviour, so it is a constant and not an argument.
_DRAWS_PER_BLOCK = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A two-sided interval for one number.

    Attributes:
        lower: Lower end, in the unit of the statistic; ``-inf`` when nothing is known.
        upper: Upper end, in the unit of the statistic; ``inf`` when nothing is known.
        level: Wanted coverage, for example 0.95.
    """

    lower: float
    upper: float
    level: float


def resample_units(
    values: Floats,
    units: NDArray[Any],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 4000,
) -> Interval:
    """Return the percentile interval of the mean of ``values``, resampling whole units.

    Each resample draws as many units as there are, with replacement, and takes the ratio
    ``sum of values / number of rows`` over the drawn units, so that large units keep their
    weight.

    Args:
        values: Per-row numbers, shape (rows,), all finite; for example losses or paired
            differences of losses.
        units: The dependence unit of each row, shape (rows,): integers, strings or dates.
            Pass ``np.arange(rows)`` only where rows are known to be independent.
        seed: Seed of the PCG64 generator; the same seed gives the same interval.
        level: Wanted coverage, between 0 and 1.
        resamples: Number of resamples.

    Returns:
        The interval. With fewer than two units it is ``(-inf, inf)``: one unit says nothing
        about how units differ. With few units the percentile interval is somewhat short: in
        the package's simulation a 95 % interval of normal unit effects covers about 86 % with
        7 units, 91 % with 14 and 93 % with 30.

    Raises:
        ValueError: The shapes differ, a value is not finite, or an option is out of range.

    Examples:
        >>> values = np.array([0.0, 0.0, 1.0, 1.0])
        >>> days = np.array(["mon", "mon", "tue", "tue"])
        >>> resample_units(values, days, seed=1)
        Interval(lower=0.0, upper=1.0, level=0.95)
        >>> resample_units(values, np.zeros(4), seed=1)
        Interval(lower=-inf, upper=inf, level=0.95)
    """
    sums, _ = unit_sums(values, units)
    return resample_statistic(sums, lambda total: total[:, 0] / total[:, 1], seed=seed, level=level, resamples=resamples)


def resample_statistic(
    sums: Floats,
    combine: Callable[[Floats], Floats],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 4000,
) -> Interval:
    """Return the percentile interval of any statistic that is a function of per-unit sums.

    Args:
        sums: Sufficient sums of each unit, shape (units, k), all finite. For a rate: bad rows
            and rows. For the calibration gap: sum of probabilities, sum of labels and rows.
        combine: Maps totals of shape (resamples, k) to statistics of shape (resamples,). It is
            called once, with division warnings off; NaN means "not defined in this resample".
        seed: Seed of the PCG64 generator.
        level: Wanted coverage, between 0 and 1.
        resamples: Number of resamples.

    Returns:
        The interval between the ``(1 - level) / 2`` quantiles, rounded outwards to drawn values.
        An undefined resample counts as ``-inf`` for the lower and ``inf`` for the upper end, so
        missing information widens the interval and never narrows it. With fewer than two units
        the interval is ``(-inf, inf)``.

    Raises:
        ValueError: ``sums`` is not two-dimensional or not finite, or an option is out of range.

    Examples:
        >>> bad_and_rows = np.array([[1.0, 10.0], [3.0, 10.0], [2.0, 20.0]])
        >>> rate = resample_statistic(bad_and_rows, lambda t: t[:, 0] / t[:, 1], seed=1)
        >>> rate.lower, rate.upper
        (0.1, 0.3)
    """
    sums = np.asarray(sums, dtype=np.float64)
    _check_options(level, resamples)
    if sums.ndim != 2 or not np.isfinite(sums).all():
        raise ValueError(f"sums must be finite and of shape (units, k), got shape {sums.shape}")
    if len(sums) < 2:
        return Interval(lower=-math.inf, upper=math.inf, level=level)
    totals = _draw_totals(sums, seed, resamples)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = np.asarray(combine(totals), dtype=np.float64)
    if statistics.shape != (resamples,):
        raise ValueError(f"combine must return shape ({resamples},), got {statistics.shape}")
    return percentile_interval(statistics, level)


def units_needed(values: Floats, units: NDArray[Any], *, half_width: float, level: float = 0.95) -> int:
    """Return how many units in total give an interval of about the wanted half width.

    Linearised variance of a ratio of sums (Cochran, Sampling Techniques, 1977, chapter 6):
    with unit sums ``s``, unit sizes ``m``, mean ``R = sum s / sum m`` and residuals
    ``e = s - R m``, the answer is ``ceil((z sd(e) / (mean(m) half_width))**2)``, at least 2.
    It assumes that future units resemble those seen.

    Args:
        values: Per-row numbers, shape (rows,), all finite.
        units: The dependence unit of each row, shape (rows,).
        half_width: Wanted half width of the interval, in the unit of ``values``, above 0.
        level: Wanted coverage, between 0 and 1.

    Returns:
        Units in total; subtract those at hand to learn how many are missing.

    Raises:
        ValueError: There are fewer than two units (their spread is unknown), the shapes
            differ, a value is not finite, or an option is out of range.

    Examples:
        >>> values = np.array([0.0, 1.0, 0.0, 1.0])
        >>> units_needed(values, np.array([1, 2, 3, 4]), half_width=0.1)
        129
    """
    from scipy.special import ndtri

    _check_options(level, 1)
    if not half_width > 0:
        raise ValueError(f"half_width must be above 0, got {half_width}")
    sums, _ = unit_sums(values, units)
    if len(sums) < 2:
        raise ValueError(f"at least 2 units are needed to know their spread, got {len(sums)}")
    residuals = sums[:, 0] - sums[:, 1] * (sums[:, 0].sum() / sums[:, 1].sum())
    z = float(ndtri(0.5 + level / 2))
    spread = float(residuals.std(ddof=1) / sums[:, 1].mean())
    return max(2, math.ceil((z * spread / half_width) ** 2))


def unit_sums(values: Floats, units: NDArray[Any]) -> tuple[Floats, NDArray[np.int64]]:
    """Return the sum and the row count of every unit, and the unit index of every row.

    Args:
        values: Per-row numbers, shape (rows,), all finite.
        units: The unit of each row, shape (rows,).

    Returns:
        Sums of shape (units, 2), columns "sum of values" and "rows", units in sorted order; and
        the index of each row's unit, shape (rows,).

    Raises:
        ValueError: The shapes differ or a value is not finite.

    Examples:
        >>> unit_sums(np.array([1.0, 2.0, 4.0]), np.array(["b", "a", "b"]))[0].tolist()
        [[2.0, 1.0], [5.0, 2.0]]
    """
    values = np.asarray(values, dtype=np.float64)
    units = np.asarray(units)
    if values.ndim != 1 or values.shape != units.shape:
        raise ValueError(f"values and units must be 1-D and equally long, got {values.shape} and {units.shape}")
    if not np.isfinite(values).all():
        missing = int(len(values) - np.isfinite(values).sum())
        raise ValueError(f"{missing} of {len(values)} values are not finite; drop those rows first")
    names, index = np.unique(units, return_inverse=True)
    rows = np.bincount(index, minlength=len(names)).astype(np.float64)
    totals = np.bincount(index, weights=values, minlength=len(names))
    return np.column_stack([totals, rows]), index.astype(np.int64)


def percentile_interval(statistics: Floats, level: float) -> Interval:
    """Return the central interval of resampled statistics, rounded outwards.

    Args:
        statistics: One number per resample, shape (resamples,); NaN means undefined and counts
            against both ends.
        level: Wanted coverage, between 0 and 1.

    Examples:
        >>> percentile_interval(np.array([1.0, 2.0, 3.0, 4.0]), 0.5)
        Interval(lower=1.0, upper=4.0, level=0.5)
        >>> percentile_interval(np.array([1.0, np.nan]), 0.5)
        Interval(lower=-inf, upper=inf, level=0.5)
    """
    undefined = np.isnan(statistics)
    tail = (1 - level) / 2
    low = np.quantile(np.where(undefined, -np.inf, statistics), tail, method="lower")
    high = np.quantile(np.where(undefined, np.inf, statistics), 1 - tail, method="higher")
    return Interval(lower=float(low), upper=float(high), level=level)


def _draw_totals(sums: Floats, seed: int, resamples: int) -> Floats:
    """Return the totals over units drawn with replacement, shape (resamples, k)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    count, width = sums.shape
    totals = np.empty((resamples, width))
    block = max(1, _DRAWS_PER_BLOCK // count)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = generator.integers(count, size=(size, count))
        for column in range(width):
            # Column by column and without BLAS, so that every machine adds in one order.
            totals[start : start + size, column] = sums[:, column][drawn].sum(axis=1)
    return totals


def _check_options(level: float, resamples: int) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
