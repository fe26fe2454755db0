"""How gates decide: a value, its interval and a threshold give a verdict; verdicts combine; a sentence says it with both numbers.

Nothing here measures anything, reads a clock or draws a random number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gateline.gates.model import CheckResult, Sense, Verdict

CHAMPION = "champion"
"""The check that needs a second model."""

_DECIMALS, _DECIMALS_LARGE, _DECIMALS_MAX = 3, 1, 6


def judge(value: float, interval: tuple[float, float] | None, threshold: float, sense: Sense) -> Verdict:
    """Return pass when the interval's worse end meets the threshold, fail when its better end misses it, else inconclusive.

    An exact value (no interval) passes or fails. A value or threshold that is no number is an error.

    >>> judge(0.061, (0.048, 0.074), 0.010, Sense.AT_LEAST)
    <Verdict.PASS: 'pass'>
    >>> judge(0.012, (-0.001, 0.025), 0.010, Sense.AT_LEAST)
    <Verdict.INCONCLUSIVE: 'inconclusive'>
    >>> judge(31.0, (29.0, 34.0), 25.0, Sense.AT_MOST)
    <Verdict.FAIL: 'fail'>
    """
    lower, upper = interval if interval is not None else (value, value)
    if any(math.isnan(number) for number in (value, lower, upper, threshold)):
        return Verdict.ERROR
    worse, better = (lower, upper) if sense is Sense.AT_LEAST else (-upper, -lower)
    goal = threshold if sense is Sense.AT_LEAST else -threshold
    if worse >= goal:
        return Verdict.PASS
    return Verdict.FAIL if better < goal else Verdict.INCONCLUSIVE


def judge_champion(interval: tuple[float, float], margin: float) -> Verdict:
    """Return the verdict on candidate minus champion log loss (smaller is better).

    Pass when the candidate is shown better by more than the margin (the whole interval lies below `-margin`), fail when it is shown
    worse (the whole interval lies above 0), else inconclusive: the champion stays.

    >>> judge_champion((-0.043, -0.002), 0.0)
    <Verdict.PASS: 'pass'>
    >>> judge_champion((-0.003, 0.026), 0.0)
    <Verdict.INCONCLUSIVE: 'inconclusive'>
    >>> judge_champion((0.004, 0.026), 0.0)
    <Verdict.FAIL: 'fail'>
    """
    lower, upper = interval
    if math.isnan(lower) or math.isnan(upper):
        return Verdict.ERROR
    if upper < -margin:
        return Verdict.PASS
    return Verdict.FAIL if lower > 0 else Verdict.INCONCLUSIVE


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of a whole run: any fail, else any error, else any inconclusive, else pass. No verdict at all is an error.

    >>> combine([Verdict.PASS, Verdict.INCONCLUSIVE])
    <Verdict.INCONCLUSIVE: 'inconclusive'>
    >>> combine([])
    <Verdict.ERROR: 'error'>
    """
    found = set(verdicts)
    for verdict in (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE):
        if verdict in found:
            return verdict
    return Verdict.PASS if found else Verdict.ERROR


def quantile_bounds(samples: NDArray[np.float64], quantile: float, level: float) -> tuple[float, float, float | None]:
    """Return a quantile of independent samples with its distribution-free bounds (value, lower, upper).

    The bounds are order statistics: with B binomial(n, quantile), the r-th smallest sample lies below the quantile with probability
    P(B >= r), the s-th above it with P(B <= s - 1) (David and Nagaraja, Order Statistics, 2003, section 7.1). Each end holds by itself
    with probability `level`. Upper is None when even the largest sample does not bound the quantile with that probability; lower is
    -inf in the mirrored case.

    >>> quantile_bounds(np.arange(1.0, 301.0), 0.99, 0.95)
    (297.0, 294.0, 300.0)
    """
    from scipy.special import bdtr
    from scipy.stats import binom

    ordered, count = np.sort(samples), len(samples)
    value = float(ordered[math.ceil(quantile * count) - 1])
    rank_low = int(binom.ppf(1 - level, count, quantile))
    while rank_low > 0 and bdtr(rank_low - 1, count, quantile) > 1 - level:
        rank_low -= 1
    rank_high = int(binom.ppf(level, count, quantile)) + 1
    lower = float(ordered[rank_low - 1]) if rank_low >= 1 else -math.inf
    return value, lower, float(ordered[rank_high - 1]) if rank_high <= count else None


def samples_needed(quantile: float, level: float) -> int:
    """Return how many independent samples bound a quantile from above with probability `level`: `quantile**n <= 1 - level`.

    >>> samples_needed(0.99, 0.95)
    299
    """
    return math.ceil(math.log(1 - level) / math.log(quantile))


def shows_results(results: Iterable[CheckResult]) -> bool:
    """Whether somebody who reads these results has seen how the model does on the labels: some value was measured over units."""
    return any(one.value is not None and one.units is not None for one in results)


def policy_is_too_late(recorded_at: int, first_look_at: int | None) -> bool:
    """Whether a policy was first seen after somebody had looked at results of this model on these rows.

    Thresholds are fixed before the test (Regulation (EU) 2024/1689, article 9(8): prior-defined metrics and thresholds); one edited
    after a look may have been fitted to what it saw.
    """
    return first_look_at is not None and recorded_at > first_look_at


def chosen_suite(required: Sequence[str], asked: Sequence[str] | None, *, champion: bool) -> tuple[str, ...]:
    """Return the checks of a run: those asked for, or those the policy requires, and the champion check when there is one to compare with.

    >>> chosen_suite(["schema", "holdout"], None, champion=True)
    ('schema', 'holdout', 'champion')
    """
    if asked is not None:
        return tuple(asked)
    return (*required, *((CHAMPION,) if champion and CHAMPION not in required else ()))


def not_asked(required: Sequence[str], suite: Sequence[str]) -> tuple[str, ...]:
    """Return the checks that the policy requires and the run left out."""
    return tuple(name for name in required if name not in suite)


def figures(value: float, threshold: float, *others: float) -> list[str]:
    """Return numbers with as many decimals as keep value and threshold apart: at least 3 (1 for large ones), at most 6.

    >>> figures(0.0612, 0.01)
    ['0.061', '0.010']
    >>> figures(0.00996, 0.01)
    ['0.00996', '0.01000']
    >>> figures(12.345, 50.0)
    ['12.3', '50.0']
    """
    sizes = [abs(number) for number in (value, threshold) if number]
    decimals = _DECIMALS_LARGE if sizes and min(sizes) >= 10 else _DECIMALS
    distance = abs(value - threshold)
    if distance and math.isfinite(distance):
        decimals = min(_DECIMALS_MAX, max(decimals, -math.floor(math.log10(distance) + 1e-9)))
    return [f"{round(number, decimals) + 0.0:.{decimals}f}" for number in (value, threshold, *others)]


def counted(number: int, noun: str) -> str:
    """Return the number with its noun.

    >>> counted(1, "day"), counted(26412, "row")
    ('1 day', '26,412 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def measured(
    what: str, value: float, interval: tuple[float, float] | None, over: str, threshold: float, sense: Sense, unit: str = ""
) -> str:
    """Return the sentence of a measured check, without a full stop.

    >>> measured("log loss improves on the base-rate baseline by", 0.061, (0.048, 0.074), "28 days (26,412 rows)", 0.01, Sense.AT_LEAST)
    'log loss improves on the base-rate baseline by 0.061 [0.048, 0.074] over 28 days (26,412 rows); required at least 0.010'
    """
    numbers = figures(value, threshold, *(interval or ()))
    ends = f" [{numbers[2]}, {numbers[3]}]" if interval else ""
    required = "at least" if sense is Sense.AT_LEAST else "at most"
    return f"{what} {numbers[0]}{ends}{unit} over {over}; required {required} {numbers[1]}{unit}"


def undecided(missing: int | None, noun: str) -> str:
    """Return the end of an inconclusive sentence: about how much data is missing, None meaning that nobody can say.

    >>> undecided(12, "day")
    '; undecided, about 12 more days are needed'
    """
    if missing is None:
        return "; undecided, the value lies on the threshold"
    return f"; undecided, about {counted(missing, f'more {noun}')} {'is' if missing == 1 else 'are'} needed"
