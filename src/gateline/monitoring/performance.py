"""Measuring performance on late labels: per version and arm, with intervals over whole dependence units."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl

from gateline.kernel.clock import HOUR
from gateline.monitoring.drift import reference_windows
from gateline.monitoring.model import Group, Metric, MonitorPlan, State, Unit
from gateline.monitoring.rules import Judged, judge_metric, labels_missing, summarise_group
from gateline.stats import Interval, auc, auc_interval, brier_rows, log_loss_rows, resample_units

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal

    from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"

# One fixed seed, so that a window analysed again says the same; fewer draws where units are many and so intervals stable.
_SEED = 2013
_DRAWS_MAX = 4_000_000
_SENSE: dict[str, Literal["<=", ">=", "="]] = {"auc": ">=", "calibration_gap": "=", "bias": "="}


def units_of(times: NDArray[np.int64], plan: MonitorPlan) -> NDArray[np.int64]:
    """Return the dependence unit of each event time: local day, hour, or the row itself."""
    match plan.unit:
        case Unit.DAY:
            local = pl.Series(times).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(plan.timezone)
            return local.dt.date().to_physical().cast(pl.Int64).to_numpy()
        case Unit.HOUR:
            return times // HOUR
        case Unit.ROW:
            return np.arange(len(times), dtype=np.int64)


def is_binary(label: Floats) -> bool:
    """Return whether all labels are 0 or 1: then predictions are read as probabilities."""
    return bool(np.isin(label, (0.0, 1.0)).all())


def measure_reference(
    frame: pl.DataFrame, times: NDArray[np.int64] | None, prediction: str, label: str, plan: MonitorPlan
) -> dict[str, Any]:
    """Return what the model reached on rows it was not trained on; empty without labels.

    Args:
        frame: The scores file.
        times: Event time per row in microseconds, or None.
        prediction: Column of predictions.
        label: Column of labels; rows without one are left out.
        plan: Gives the windows over which the spread is taken.
    """
    if label not in frame.columns:
        return {}
    y = frame[label].cast(pl.Float64, strict=False).fill_null(math.nan).to_numpy()
    p = frame[prediction].cast(pl.Float64, strict=False).fill_null(math.nan).to_numpy()
    keep = np.isfinite(y) & np.isfinite(p)
    if not keep.any():
        return {}
    binary, base_rate = is_binary(y[keep]), float(y[keep].mean())
    windows = [rows[keep[rows]] for _, rows in reference_windows(times, plan)]
    by_window = [_scores(y[rows], p[rows], binary, base_rate) for rows in windows if len(rows)]
    spread = {}
    if len(by_window) > 1:
        spread = {name: _finite(float(np.std([scores[name] for scores in by_window], ddof=1))) for name in by_window[0]}
    return {
        "rows": int(keep.sum()),
        "binary": binary,
        "base_rate": base_rate,
        "metrics": {name: _finite(value) for name, value in _scores(y[keep], p[keep], binary, base_rate).items()},
        "windows": len(by_window),
        "spread": spread,
    }


def _scores(y: Floats, p: Floats, binary: bool, base_rate: float) -> dict[str, float]:
    """Return every metric as one number."""
    found = {name: float(by(y, p).mean()) for name, by in _row_measures(binary, base_rate).items()}
    return {**found, "auc": auc(y, p)} if binary else found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _row_measures(binary: bool, base_rate: float | None) -> dict[str, Callable[[Floats, Floats], Floats]]:
    """Return the metrics that are means over rows, as functions of labels and predictions."""
    if not binary:
        return {"mean_absolute_error": lambda y, p: np.abs(p - y), "bias": lambda y, p: p - y}
    found = {"log_loss": log_loss_rows, "brier": brier_rows, "calibration_gap": lambda y, p: p - y}
    if base_rate is not None:
        found["log_loss_over_baseline"] = lambda y, p: log_loss_rows(y, p) - log_loss_rows(y, np.full(len(y), base_rate))
    return found


def measure_groups(joined: pl.DataFrame, plan: MonitorPlan, reference: Mapping[str, Any]) -> tuple[Group, ...]:
    """Return the performance of every version and arm of one window; the main group (most requests served) comes first.

    Args:
        joined: One row per prediction as `join_labels` gives it; labels that came too late are null.
        plan: The policy.
        reference: What `measure_reference` gave; empty without one.
    """
    order = ["served", "rows", "version", "arm"]
    sizes = (
        joined.group_by("version", "arm", "shadow")
        .agg(pl.len().alias("rows"))
        .with_columns((~pl.col("shadow")).alias("served"))
        .sort(order, descending=[True, True, False, False])
    )
    groups: list[Group] = []
    for version, arm, shadow in sizes.select("version", "arm", "shadow").iter_rows():
        rows = joined.filter((pl.col("version") == version) & (pl.col("arm") == arm) & (pl.col("shadow") == shadow))
        main = not groups and not shadow
        groups.append(_measure_group(rows, plan, reference, version=version, arm=arm, shadow=shadow, main=main))
    return tuple(groups)


def _measure_group(
    rows: pl.DataFrame, plan: MonitorPlan, reference: Mapping[str, Any], *, version: str, arm: str, shadow: bool, main: bool
) -> Group:
    labelled = rows.filter(pl.col("label").is_not_null())
    predictions, labels = rows["prediction_id"].n_unique(), labelled["prediction_id"].n_unique()
    usable = labelled.filter(pl.col("prediction").is_finite())
    y, p = usable["label"].cast(pl.Float64).to_numpy(), usable["prediction"].cast(pl.Float64).to_numpy()
    if is_binary(y):
        inside = (p >= 0) & (p <= 1)
        usable, y, p = usable.filter(pl.Series(inside, dtype=pl.Boolean)), y[inside], p[inside]
    units = units_of(usable["event_time"].to_numpy(), plan)
    counts = {"predictions": predictions, "labels": usable["prediction_id"].n_unique(), "units": len(np.unique(units))}
    measured = _measure(y, p, units, plan, reference) if len(y) else ()
    state, reason = summarise_group([(metric.name, judged) for metric, judged in measured], plan.performance, **counts)
    where = f"{version} ({arm}{', shadow' if shadow else ''})"
    return Group(
        version=version, arm=arm, shadow=shadow, main=main, predictions=predictions, labels=labels,
        coverage=labels / predictions if predictions else 0.0, units=counts["units"], excluded=len(labelled) - len(usable),
        lag_seconds=_lags(labelled), metrics=tuple(metric for metric, _ in measured),
        missing=labels_missing(plan.performance, predictions=predictions, labels=counts["labels"]), state=state,
        reason=f"{where}: {reason}",
    )  # fmt: skip


def _lags(labelled: pl.DataFrame) -> dict[str, float]:
    """Return quantiles of label time minus prediction time, in seconds; empty without labels."""
    if not len(labelled):
        return {}
    lag = (labelled["label_event_time"] - labelled["event_time"]).to_numpy() / 1e6
    at = np.quantile(lag, (0.05, 0.5, 0.95, 1.0))
    return dict(zip(("p05", "p50", "p95", "max"), (float(value) for value in at), strict=True))


def _measure(
    y: Floats, p: Floats, units: NDArray[np.int64], plan: MonitorPlan, reference: Mapping[str, Any]
) -> tuple[tuple[Metric, Judged], ...]:
    known, level = reference.get("metrics", {}), plan.performance.level
    draws = int(np.clip(_DRAWS_MAX // max(1, len(np.unique(units))), 300, 2_000))
    found: dict[str, tuple[float, Interval]] = {}
    for name, by in _row_measures(is_binary(y), reference.get("base_rate")).items():
        values = by(y, p)
        found[name] = float(values.mean()), resample_units(values, units, seed=_SEED, level=level, resamples=draws)
    if is_binary(y):
        found["auc"] = auc(y, p), auc_interval(y, p, units, seed=_SEED, level=level)
    return tuple(_judge(name, value, interval, plan, known.get(name)) for name, (value, interval) in found.items())


def _judge(name: str, value: float, interval: Interval, plan: MonitorPlan, reference: float | None) -> tuple[Metric, Judged]:
    judged = judge_metric(name, value, interval.lower, interval.upper, plan.performance, reference=reference)
    lower, upper = _finite(interval.lower), _finite(interval.upper)
    metric = Metric(
        name=name, value=_finite(value), lower=lower, upper=upper, sense=_SENSE.get(name, "<="),
        threshold=judged.threshold, reference=reference, state=judged.state, reason=judged.reason,
    )  # fmt: skip
    return metric, judged


def summarise_groups(groups: tuple[Group, ...]) -> tuple[State, str]:
    """Return the verdict on a window: that of the main group, which answered most requests."""
    if not groups:
        return State.NOT_ENOUGH_DATA, "No predictions in this window."
    main = next((group for group in groups if group.main), None)
    if main is None:
        return State.NOT_ENOUGH_DATA, "No request was answered by a serving arm in this window."
    return main.state, main.reason
