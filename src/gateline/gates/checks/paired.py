"""What the checks on labelled rows share: losses paired by row, intervals by unit, and what is said when data is missing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateline.gates.inputs import Floats, GateInputs
from gateline.gates.model import CheckResult, Verdict
from gateline.gates.policy import Policy
from gateline.gates.rules import counted, undecided
from gateline.stats import log_loss_rows, resample_units, units_needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The mean of a number over rows, with the interval that resamples whole units.

    Attributes:
        value: The mean.
        interval: Its interval; None when nothing bounds it (fewer than two units).
        rows: Number of rows.
        units: Number of units.
        noun: What a unit is called.
        units_missing: About how many more units would decide on which side of the threshold the mean lies; None when nobody can say.
    """

    value: float
    interval: tuple[float, float] | None
    rows: int
    units: int
    noun: str
    units_missing: int | None

    @property
    def over(self) -> str:
        """What was looked at, for a sentence: `28 days (26,412 rows)`."""
        return f"{counted(self.units, self.noun)} ({counted(self.rows, 'row')})"

    def ending(self, verdict: Verdict) -> str:
        """Return how a sentence ends: how much data is missing when the verdict is inconclusive."""
        return undecided(self.units_missing, self.noun) if verdict is Verdict.INCONCLUSIVE else ""


def measure(values: Floats, units: NDArray[np.int64], policy: Policy, threshold: float) -> Measurement:
    """Return the mean of `values` with its interval, and how much data would decide about `threshold`.

    Args:
        values: One finite number per row, shape (n,), n at least 1.
        units: The dependence unit of each row, shape (n,).
        policy: Level, seed and resamples.
        threshold: What the mean will be judged by.
    """
    value, count = float(values.mean()), len(np.unique(units))
    found = resample_units(values, units, seed=policy.seed, level=policy.level, resamples=policy.resamples)
    bounded = math.isfinite(found.lower) and math.isfinite(found.upper)
    distance, missing = abs(value - threshold), None
    if count >= 2 and distance > 0:
        missing = max(1, units_needed(values, units, half_width=distance, level=policy.level) - count)
    return Measurement(
        value=value, interval=(found.lower, found.upper) if bounded else None, rows=len(values), units=count, noun=policy.noun,
        units_missing=missing,
    )  # fmt: skip


def improvement_over_baseline(inputs: GateInputs) -> Floats:
    """Return for each labelled row how much lower the model's log loss is than that of the training base rate, in nats."""
    baseline = np.full(len(inputs.labels), inputs.base_rate)
    return log_loss_rows(inputs.labels, baseline) - log_loss_rows(inputs.labels, inputs.scores)


def too_little(name: str, inputs: GateInputs, units_min: int) -> CheckResult | None:
    """Return an inconclusive result when there are too few labelled rows, units or outcomes to judge by, else None."""
    rows, units, noun = len(inputs.labels), len(np.unique(inputs.units)), inputs.policy.noun
    left_out = f" ({counted(inputs.unlabelled, 'row')} without a label left out)" if inputs.unlabelled else ""
    seen = f"{counted(units, noun)} ({counted(rows, 'labelled row')}){left_out}"
    if units < units_min:
        reason = f"only {seen} to judge by; required at least {units_min:,}, so {counted(units_min - units, f'more {noun}')} are needed"
    elif len(np.unique(inputs.labels)) < 2:
        reason = f"all labels are {inputs.labels[0]:.0f} over {seen}; both outcomes are needed to judge by"
    else:
        return None
    return CheckResult(
        name=name, verdict=Verdict.INCONCLUSIVE, sentence=reason, n=rows, units=units,
        details={"units_missing": max(0, units_min - units), "unlabelled_rows": inputs.unlabelled},
    )  # fmt: skip
