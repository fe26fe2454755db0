"""Evidence from requests: damage is found, harmless versions and shared incidents are left alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from gateline.kernel.clock import DAY
from gateline.rollout.analysis import analyse, compare_with_predecessor, freeze_baseline
from gateline.rollout.model import Family, RolloutPlan
from gateline.rollout.rules import Action, decide_canary

PLAN = RolloutPlan.from_dict({})
SHARE = 0.2


def requests(seed: int, count: int, *, arm_share: float = SHARE, generation: int = 2) -> dict[str, Any]:
    """Requests of two equal arms, as columns; tests damage them."""
    rng = np.random.default_rng(seed)
    canary = rng.random(count) < arm_share
    delay = rng.normal(10, 20, count)
    truth = 1 / (1 + np.exp(-(delay - 30) / 12))
    return {
        "prediction_id": [f"p{seed}-{number}" for number in range(count)],
        "event_time": np.arange(count) * (DAY // 200),
        "version": np.where(canary, "m@2", "m@1"),
        "generation": np.full(count, generation),
        "arm": np.where(canary, "canary", "champion"),
        "weight": np.where(canary, arm_share, 1 - arm_share),
        "shadow": np.zeros(count, dtype=bool),
        "latency_us": rng.gamma(4, 10, count),
        "prediction": np.clip(truth + rng.normal(0, 0.02, count), 0.01, 0.99),
        "error": np.full(count, "", dtype=object),
        "feature.delay": delay,
        "feature.hour": rng.integers(5, 23, count).astype(float),
        "label": (rng.random(count) < truth).astype(float),
    }


BASELINE = freeze_baseline(pl.DataFrame(requests(1, 2000, arm_share=0.0, generation=1), strict=False), PLAN)


def judge(columns: dict[str, Any]) -> tuple[Action, Family]:
    """The decision on these requests, and the loudest family."""
    found = analyse(pl.DataFrame(columns, strict=False), BASELINE, PLAN, step_generation=2)
    return decide_canary(PLAN, len(PLAN.steps) - 1, found).action, max(found.evidence, key=lambda one: one.log_e).family


def damage(columns: dict[str, Any], fault: str) -> None:
    """Damage the canary's rows the way a broken served form would."""
    canary = columns["arm"] == "canary"
    match fault:
        case "wrong scale":
            columns["feature.delay"][canary] *= 60
        case "swapped columns":
            columns["feature.delay"][canary], columns["feature.hour"][canary] = (
                columns["feature.hour"][canary].copy(), columns["feature.delay"][canary].copy(),
            )  # fmt: skip
        case "stale feature":
            columns["feature.delay"][canary] = 7.0
        case "slow":
            columns["latency_us"][canary] += 800
        case "label flip":
            columns["prediction"][canary] = 1 - columns["prediction"][canary]
        case "errors":
            columns["error"][canary & (np.arange(len(canary)) % 4 == 0)] = "scoring failed"


@pytest.mark.parametrize(
    ("fault", "family"),
    [
        ("wrong scale", Family.INPUTS),
        ("swapped columns", Family.INPUTS),
        ("stale feature", Family.INPUTS),
        ("slow", Family.LATENCY),
        ("label flip", Family.LABELS),
        ("errors", Family.ERRORS),
    ],
)
def test_each_class_of_damage_is_found_within_a_thousand_requests(fault: str, family: Family) -> None:
    """By the family that sees it best, at a fifth of the traffic."""
    columns = requests(7, 1000)
    damage(columns, fault)
    action, loudest = judge(columns)
    assert action is Action.ROLL_BACK
    assert loudest in {family, Family.PREDICTIONS}


def test_labels_alone_find_a_model_whose_predictions_only_look_right() -> None:
    """Shuffled predictions keep every distribution; late labels tell."""
    columns = requests(8, 6000)
    canary = columns["arm"] == "canary"
    columns["prediction"][canary] = np.random.default_rng(3).permutation(columns["prediction"][canary])
    assert judge(columns) == (Action.ROLL_BACK, Family.LABELS)


def test_harmless_canaries_are_hardly_ever_rolled_back() -> None:
    """40 canaries of 1,500 requests, looked at six times each: none is rolled back (alpha is 1 %)."""
    rolled_back = 0
    for seed in range(40):
        columns = requests(100 + seed, 1500)
        for size in range(250, 1501, 250):
            rolled_back += judge({name: values[:size] for name, values in columns.items()})[0] is Action.ROLL_BACK
    assert rolled_back == 0


def test_an_incident_that_hits_both_arms_rolls_nothing_back() -> None:
    """Everything is slow and half of all fails for a while: the canary is not to blame."""
    columns = requests(9, 2000)
    incident = slice(500, 900)
    columns["latency_us"][incident] += 5000
    columns["error"][incident] = np.where(np.random.default_rng(1).random(400) < 0.5, "upstream down", "")
    assert judge(columns)[0] is not Action.ROLL_BACK


def test_a_broken_split_is_seen() -> None:
    """Twice the intended share reaches the canary."""
    columns = requests(10, 1500, arm_share=0.4)
    columns["weight"] = np.where(columns["arm"] == "canary", 0.2, 0.8)
    assert analyse(pl.DataFrame(columns, strict=False), BASELINE, PLAN, 2).sample_ratio_p < 1e-9


def test_shadow_rows_are_no_evidence_between_the_arms() -> None:
    """They were not answered."""
    columns = requests(11, 400)
    shadow = {name: np.array(values).copy() for name, values in columns.items()}
    shadow["shadow"][:] = True
    shadow["error"][:] = "failed"
    both = {name: np.concatenate([columns[name], shadow[name]]) for name in columns}
    found = analyse(pl.DataFrame(both, strict=False), BASELINE, PLAN, 2)
    assert found.canary_requests + found.baseline_requests == 400
    assert found.error_share == 0


def paired(shift: float, days: int = 20) -> pl.DataFrame:
    """A promoted version and its predecessor on the same requests; `shift` worsens the new one."""
    rng = np.random.default_rng(5)
    count = days * 100
    truth = rng.beta(2, 5, count)
    day_effect = np.repeat(rng.normal(0, 0.05, days), 100)
    label = (rng.random(count) < np.clip(truth + day_effect, 0, 1)).astype(float)
    shared = {
        "prediction_id": [f"p{number}" for number in range(count)],
        "event_time": np.arange(count) * (DAY // 100),
        "label": label,
        "error": [""] * count,
    }
    new = pl.DataFrame(shared | {"arm": "champion", "shadow": False, "prediction": np.clip(truth + shift, 0.01, 0.99)})
    old = pl.DataFrame(shared | {"arm": "predecessor", "shadow": True, "prediction": np.clip(truth, 0.01, 0.99)})
    return pl.concat([new, old])


def test_a_promotion_that_makes_things_worse_is_shown_worse_by_days() -> None:
    """The interval resamples whole days."""
    found = compare_with_predecessor(paired(0.25), PLAN, looks=3, seed=1)
    assert found.days == 20
    assert found.lower > 0
    assert math.isclose(found.level, 1 - 0.05 / 3)


def test_equal_versions_are_not_told_apart() -> None:
    """Zero lies in the interval of two equal versions."""
    found = compare_with_predecessor(paired(0.0), PLAN, looks=3, seed=1)
    assert found.lower <= 0 <= found.upper


def test_without_labels_nothing_is_shown() -> None:
    """Open ends instead of a verdict."""
    rows = paired(0.3).with_columns(pl.lit(None, dtype=pl.Float64).alias("label"))
    found = compare_with_predecessor(rows, PLAN, looks=3, seed=1)
    assert (found.days, found.lower, found.upper) == (0, -math.inf, math.inf)
