"""Reading and checking monitor plans: every mistake is named at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import NAME_LENGTH_MAX, TABLE_COLUMNS_MAX
from gateline.monitoring.model import PREDICTION, DriftPolicy, FeaturePlan, MonitorPlan, PerformancePolicy, Unit

WINDOW_SECONDS_MAX = 366 * 86_400


def plan_from_dict(stored: Mapping[str, Any]) -> MonitorPlan:
    """Return the plan that `MonitorPlan.as_dict` described; fields that are left out take their defaults.

    Raises:
        InvalidInput: names every field that is unknown or out of range.
    """
    known = known_fields("plan", MonitorPlan, stored)
    mistakes: list[str] = []
    parts: dict[str, Any] = {}
    for name, value in known.items():
        try:
            if name == "drift":
                parts[name] = DriftPolicy(**known_fields(name, DriftPolicy, value))
            elif name == "performance":
                parts[name] = PerformancePolicy(**known_fields(name, PerformancePolicy, value))
            elif name == "features":
                parts[name] = tuple(FeaturePlan(**known_fields(name, FeaturePlan, feature)) for feature in value)
            elif name == "unit":
                parts[name] = Unit(value)
            else:
                parts[name] = value
        except InvalidInput as error:
            mistakes.append(error.message)
        except (TypeError, ValueError):
            mistakes.append(f"{name} has a value that cannot be read: {str(value)[:80]}.")
    if mistakes:
        raise InvalidInput(f"The monitor plan is wrong. {' '.join(mistakes)}", next_step="Correct these fields.")
    return check_plan(MonitorPlan(**parts))


def known_fields(where: str, kind: type, stored: object) -> dict[str, Any]:
    """Return the stored fields of a dataclass.

    Raises:
        InvalidInput: it is no object, or has fields that the class does not have.
    """
    if not isinstance(stored, Mapping):
        raise InvalidInput(f"{where} must be an object.")
    allowed = {one.name for one in fields(kind)}
    if unknown := sorted(str(name)[:40] for name in set(stored) - allowed):
        raise InvalidInput(f"{where} has unknown fields: {', '.join(unknown)}.")
    return dict(stored)


def check_plan(plan: MonitorPlan) -> MonitorPlan:
    """Return the plan when every field is in range.

    Raises:
        InvalidInput: names every field that is not.
    """
    if mistakes := list(_mistakes(plan)):
        raise InvalidInput(f"The monitor plan is wrong: {'; '.join(mistakes)}.", next_step="Correct these fields.")
    return plan


def _mistakes(plan: MonitorPlan) -> Iterator[str]:
    yield from range_mistakes("window_seconds", plan.window_seconds, 60, WINDOW_SECONDS_MAX, whole=True)
    yield from range_mistakes("lateness_seconds", plan.lateness_seconds, 0, WINDOW_SECONDS_MAX, whole=True)
    yield from range_mistakes("label_allowance_seconds", plan.label_allowance_seconds, 0, WINDOW_SECONDS_MAX, whole=True)
    yield from range_mistakes("resolve_after_ok", plan.resolve_after_ok, 1, 1_000, whole=True)
    comparable = _is_number(plan.lateness_seconds) and _is_number(plan.label_allowance_seconds)
    if comparable and plan.lateness_seconds > plan.label_allowance_seconds:
        yield "label_allowance_seconds must be at least lateness_seconds"
    if not is_zone(plan.timezone):
        yield f"timezone '{str(plan.timezone)[:60]}' is not a zone of the IANA database"
    yield from _feature_mistakes(plan.features)
    drift, quality = plan.drift, plan.performance
    for name in ("magnitude_min", "magnitude_max", "alpha", "discovery_rate"):
        yield from range_mistakes(f"drift.{name}", getattr(drift, name), 1e-9, 1 - 1e-9)
    if _is_number(drift.magnitude_min) and _is_number(drift.magnitude_max) and drift.magnitude_min > drift.magnitude_max:
        yield "drift.magnitude_max must be at least drift.magnitude_min"
    yield from range_mistakes("drift.inflation", drift.inflation, 1, 100)
    yield from range_mistakes("drift.fires_within", drift.fires_within, 1, 100, whole=True)
    yield from range_mistakes(
        "drift.fires_min", drift.fires_min, 1, drift.fires_within if _is_number(drift.fires_within) else 100, whole=True
    )
    yield from range_mistakes("drift.rows_min", drift.rows_min, 1, 10**9, whole=True)
    yield from range_mistakes("drift.reference_windows_min", drift.reference_windows_min, 2, 10_000, whole=True)
    yield from range_mistakes("performance.labels_min", quality.labels_min, 1, 10**9, whole=True)
    yield from range_mistakes("performance.units_min", quality.units_min, 2, 10**9, whole=True)
    yield from range_mistakes("performance.coverage_min", quality.coverage_min, 0, 1)
    yield from range_mistakes("performance.calibration_tolerance", quality.calibration_tolerance, 0, 1)
    yield from range_mistakes("performance.loss_margin", quality.loss_margin, 0, 100)
    if quality.auc_min is not None:
        yield from range_mistakes("performance.auc_min", quality.auc_min, 0, 1)
    yield from range_mistakes("performance.error_ratio_max", quality.error_ratio_max, 0, 1_000)
    yield from range_mistakes("performance.level", quality.level, 0.5, 0.9999)


def _feature_mistakes(features: tuple[FeaturePlan, ...]) -> Iterator[str]:
    if len(features) > TABLE_COLUMNS_MAX:
        yield f"{len(features)} features are more than {TABLE_COLUMNS_MAX}"
    seen: set[str] = set()
    for feature in features:
        # What comes from outside may be of any type, whatever the dataclass declares.
        name, kind, seasonal = cast("tuple[object, object, object]", (feature.name, feature.kind, feature.seasonal))
        if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH_MAX:
            yield f"the feature name '{str(name)[:60]}' must be text of 1 to {NAME_LENGTH_MAX} characters"
            continue
        if name in seen:
            yield f"the feature '{name}' is named twice"
        if name == PREDICTION:
            yield f"'{PREDICTION}' is always watched and cannot name a feature"
        if kind not in {None, "numeric", "categorical"}:
            yield f"the kind of '{name}' must be numeric or categorical"
        if not isinstance(seasonal, bool):
            yield f"seasonal of '{name}' must be true or false"
        seen.add(name)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def range_mistakes(name: str, value: float, low: float, high: float, *, whole: bool = False) -> Iterator[str]:
    """Yield a sentence when the value is no number of the range, both ends included."""
    if not _is_number(value) or not low <= value <= high or (whole and not isinstance(value, int)):
        yield f"{name} must be a {'whole ' if whole else ''}number from {low:g} to {high:g}"


def is_zone(name: object) -> bool:
    """Return whether the name is a time zone of the IANA database."""
    try:
        return isinstance(name, str) and bool(name) and bool(ZoneInfo(name).key)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
