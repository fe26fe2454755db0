"""The decisions of feature parity: when two values are the same, what a shift in time explains, and what a run says. Pure.

Polars frames come in and numbers go out; nothing here reads a clock or a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import polars as pl

from gateline.kernel.clock import SECOND, Instant
from gateline.monitoring.model import State
from gateline.monitoring.parity_model import FeatureParity, Lag, Outcome, ParityPlan, RequestCounts, severity
from gateline.monitoring.parity_words import apart_sentence, feature_sentence
from gateline.monitoring.windows import first_start

if TYPE_CHECKING:
    from collections.abc import Callable

TOLERANCE = 1e-9
"""Relative tolerance of fractions; whole numbers, truth values and texts must be equal."""
EXAMPLES = 3
_EXACT_MAX = 2.0**53
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_sampled(entity: str, share: float) -> bool:
    """Return whether the requests of an entity belong to the sample; the same on every machine, and a larger share only adds entities.

    >>> is_sampled("order-1", 1.0)
    True
    """
    number = int.from_bytes(hashlib.blake2b(entity.encode(), digest_size=8, person=b"gateline-parity").digest(), "big")
    return number < share * 2.0**64


def sampled(entities: pl.Series, share: float) -> pl.Series:
    """Return for each row whether its entity is sampled; each entity is hashed once."""
    if share >= 1:
        return pl.Series([True], dtype=pl.Boolean).new_from_index(0, len(entities))
    known = entities.unique()
    chosen = known.filter(pl.Series([is_sampled(entity, share) for entity in known.to_list()], dtype=pl.Boolean))
    return entities.is_in(chosen.implode())


def day_end(start: Instant, timezone: str) -> Instant:
    """Return the midnight that ends the day which begins at `start`; days of a clock change have 23 or 25 hours.

    >>> (day_end(first_start(1_363_000_000_000_000, "UTC"), "UTC") - first_start(1_363_000_000_000_000, "UTC")) // SECOND
    86400
    """
    zone = ZoneInfo(timezone)
    day = (_EPOCH + timedelta(microseconds=start)).astimezone(zone).date() + timedelta(days=1)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=zone).astimezone(UTC)
    return first_start((noon - _EPOCH) // timedelta(microseconds=1), timezone)


def is_closed(end: Instant, plan: ParityPlan, watermark: Instant | None) -> bool:
    """Return whether the watermark has passed the end of a day by the plan's lateness."""
    return watermark is not None and watermark >= end + plan.lateness_seconds * SECOND


def is_overdue(end: Instant, plan: ParityPlan, watermark: Instant | None) -> bool:
    """Return whether a day should have its run by now, whatever it waited for."""
    return is_closed(end, plan, None if watermark is None else watermark - plan.wait_seconds * SECOND)


def outcomes(served: pl.Series, offline: pl.Series) -> pl.Series:
    """Return the `Outcome` of each row.

    The log keeps numbers as 64-bit floats and everything else as text, so the offline value is brought to that form: a whole number or
    truth value that was served as a number must be equal as a float; one that was served as text must read as the same number. NaN on
    either side counts as no value. Fractions may differ by `TOLERANCE` of the larger one.

    Args:
        served: Float64 or String, as the prediction log has it.
        offline: Int64, Float64, Boolean or String, as the feature set computes it.

    Examples:
        >>> outcomes(pl.Series([1.0, 2.0, None, 4.0]), pl.Series([1, 3, 3, None])).to_list()
        [0, 1, 2, 3]
    """
    frame = pl.DataFrame({"served": _present(served), "offline": _present(offline)})
    s, o = pl.col("served"), pl.col("offline")
    same = _same(frame.schema["served"], frame.schema["offline"]).fill_null(value=False)
    outcome = (
        pl.when(s.is_null() & o.is_null()).then(Outcome.AGREE.value)
        .when(s.is_null()).then(Outcome.MISSING.value)
        .when(o.is_null()).then(Outcome.EXTRA.value)
        .when(same).then(Outcome.AGREE.value)
        .otherwise(Outcome.MISMATCH.value)
    )  # fmt: skip
    return frame.select(outcome.cast(pl.Int8).alias(served.name)).to_series()


def smape(served: pl.Series, offline: pl.Series) -> float | None:
    """Return the symmetric mean absolute percentage error (0 to 2) over rows with a number on both sides; None for texts.

    The mean of 2|s - o| / (|s| + |o|), 0 where both are 0 (Makridakis, International Journal of Forecasting 9, 1993).

    >>> smape(pl.Series([1.0, 0.0, None]), pl.Series([3, 0, 1]))
    0.5
    """
    if pl.String in {served.dtype, offline.dtype}:
        return None
    pairs = pl.DataFrame({"s": _present(served) / 2, "o": _present(offline).cast(pl.Float64) / 2}).drop_nulls()
    if not pairs.height:
        return None
    s, o = pl.col("s"), pl.col("o")
    whole = s.abs() + o.abs()  # of the halves, which cannot overflow
    infinite = s.is_infinite() | o.is_infinite()
    error = pl.when(s == o).then(0.0).when(infinite).then(2.0).otherwise((s - o).abs() / whole * 2)
    return float(pairs.select(error.mean()).item())


def estimate_lag(served: pl.Series, earlier: Mapping[int, pl.Series]) -> Lag:
    """Return which shift explains most of the mismatching rows: the offline value at that shift equals the served one.

    Args:
        served: The served values of mismatching rows.
        earlier: Shift in seconds to the offline values of the same rows, that much earlier.
    """
    equal = {
        seconds: int(((outcomes(served, values) == Outcome.AGREE.value) & values.is_not_null()).sum())
        for seconds, values in earlier.items()
    }
    best = min(equal, key=lambda seconds: (-equal[seconds], seconds), default=None)
    if best is None or not equal[best]:
        return Lag(seconds=None, share=0.0, rows=len(served))
    return Lag(seconds=best, share=equal[best] / len(served), rows=len(served))


def compare_feature(
    name: str, rows: pl.DataFrame, plan: ParityPlan, *, lag_of: Callable[[pl.Series], Lag | None] | None = None
) -> FeatureParity:
    """Return how one feature compares over the rows of a run, with its verdict.

    Args:
        name: The feature.
        rows: `prediction_id`, `served` and `offline` of every compared request, in order of time.
        plan: The limits.
        lag_of: Tells what explains the mismatches, given which rows mismatch.
    """
    outcome = outcomes(rows["served"], rows["offline"])
    counts = {kind: int((outcome == kind.value).sum()) for kind in Outcome}
    limits = {Outcome.MISMATCH: plan.mismatch_max, Outcome.MISSING: plan.missing_max, Outcome.EXTRA: plan.extra_max}
    total = rows.height
    shares = {kind: counts[kind] / total if total else 0.0 for kind in limits}
    worst = max(limits, key=lambda kind: (_over(shares[kind], limits[kind]), shares[kind]))
    lag = lag_of(outcome == Outcome.MISMATCH.value) if lag_of is not None and counts[Outcome.MISMATCH] else None
    state = _state(shares, limits, plan, total)
    error = smape(rows["served"], rows["offline"])
    return FeatureParity(
        name=name, compared=total, mismatch=counts[Outcome.MISMATCH], missing=counts[Outcome.MISSING], extra=counts[Outcome.EXTRA],
        smape=error, lag=lag, share=shares[worst], limit=limits[worst], kind=worst.name.lower(), state=state,
        examples=tuple(rows["prediction_id"].filter(outcome != Outcome.AGREE.value).head(EXAMPLES).to_list()),
        reason=feature_sentence(name, worst, counts[worst], total, limits[worst], plan, error, lag),
    )  # fmt: skip


def judge_run(counts: RequestCounts, features: Sequence[FeatureParity], plan: ParityPlan) -> tuple[State, str]:
    """Return the verdict on a run and its sentence: the worst feature decides; too few or too many unknown requests leave it open."""
    if counts.requests == 0:
        return State.NOT_ENOUGH_DATA, "No predictions in this interval."
    apart = apart_sentence(counts)
    if counts.sampled and counts.coverage < plan.coverage_min:
        return State.NOT_ENOUGH_DATA, (
            f"{counts.compared:,} of {counts.sampled:,} sampled requests ({counts.coverage:.1%}) were found offline; "
            f"at least {plan.coverage_min:.1%} are needed.{apart}"
        )
    if counts.compared < plan.rows_min:
        return State.NOT_ENOUGH_DATA, (
            f"{counts.compared:,} requests were recomputed of the {plan.rows_min:,} needed "
            f"({plan.rows_min - counts.compared:,} missing; {counts.requests:,} were answered, {plan.sample_share:.1%} of entities are "
            f"sampled).{apart}"
        )
    if not features:
        return State.NOT_ENOUGH_DATA, f"No feature is both served and computed offline.{apart}"
    for state in (State.ALERT, State.WARN):
        guilty = sorted((one for one in features if one.state is state), key=severity, reverse=True)
        if guilty:
            more = f" And {len(guilty) - 1} more: {', '.join(one.name for one in guilty[1:6])}." if len(guilty) > 1 else ""
            return state, f"{guilty[0].reason}{more}{apart}"
    nearest = max(features, key=severity)
    return State.OK, f"{len(features)} features agree over {counts.compared:,} requests; nearest to its limit is {nearest.reason}{apart}"


def _present(values: pl.Series) -> pl.Series:
    """Return the values with NaN as missing; truth values as 0 and 1."""
    if values.dtype == pl.Boolean:
        return values.cast(pl.Int64)
    return values.fill_nan(None) if values.dtype.is_float() else values


def _same(served: pl.DataType, offline: pl.DataType) -> pl.Expr:
    """Return whether two present values are the same, by the types of both sides."""
    s, o = pl.col("served"), pl.col("offline")
    if served == pl.String and offline == pl.String:
        return s == o
    as_number = _number(s) if served == pl.String else s
    if offline == pl.String:
        return as_number == _number(o)
    if offline.is_float():
        return _near(as_number, o)
    exact = as_number == o.cast(pl.Float64)
    if served != pl.String:
        return exact
    # A text of digits says more than a float can hold: beyond 2**53 the digits themselves must agree.
    return (s == o.cast(pl.String)) | (exact & (as_number.abs() < _EXACT_MAX))


def _number(text: pl.Expr) -> pl.Expr:
    """Return what a text says as a number; missing where it says none."""
    plain = text.str.to_lowercase()
    return pl.when(plain == "true").then(1.0).when(plain == "false").then(0.0).otherwise(plain.cast(pl.Float64, strict=False))


def _near(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    size = pl.max_horizontal(left.abs(), right.abs())
    return (left == right) | (left.is_finite() & right.is_finite() & ((left - right).abs() <= TOLERANCE * size))


def _over(share: float, limit: float) -> float:
    return share / limit if limit else (1.0 + share if share else 0.0)


def _state(shares: Mapping[Outcome, float], limits: Mapping[Outcome, float], plan: ParityPlan, rows: int) -> State:
    if rows < plan.rows_min:
        return State.NOT_ENOUGH_DATA
    if any(shares[kind] > limits[kind] for kind in limits):
        return State.ALERT
    return State.WARN if any(share > plan.warn_above for share in shares.values()) else State.OK
