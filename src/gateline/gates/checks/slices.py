"""Slices: no carrier, region or group is served worse than the trivial baseline by more than the policy tolerates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gateline.gates.checks.paired import Measurement, improvement_over_baseline, measure, too_little
from gateline.gates.inputs import Floats, GateInputs
from gateline.gates.model import CheckResult, Sense, Verdict
from gateline.gates.policy import SlicesPolicy
from gateline.gates.rules import combine, counted, figures, judge
from gateline.kernel.errors import InvalidInput
from gateline.stats import holm

_NAME = "slices"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """One judged slice: `p_below` is the chance of numbers this low if its mean were just at the threshold."""

    column: str
    value: str
    found: Measurement
    p_below: float


def check_slices(inputs: GateInputs) -> list[CheckResult]:
    """Return one result for each slice column: its worst slice's improvement of log loss over the training base rate (larger is better).

    A slice passes when the worse end of its interval reaches the threshold: all of them have to (an intersection-union test, which needs
    no correction: Berger, Technometrics 24, 1982). It fails when it is shown to lie below, at the family error 1 - level by Holm over
    the slices of all columns, so that many slices do not make a false alarm. Small slices are listed and not judged; when too many rows
    lie in them, the result is inconclusive.
    """
    policy = inputs.policy.slices
    if not policy.columns:
        return [
            CheckResult(name=_NAME, verdict=Verdict.ERROR, sentence="the policy asks for slices and names no column (gates.slices.columns)")
        ]
    inputs.require_unseen()
    missing = too_little(_NAME, inputs, policy.units_min)
    if missing is not None:
        return [missing]
    absent = [name for name in policy.columns if name not in inputs.frame.columns]
    if absent:
        raise InvalidInput(f"the holdout rows have no slice column {', '.join(map(repr, absent))}")
    gain = improvement_over_baseline(inputs)
    judged, small = list[_Slice](), dict[str, dict[str, int]]()
    for column in policy.columns:
        found, small[column] = _measure_slices(column, gain, inputs)
        judged += found
    shown_below = holm([one.p_below for one in judged], 1 - inputs.policy.level)
    verdicts = [_verdict(one, bool(below), policy) for one, below in zip(judged, shown_below, strict=True)]
    return [
        _result(column, [pair for pair in zip(judged, verdicts, strict=True) if pair[0].column == column], small[column], inputs)
        for column in policy.columns
    ]


def _measure_slices(column: str, gain: Floats, inputs: GateInputs) -> tuple[list[_Slice], dict[str, int]]:
    """Return the slices of a column that are large enough to judge, and the rows of those that are not."""
    policy = inputs.policy.slices
    values = inputs.frame.get_column(column).cast(pl.String).fill_null("(missing)").to_numpy()[inputs.has_label]
    judged, small = list[_Slice](), dict[str, int]()
    for value in sorted(set(values.tolist())):
        rows = values == value
        count = int(rows.sum())
        if count < policy.rows_min or len(np.unique(inputs.units[rows])) < policy.units_min:
            small[value] = count
            continue
        found = measure(gain[rows], inputs.units[rows], inputs.policy, policy.improvement_min)
        p_below = chance_this_low(gain[rows], inputs.units[rows], policy.improvement_min)
        judged.append(_Slice(column=column, value=value, found=found, p_below=p_below))
    return judged, small


def chance_this_low(values: Floats, units: NDArray[np.int64], threshold: float) -> float:
    """Return the one-sided p-value of "the mean is at least `threshold`" against "it is lower".

    Student's t with units - 1 degrees of freedom on the unit-clustered standard error (CR1 without regressors: Cameron and Miller, A
    Practitioner's Guide to Cluster-Robust Inference, 2015, section II).

    >>> units = np.arange(8)
    >>> round(chance_this_low(np.array([0.0, 1.0] * 4), units, 0.5), 3)
    0.5
    """
    from scipy.special import stdtr

    _, index = np.unique(units, return_inverse=True)
    clusters, rows = int(index.max()) + 1, len(values)
    mean = float(values.mean())
    residuals = np.bincount(index, weights=values - mean)
    error = math.sqrt(clusters / (clusters - 1) * float(np.square(residuals).sum())) / rows
    if error == 0:
        return float(mean >= threshold)
    return float(stdtr(clusters - 1, (mean - threshold) / error))


def _verdict(one: _Slice, shown_below: bool, policy: SlicesPolicy) -> Verdict:
    if shown_below:
        return Verdict.FAIL
    verdict = judge(one.found.value, one.found.interval, policy.improvement_min, Sense.AT_LEAST)
    # Below by its own interval alone, but not after the correction for looking at many slices: not shown.
    return Verdict.INCONCLUSIVE if verdict is Verdict.FAIL else verdict


def _result(column: str, judged: Sequence[tuple[_Slice, Verdict]], small: dict[str, int], inputs: GateInputs) -> CheckResult:
    policy, rows = inputs.policy.slices, len(inputs.labels)
    covered = 1 - sum(small.values()) / rows
    name, details = f"{_NAME}:{column}", _details(judged, small, covered, inputs)
    units = len(np.unique(inputs.units))
    if not judged:
        sentence = f"no value of {column} has {policy.rows_min:,} rows and {counted(policy.units_min, inputs.policy.noun)} to judge by"
        return CheckResult(name=name, verdict=Verdict.INCONCLUSIVE, sentence=sentence, n=rows, units=units, details=details)
    verdict = combine(verdict for _, verdict in judged)
    rank = {Verdict.FAIL: 0, Verdict.ERROR: 1, Verdict.INCONCLUSIVE: 2, Verdict.PASS: 3}
    worst = min(judged, key=lambda pair: (rank[pair[1]], pair[0].found.value))[0]
    found = worst.found
    numbers = figures(found.value, policy.improvement_min, *(found.interval or ()))
    ends = f" [{numbers[2]}, {numbers[3]}]" if found.interval else ""
    sentence = (
        f"worst of {counted(len(judged), 'slice')} by {column}: {worst.value} improves on the base-rate baseline by {numbers[0]}{ends} "
        f"over {found.over}; required at least {numbers[1]} in every slice"
    )
    if small:
        sentence += f"; {counted(len(small), 'small slice')} with {1 - covered:.1%} of the rows not judged"
    sentence += found.ending(verdict)
    if covered < policy.coverage_min and verdict is Verdict.PASS:
        verdict = Verdict.INCONCLUSIVE
        sentence += f"; undecided, {covered:.1%} of the rows lie in judged slices and {policy.coverage_min:.1%} are required"
    return CheckResult(
        name=name, verdict=verdict, sentence=sentence, value=found.value, threshold=policy.improvement_min, sense=Sense.AT_LEAST,
        n=rows, units=units, interval=found.interval, details=details,
    )  # fmt: skip


def _details(judged: Sequence[tuple[_Slice, Verdict]], small: dict[str, int], covered: float, inputs: GateInputs) -> dict[str, Any]:
    return {
        "slices": [
            {
                "value": one.value, "verdict": verdict.value, "improvement": one.found.value,
                "interval": list(one.found.interval) if one.found.interval else None, "rows": one.found.rows, "units": one.found.units,
                "p_below": one.p_below,
            }
            for one, verdict in judged
        ],
        "not_judged": small,
        "coverage": covered,
        "unlabelled_rows": inputs.unlabelled,
        "level": inputs.policy.level,
    }  # fmt: skip
