"""From requests and labels to evidence. Everything is computed anew from the log, so a decision can be recomputed later.

A frame of observations has one row per scored request with the columns of `Serving.predictions` and, where known, `label`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gateline.kernel.clock import DAY, SECOND
from gateline.rollout.model import Analysis, Baseline, Comparison, Evidence, Family, RolloutPlan
from gateline.stats import log_e, log_loss_rows, resample_units, sample_ratio_p, start, update_many

CANARY = "canary"
CHAMPION = "champion"
PREDECESSOR = "predecessor"
FEATURE = "feature."

_LATENCY_QUANTILE = 0.99
_LATENCY_TIMES = 2.0


@dataclass(frozen=True, slots=True)
class _Arms:
    """The rows of both arms as arrays: which arm, and the canary's share when the request was routed."""

    canary: NDArray[np.bool_]
    weight: NDArray[np.float64]


def freeze_baseline(rows: pl.DataFrame, plan: RolloutPlan) -> Baseline:
    """Return what counts as bad, from the champion's own requests (at least one) before the canary."""
    served = rows.filter(~pl.col("shadow") & (pl.col("error") == ""))
    prediction = served["prediction"].to_numpy()
    latency = float(np.quantile(served["latency_us"].to_numpy(), _LATENCY_QUANTILE)) / 1000
    labelled = served.filter(pl.col("label").is_not_null())
    surprise = None
    if labelled.height:
        losses = log_loss_rows(labelled["label"].to_numpy().astype(float), labelled["prediction"].to_numpy())
        surprise = float(np.quantile(losses, 0.9))
    inputs = {}
    for name in _numeric_features(served):
        values = served[name].drop_nulls().drop_nans()
        if values.len():
            low, high = np.quantile(values.to_numpy(), [0.1, 0.9])
            inputs[name.removeprefix(FEATURE)] = (float(low), float(high))
    return Baseline(
        requests=served.height,
        latency_ms=max(_LATENCY_TIMES * latency, plan.latency_floor_ms),
        prediction_low=float(np.quantile(prediction, 0.1)),
        prediction_high=float(np.quantile(prediction, 0.9)),
        surprise=surprise,
        inputs=inputs,
    )


def analyse(rows: pl.DataFrame, baseline: Baseline, plan: RolloutPlan, step_generation: int) -> Analysis:
    """Return what the requests routed since the canary began show.

    Args:
        rows: Observations since the first generation of the canary; shadow rows are left out here.
        baseline: What counts as bad.
        plan: Tolerated ratios.
        step_generation: The route generation of the present step.
    """
    served = rows.filter(~pl.col("shadow") & pl.col("arm").is_in([CANARY, CHAMPION]))
    canary = (served["arm"] == CANARY).to_numpy()
    weight = np.where(canary, served["weight"].to_numpy(), 1 - served["weight"].to_numpy()).round(9)
    present = served.filter((pl.col("arm") == CANARY) & (pl.col("generation") >= step_generation))
    total, errors = int(canary.sum()), int((canary & (served["error"] != "").to_numpy()).sum())
    times = served["event_time"]
    first, last = times.min(), times.max()
    elapsed = (last - first) / SECOND if isinstance(first, int) and isinstance(last, int) else 0.0
    return Analysis(
        canary_requests=total,
        baseline_requests=len(canary) - total,
        step_requests=present.height,
        step_labels=present.filter(pl.col("label").is_not_null()).height,
        error_share=errors / total if total else 0.0,
        sample_ratio_p=_split_p(canary, weight),
        event_seconds=elapsed,
        evidence=tuple(_families(served, _Arms(canary, weight), baseline, plan)),
    )


def compare_with_predecessor(rows: pl.DataFrame, plan: RolloutPlan, *, looks: int, seed: int) -> Comparison:
    """Return the paired comparison of a promoted version with its predecessor, which scored the same requests in the shadow."""
    keys = ["prediction_id", "event_time", "label"]
    served = rows.filter(~pl.col("shadow") & (pl.col("arm") == CHAMPION) & (pl.col("error") == "")).select(*keys, "prediction")
    shadow = rows.filter(pl.col("shadow") & (pl.col("arm") == PREDECESSOR) & (pl.col("error") == ""))
    paired = served.join(shadow.select("prediction_id", earlier="prediction"), on="prediction_id", how="inner")
    labelled = paired.filter(pl.col("label").is_not_null()).sort("event_time", "prediction_id")
    level = 1 - plan.probation_alpha / looks
    if not labelled.height:
        return Comparison(
            days=0, requests=0, difference=0.0, lower=-math.inf, upper=math.inf, level=level, looks=looks, coverage=0.0
        )  # fmt: skip
    label = labelled["label"].to_numpy().astype(float)
    difference = log_loss_rows(label, labelled["prediction"].to_numpy()) - log_loss_rows(label, labelled["earlier"].to_numpy())
    days = labelled["event_time"].to_numpy() // DAY
    interval = resample_units(difference, days, seed=seed, level=level)
    return Comparison(
        days=len(np.unique(days)), requests=labelled.height, difference=float(difference.mean()),
        lower=interval.lower, upper=interval.upper, level=level, looks=looks, coverage=labelled.height / paired.height,
    )  # fmt: skip


def _families(served: pl.DataFrame, arms: _Arms, baseline: Baseline, plan: RolloutPlan) -> Iterator[Evidence]:
    """Yield the evidence of each family of bad events."""
    failed = (served["error"] != "").to_numpy()
    answered = ~failed
    yield _strongest(Family.ERRORS, [("requests that fail", failed, np.ones(len(failed), dtype=bool), False)], arms, plan)
    slow = served["latency_us"].to_numpy() > baseline.latency_ms * 1000
    words = f"requests scored slower than {baseline.latency_ms:.2f} ms"
    yield _strongest(Family.LATENCY, [(words, slow & answered, answered, False)], arms, plan)
    prediction = served["prediction"].fill_null(math.nan).to_numpy()
    tails = [
        (f"predictions above {baseline.prediction_high:.3f}", prediction > baseline.prediction_high),
        (f"predictions below {baseline.prediction_low:.3f}", prediction < baseline.prediction_low),
    ]
    both = [(words, event & answered, answered, mirrored) for words, event in tails for mirrored in (False, True)]
    yield _strongest(Family.PREDICTIONS, both, arms, plan)
    yield _strongest(Family.INPUTS, list(_input_events(served, baseline)), arms, plan)
    labelled = served["label"].is_not_null().to_numpy() & answered
    events = []
    if baseline.surprise is not None and labelled.any():
        losses = np.zeros(len(labelled))
        label = served["label"].cast(pl.Float64).fill_null(0.0).to_numpy()
        losses[labelled] = log_loss_rows(label[labelled], prediction[labelled])
        words = f"labels that surprise by more than {baseline.surprise:.2f} nats"
        events = [(words, (losses > baseline.surprise) & labelled, labelled, False)]
    yield _strongest(Family.LABELS, events, arms, plan)


def _input_events(served: pl.DataFrame, baseline: Baseline) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_], bool]]:
    """Yield the tail events of each numeric feature as the arms used it; both arms see the same traffic, so the tails must agree."""
    for name, (low, high) in baseline.inputs.items():
        column = FEATURE + name
        if column not in served.columns:
            continue
        values = served[column].cast(pl.Float64).fill_null(math.nan).to_numpy()
        present = np.isfinite(values)
        for words, event in ((f"'{name}' above {high:.4g}", values > high), (f"'{name}' below {low:.4g}", values < low)):
            for mirrored in (False, True):
                yield words, event & present, present, mirrored


def _strongest(
    family: Family, events: list[tuple[str, NDArray[np.bool_], NDArray[np.bool_], bool]], arms: _Arms, plan: RolloutPlan
) -> Evidence:
    """Return the family's e-value, the mean over its events (a mean of e-values is one), told by the loudest of them.

    A mirrored event asks whether the canary shows too few; see `gateline.stats.eprocess`.
    """
    if not events:
        return Evidence(
            family=family, log_e=0.0, what=f"nothing to compare in {family}", canary_bad=0, canary_total=0, baseline_bad=0, baseline_total=0
        )  # fmt: skip
    logs = []
    for _, event, _, mirrored in events:
        canary, weight = arms.canary[event], arms.weight[event]
        if mirrored:
            canary, weight = ~canary, 1 - weight
        logs.append(log_e(update_many(start(), canary, weight, plan.ratio[family])))
    loudest = int(np.argmax(logs))
    words, event, possible, mirrored = events[loudest]
    return Evidence(
        family=family,
        log_e=float(np.logaddexp.reduce(logs)) - math.log(len(logs)),
        what=f"too few {words}" if mirrored else words,
        canary_bad=int((event & arms.canary).sum()),
        canary_total=int((possible & arms.canary).sum()),
        baseline_bad=int((event & ~arms.canary).sum()),
        baseline_total=int((possible & ~arms.canary).sum()),
    )


def _split_p(canary: NDArray[np.bool_], weight: NDArray[np.float64]) -> float:
    """Return the smallest p-value of the split over the shares that were in force, times their number."""
    p_values = [
        sample_ratio_p(int(canary[weight == share].sum()), int((weight == share).sum()), float(share)) for share in np.unique(weight)
    ]
    return min(1.0, min(p_values) * len(p_values)) if p_values else 1.0


def _numeric_features(rows: pl.DataFrame) -> list[str]:
    return [name for name, kind in rows.schema.items() if name.startswith(FEATURE) and kind.is_numeric()]


def summary(found: Analysis | Comparison) -> dict[str, Any]:
    """Return a finding for the record."""
    return found.as_dict()
