"""Holdout: the model beats the trivial baseline on rows of days (or customers) it was not trained on."""

from __future__ import annotations

import numpy as np

from gateline.gates.checks.paired import improvement_over_baseline, measure, too_little
from gateline.gates.inputs import GateInputs
from gateline.gates.model import CheckResult, Sense
from gateline.gates.rules import judge, measured
from gateline.stats import auc

_NAME = "holdout"


def check_holdout(inputs: GateInputs) -> list[CheckResult]:
    """Return the improvement of log loss over the training base rate, in nats per row (larger is better).

    Paired by row, the interval resampling whole dependence units; passes when the worse end reaches the policy's threshold.
    """
    policy = inputs.policy.holdout
    inputs.require_unseen()
    missing = too_little(_NAME, inputs, policy.units_min)
    if missing is not None:
        return [missing]
    gain = improvement_over_baseline(inputs)
    found = measure(gain, inputs.units, inputs.policy, policy.improvement_min)
    verdict = judge(found.value, found.interval, policy.improvement_min, Sense.AT_LEAST)
    sentence = measured(
        "log loss improves on the base-rate baseline by", found.value, found.interval, found.over, policy.improvement_min, Sense.AT_LEAST
    )
    return [
        CheckResult(
            name=_NAME,
            verdict=verdict,
            sentence=sentence + found.ending(verdict),
            value=found.value,
            threshold=policy.improvement_min,
            sense=Sense.AT_LEAST,
            n=found.rows,
            units=found.units,
            interval=found.interval,
            details={
                "base_rate_training": inputs.base_rate,
                "base_rate_holdout": float(inputs.labels.mean()),
                "mean_score": float(np.mean(inputs.scores)),
                "auc": auc(inputs.labels, inputs.scores),
                "unlabelled_rows": inputs.unlabelled,
                "units_missing": found.units_missing,
                "level": inputs.policy.level,
            },
        )
    ]
