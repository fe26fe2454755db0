"""The decisions of monitoring: what drifts, what broke, and what becomes of an alert.

Pure functions of measured numbers and a policy; nothing here reads a clock, a file or a generator. The policy on distributions is
told in docs/explanation/alarms.md: a distance must be large, beyond what the reference's own windows show, and surprising among all
features of the window; once is a warning, twice in three windows an alert.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import NormalDist
from typing import Any

from gateline.monitoring.model import Alert, DriftPolicy, FeatureDrift, FeatureKind, PerformancePolicy, State
from gateline.stats import benjamini_hochberg

# Standard deviation over mean of the Kolmogorov distribution: sqrt(pi^2/12 - pi/2 ln^2 2) / (sqrt(pi/2) ln 2).
_NOISE_SPREAD = 0.2996


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How one feature's score varies between the windows of its own reference, each left out once.

    Attributes:
        windows: Reference windows compared with the rest of the reference.
        mean: Mean of their scores.
        spread: Standard deviation of their scores.
        noise_floor: Mean noise floor of their scores: it tells how many rows they had.
    """

    windows: int
    mean: float
    spread: float
    noise_floor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was measured of one feature in one window.

    Attributes:
        score: KS D, total variation, or change of the null share; None when nothing could be measured.
        noise_floor: The score to expect without any change, at these sample sizes.
        p_value: Of the score's test; None where there is none.
        unseen: Why nothing could be measured; empty otherwise.
    """

    name: str
    kind: FeatureKind
    score: float | None
    score_name: str
    noise_floor: float
    p_value: float | None
    calibration: Calibration | None
    distances: tuple[dict[str, Any], ...]
    rows: int
    nulls: int
    unseen: str = ""


def drift_threshold(policy: DriftPolicy, observation: Observation, features: int) -> tuple[float, str]:
    """Return the score at which a feature counts as changed, and which part of the policy set it.

    With calibration: mean + z * spread * inflation of the reference's windows, z the normal quantile at `1 - alpha / features`, both
    enlarged by the extra sampling noise when this window has fewer rows than those had. Without: the same formula on the noise of
    sampling alone. Never below
    `magnitude_min` or above `magnitude_max`.

    Examples:
        >>> seen = Observation(
        ...     name="a",
        ...     kind="numeric",
        ...     score=0.1,
        ...     score_name="ks",
        ...     noise_floor=0.02,
        ...     p_value=0.0,
        ...     calibration=Calibration(windows=8, mean=0.04, spread=0.01, noise_floor=0.02),
        ...     distances=(),
        ...     rows=900,
        ...     nulls=0,
        ... )
        >>> threshold, source = drift_threshold(DriftPolicy(), seen, features=10)
        >>> round(threshold, 4), source
        (0.0755, 'calibrated')
    """
    z = NormalDist().inv_cdf(1 - policy.alpha / max(1, features))
    noise, known = observation.noise_floor, observation.calibration
    if known is not None and known.windows >= policy.reference_windows_min:
        extra = max(0.0, noise**2 - known.noise_floor**2)
        spread = math.sqrt(known.spread**2 + _NOISE_SPREAD**2 * extra)
        found = known.mean + max(0.0, noise - known.noise_floor) + z * spread * policy.inflation
        source = "calibrated"
    else:
        found = noise * (1 + z * _NOISE_SPREAD * policy.inflation)
        source = "noise floor"
    if found <= policy.magnitude_min:
        return policy.magnitude_min, "smallest magnitude"
    return (found, source) if found < policy.magnitude_max else (policy.magnitude_max, "largest magnitude")


def judge_drift(
    observations: Sequence[Observation],
    policy: DriftPolicy,
    *,
    history: Mapping[str, Sequence[bool]],
    seasonal: frozenset[str] = frozenset(),
) -> tuple[FeatureDrift, ...]:
    """Return policy G's verdict on every feature of one window, in the given order.

    Args:
        observations: One per feature, and one for the prediction.
        policy: The thresholds.
        history: For each feature whether it fired in the windows before this one, oldest first, against the same reference.
        seasonal: Features whose drift is expected and shown as `info`.
    """
    judged = [seen.name for seen in observations if _missing(seen, policy) == ""]
    p_values = {seen.name: seen.p_value for seen in observations if seen.name in judged and seen.p_value is not None}
    kept = benjamini_hochberg(list(p_values.values()), policy.discovery_rate) if p_values else ()
    discovered = {name for name, keep in zip(p_values, kept, strict=True) if keep}
    return tuple(
        _judge_feature(seen, policy, len(judged), discovered, history.get(seen.name, ()), seasonal=seen.name in seasonal)
        for seen in observations
    )


def _missing(seen: Observation, policy: DriftPolicy) -> str:
    """Return why a feature cannot be judged; empty when it can."""
    if seen.unseen or seen.score is None:
        return seen.unseen or "nothing was measured"
    if seen.rows < policy.rows_min:
        return f"{seen.rows} predictions of the {policy.rows_min} needed ({policy.rows_min - seen.rows} missing)"
    return ""


def _judge_feature(
    seen: Observation, policy: DriftPolicy, features: int, discovered: set[str], history: Sequence[bool], *, seasonal: bool
) -> FeatureDrift:
    if (missing := _missing(seen, policy)) or seen.score is None:
        return _drift(seen, State.NOT_ENOUGH_DATA, reason=f"{seen.name}: {missing}.")
    threshold, source = drift_threshold(policy, seen, features)
    fired = seen.score >= threshold and seen.name in discovered
    before = sum(history[-(policy.fires_within - 1) :]) if policy.fires_within > 1 else 0
    if not fired:
        state = State.OK
    elif seasonal:
        state = State.INFO
    else:
        state = State.ALERT if before + 1 >= policy.fires_min else State.WARN
    basis = source
    if source == "calibrated" and seen.calibration is not None:
        basis = f"calibrated on {seen.calibration.windows} reference windows"
    relation = ">=" if seen.score >= threshold else "<"
    chance = "" if seen.p_value is None else f", p {seen.p_value:.2g}"
    reason = f"{seen.name}: {seen.score_name} {seen.score:.3f} {relation} {threshold:.3f} ({basis}){chance}"
    if fired:
        reason += f"; fired in {before + 1} of the last {policy.fires_within} windows"
    elif relation == ">=":
        reason += "; not surprising among all features of this window"
    if state is State.INFO:
        reason += "; declared seasonal"
    verdict = _drift(seen, state, reason=reason + ".")
    return replace(verdict, fired=fired, threshold=threshold, threshold_source=source, discovered=seen.name in discovered)


def _drift(seen: Observation, state: State, *, reason: str) -> FeatureDrift:
    return FeatureDrift(
        name=seen.name, kind=seen.kind, state=state, fired=False, score=seen.score, score_name=seen.score_name, threshold=None,
        threshold_source="", p_value=seen.p_value, discovered=False, distances=seen.distances, rows=seen.rows, nulls=seen.nulls,
        reason=reason,
    )  # fmt: skip


def summarise_drift(drifts: Sequence[FeatureDrift]) -> tuple[State, str]:
    """Return the verdict on a whole window: its worst feature decides; expected (`info`) drift is mentioned and is `ok`.

    Without a single feature that could be judged it is `not_enough_data`.
    """
    judged = [drift for drift in drifts if drift.state is not State.NOT_ENOUGH_DATA]
    if not judged:
        return State.NOT_ENOUGH_DATA, drifts[0].reason if drifts else "No reference is set: nothing to compare with."
    for state in (State.ALERT, State.WARN):
        guilty = sorted((drift for drift in judged if drift.state is state), key=severity, reverse=True)
        if guilty:
            more = f" And {len(guilty) - 1} more: {', '.join(drift.name for drift in guilty[1:6])}." if len(guilty) > 1 else ""
            return state, guilty[0].reason + more
    expected = [drift.name for drift in judged if drift.state is State.INFO]
    nearest = max(judged, key=severity)
    closing = f" Seasonal, as declared: {', '.join(expected)}." if expected else ""
    return State.OK, f"None of {len(judged)} distributions fires; nearest is {nearest.reason}{closing}"


def severity(drift: FeatureDrift) -> float:
    """Return score over threshold: 1 is just at the threshold, 0 when it was not judged."""
    return drift.score / drift.threshold if drift.score is not None and drift.threshold else 0.0


class Baseline(StrEnum):
    """What a metric is held against."""

    NONE = "none"
    ZERO = "zero"
    FLOOR = "floor"
    CEILING = "ceiling"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdict on one metric."""

    state: State
    threshold: float | None
    reason: str


def judge_metric(
    name: str, value: float, lower: float, upper: float, policy: PerformancePolicy, *, reference: float | None = None
) -> Judged:
    """Return the verdict on one metric of late labels.

    An alert needs the better end of the interval on the wrong side of the threshold; the value alone beyond it is a warning.

    Args:
        name: The metric. `calibration_gap`, `log_loss_over_baseline`, `auc` and `mean_absolute_error` are judged, others are shown.
        value: The measured value; NaN when undefined.
        lower: Lower end of the interval.
        upper: Upper end of the interval.
        policy: The thresholds.
        reference: The metric on the reference, where known.

    Examples:
        >>> judge_metric("calibration_gap", -0.2, -0.3, -0.1, PerformancePolicy()).state
        <State.ALERT: 'alert'>
        >>> judge_metric("calibration_gap", -0.06, -0.1, -0.02, PerformancePolicy()).state
        <State.WARN: 'warn'>
    """
    if math.isnan(value):
        return Judged(state=State.NOT_ENOUGH_DATA, threshold=None, reason=f"{name} is undefined on these labels.")
    against, threshold = _held_against(name, policy, reference)
    interval = f"[{lower:.3f}, {upper:.3f}]"
    if threshold is None or against is Baseline.NONE:
        return Judged(state=State.OK, threshold=None, reason=f"{name} {value:.3f} {interval}, shown only.")
    if against is Baseline.ZERO:
        bad, best, limit, wanted = abs(value), max(lower, -upper), threshold, f"within ±{threshold:g}"
    elif against is Baseline.CEILING:
        bad, best, limit, wanted = value, lower, threshold, f"at most {threshold:g}"
    else:
        bad, best, limit, wanted = -value, -upper, -threshold, f"at least {threshold:g}"
    if best > limit:
        state, ending = State.ALERT, "the whole interval is beyond it"
    elif bad > limit:
        state, ending = State.WARN, "but the interval reaches back"
    else:
        state, ending = State.OK, "held"
    return Judged(state=state, threshold=threshold, reason=f"{name} {value:.3f} {interval}, wanted {wanted}: {ending}.")


def _held_against(name: str, policy: PerformancePolicy, reference: float | None) -> tuple[Baseline, float | None]:
    match name:
        case "calibration_gap":
            return Baseline.ZERO, policy.calibration_tolerance
        case "log_loss_over_baseline":
            return Baseline.CEILING, policy.loss_margin
        case "auc":
            return Baseline.FLOOR, policy.auc_min
        case "mean_absolute_error":
            return Baseline.CEILING, None if reference is None else reference * policy.error_ratio_max
        case _:
            return Baseline.NONE, None


def labels_missing(policy: PerformancePolicy, *, predictions: int, labels: int) -> int:
    """Return how many labels a group still needs: for the minimum and for the wanted coverage, whichever is more.

    >>> labels_missing(PerformancePolicy(), predictions=1_000, labels=150)
    350
    """
    wanted = max(policy.labels_min, math.ceil(policy.coverage_min * predictions))
    return max(0, wanted - labels)


def summarise_group(
    metrics: Sequence[tuple[str, Judged]], policy: PerformancePolicy, *, predictions: int, labels: int, units: int
) -> tuple[State, str]:
    """Return the verdict on a group of labelled predictions and its sentence; the worst metric decides."""
    missing = labels_missing(policy, predictions=predictions, labels=labels)
    share = labels / predictions if predictions else 0.0
    if missing:
        return State.NOT_ENOUGH_DATA, f"{labels} labels for {predictions} predictions ({share:.0%}): {missing} more are needed."
    if units < policy.units_min:
        return State.NOT_ENOUGH_DATA, f"{labels} labels fall on {units} dependence units: {policy.units_min - units} more are needed."
    for state in (State.ALERT, State.WARN):
        guilty = [judged for _, judged in metrics if judged.state is state]
        if guilty:
            return state, " ".join(judged.reason for judged in guilty)
    held = " ".join(judged.reason for _, judged in metrics if judged.threshold is not None and judged.state is State.OK)
    return State.OK, held or f"{labels} labels ({share:.0%} of predictions); no metric has a threshold."


class AlertStep(StrEnum):
    """What becomes of an endpoint's alert of one kind when a window closes."""

    NONE = "none"
    OPEN = "open"
    ABSORB = "absorb"
    RESOLVE = "resolve"
    REPLACE = "replace"


def next_alert_step(alert: Alert | None, *, state: State, version: str, ok_streak: int, resolve_after_ok: int) -> AlertStep:
    """Return what the closing of a window does to the alert that is not resolved yet.

    One alert stands for all alarming windows of one version: it absorbs repeats. It resolves after enough quiet windows, or when
    another version has come to answer most requests; if that one alarms too, it gets an alert of its own.

    Args:
        alert: The open or acknowledged alert of this endpoint and kind; None without one.
        state: The window's verdict.
        version: The version that answered most requests of the window; empty without traffic.
        ok_streak: Windows in a row, this one included, that were `ok` for this version.
        resolve_after_ok: The plan's number of quiet windows.
    """
    if alert is None:
        return AlertStep.OPEN if state is State.ALERT else AlertStep.NONE
    if version and alert.version != version:
        return AlertStep.REPLACE if state is State.ALERT else AlertStep.RESOLVE
    if state is State.ALERT:
        return AlertStep.ABSORB
    return AlertStep.RESOLVE if ok_streak >= resolve_after_ok else AlertStep.NONE
