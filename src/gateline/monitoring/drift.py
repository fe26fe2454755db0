"""Measuring drift: profiles of a reference, and what one window of predictions looks like against them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from gateline.kernel.clock import DAY, SECOND
from gateline.kernel.errors import InvalidInput
from gateline.monitoring.model import FEATURE_PREFIX, PREDICTION, FeatureKind, FeaturePlan, MonitorPlan
from gateline.monitoring.rules import Calibration, Observation
from gateline.monitoring.windows import containing, first_start
from gateline.stats import (
    Distance,
    Edges,
    Profile,
    categorical_edges,
    compare,
    null_share,
    numeric_edges,
    profile_categorical,
    profile_numeric,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALL = "all"
_CATEGORICAL_DTYPES = (pl.String, pl.Categorical, pl.Enum, pl.Boolean)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureReference:
    """The frozen profiles of one feature.

    Attributes:
        profiles: By slot: `all`, and a weekday (`0` is Monday) where daily windows have enough reference days of their own.
        calibrations: How the reference's own windows vary, by slot.
    """

    name: str
    kind: FeatureKind
    profiles: Mapping[str, Profile]
    calibrations: Mapping[str, Calibration]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "kind": self.kind,
            "profiles": {slot: profile.as_dict() for slot, profile in self.profiles.items()},
            "calibrations": {slot: asdict(found) for slot, found in self.calibrations.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> FeatureReference:
        """Return the reference that `as_dict` described."""
        return cls(
            name=stored["name"],
            kind=stored["kind"],
            profiles={slot: Profile.from_dict(profile) for slot, profile in stored["profiles"].items()},
            calibrations={slot: Calibration(**found) for slot, found in stored["calibrations"].items()},
        )


def instants(frame: pl.DataFrame, column: str) -> NDArray[np.int64] | None:
    """Return a time column as UTC microseconds; None when the frame has no such column.

    Raises:
        InvalidInput: the column is neither whole microseconds nor a timestamp or date, or has nulls.
    """
    if column not in frame.columns:
        return None
    series = frame[column]
    if isinstance(series.dtype, pl.Datetime) or series.dtype == pl.Date:
        series = series.cast(pl.Datetime("us")).to_physical()
    if not series.dtype.is_integer() or series.null_count():
        raise InvalidInput(
            f"The time column '{column}' must be whole UTC microseconds or a timestamp, without nulls; it is {frame[column].dtype}"
            f" with {series.null_count()} nulls."
        )
    return series.cast(pl.Int64).to_numpy()


def slot_of(start: int, plan: MonitorPlan) -> str:
    """Return the slot whose reference a window is compared with: its weekday for daily windows, else `all`."""
    if plan.window_seconds * SECOND != DAY:
        return ALL
    middle = pl.Series([start + DAY // 2]).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(plan.timezone)
    return str(middle.dt.weekday()[0] - 1)


def reference_windows(times: NDArray[np.int64] | None, plan: MonitorPlan) -> list[tuple[int, NDArray[np.intp]]]:
    """Return (start, row numbers) of the reference's windows with enough rows, in order.

    The reference may begin or end within a window: the first and the last count only with at least nine tenths of the median rows.
    """
    if times is None or not len(times):
        return []
    length = plan.window_seconds * SECOND
    origin = first_start(int(times.min()), plan.timezone)
    order = np.argsort(times, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff((times[order] - origin) // length)) + 1)
    usual = float(np.median([len(rows) for rows in groups]))
    whole = [len(rows) >= 0.9 * usual if at in (0, len(groups) - 1) else True for at, rows in enumerate(groups)]
    return [
        (containing(origin, length, int(times[rows[0]])), rows)
        for rows, enough in zip(groups, whole, strict=True)
        if enough and len(rows) >= plan.drift.rows_min
    ]


def build_reference(
    series: pl.Series, name: str, kind: FeatureKind, times: NDArray[np.int64] | None, plan: MonitorPlan
) -> FeatureReference:
    """Return the frozen profiles of one column, calibrated on its own windows, each left out once.

    Args:
        series: The reference values, one per row.
        name: The feature, or `prediction`.
        kind: How it is counted.
        times: Event time per row in microseconds; None leaves it uncalibrated.
        plan: Gives window length, time zone and policy.
    """
    values = _values(series, kind)
    edges = numeric_edges(values) if kind == "numeric" else categorical_edges(values)
    whole = _profile(values, edges, kind)
    windows = [(slot_of(start, plan), _profile(values[rows], edges, kind)) for start, rows in reference_windows(times, plan)]
    profiles, calibrations = {ALL: whole}, {}
    for slot in {ALL, *(slot for slot, _ in windows)}:
        own = [profile for at, profile in windows if slot in (ALL, at)]
        if len(own) < plan.drift.reference_windows_min:
            continue
        calibrations[slot] = _calibrate(own)
        if slot != ALL:
            profiles[slot] = list(accumulate(own, Profile.merge))[-1]
    return FeatureReference(name=name, kind=kind, profiles=profiles, calibrations=calibrations)


def _calibrate(windows: Sequence[Profile]) -> Calibration:
    """Return how the windows score against all the others; prefix and suffix sums make it one pass."""
    before = [None, *accumulate(windows, Profile.merge)][:-1]
    after = [None, *accumulate(reversed(windows), Profile.merge)][:-1][::-1]
    scores, floors = [], []
    for profile, left, right in zip(windows, before, after, strict=True):
        if left is None or right is None:
            rest = left or right
        else:
            rest = left.merge(right)
        if rest is None:
            continue
        chosen, _ = score(rest, profile)
        if not math.isnan(chosen.value):
            scores.append(chosen.value)
            floors.append(chosen.noise_floor)
    if len(scores) < 2:
        return Calibration(windows=len(scores), mean=0.0, spread=0.0, noise_floor=0.0)
    return Calibration(
        windows=len(scores), mean=float(np.mean(scores)), spread=float(np.std(scores, ddof=1)), noise_floor=float(np.mean(floors))
    )


def score(reference: Profile, current: Profile) -> tuple[Distance, tuple[Distance, ...]]:
    """Return the distance that decides, and all distances.

    KS is blind to nulls, so for numbers the change of the null share decides where it is the larger; for categories total variation
    already counts nulls and unseen values. The value is NaN when neither side has anything to compare.
    """
    nulls = null_share(reference, current)
    found = (*compare(reference, current), nulls)
    first = found[0]
    decides = nulls if math.isnan(first.value) or nulls.value > first.value else first
    return decides, found


def observe(reference: FeatureReference, window: pl.DataFrame, slot: str) -> Observation:
    """Return what one window of predictions shows of one feature.

    A feature that has disappeared from the requests, or is no longer of its kind, counts as null.

    Args:
        reference: The feature's frozen profiles.
        window: Predictions of serving arms, as `Serving.predictions` gives them.
        slot: The window's slot; `all` is used where the slot has no profile of its own.
    """
    column = PREDICTION if reference.name == PREDICTION else FEATURE_PREFIX + reference.name
    series = window[column] if column in window.columns else pl.Series([None] * len(window), dtype=pl.Float64)
    slot = slot if slot in reference.profiles else ALL
    frozen = reference.profiles[slot]
    current = _profile(_values(series, reference.kind), frozen.edges, reference.kind)
    decides, distances = score(frozen, current)
    nothing = math.isnan(decides.value)
    return Observation(
        name=reference.name,
        kind=reference.kind,
        score=None if nothing else decides.value,
        score_name=decides.name,
        noise_floor=0.0 if nothing else decides.noise_floor,
        p_value=None if nothing else decides.p_value,
        calibration=reference.calibrations.get(slot),
        distances=tuple(_plain(distance) for distance in distances),
        rows=current.count,
        nulls=current.nulls,
        unseen="no rows to compare" if nothing else "",
    )


def feature_kind(plan: FeaturePlan, series: pl.Series) -> FeatureKind:
    """Return how a column is counted: as the plan says, else by its type.

    Raises:
        InvalidInput: the type is neither number, text nor boolean.
    """
    if plan.kind is not None:
        return plan.kind
    if isinstance(series.dtype, _CATEGORICAL_DTYPES):
        return "categorical"
    if series.dtype.is_numeric():
        return "numeric"
    raise InvalidInput(
        f"The feature '{plan.name}' has type {series.dtype}, which cannot be watched as it is.",
        next_step="Watch features that are numbers, text or booleans.",
    )


def _values(series: pl.Series, kind: FeatureKind) -> NDArray[Any]:
    """Return floats (null as NaN), or text (null as None; numbers as text that is equal for 1 and 1.0)."""
    if kind == "numeric":
        if isinstance(series.dtype, (pl.Categorical, pl.Enum)):
            series = series.cast(pl.String)
        return series.cast(pl.Float64, strict=False).fill_null(math.nan).to_numpy()
    if series.dtype.is_float():
        texts = [None if value is None else f"{value:.15g}" for value in series.fill_nan(None).to_list()]
    else:
        texts = series.cast(pl.String).to_list()
    return np.array(texts, dtype=object)


def _profile(values: NDArray[Any], edges: Edges, kind: FeatureKind) -> Profile:
    return profile_numeric(values, edges) if kind == "numeric" else profile_categorical(values.tolist(), edges)


def _plain(distance: Distance) -> dict[str, Any]:
    """Return a distance as JSON; what is not a number is None."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in asdict(distance).items()}
