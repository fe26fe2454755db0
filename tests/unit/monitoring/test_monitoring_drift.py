from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from gateline.kernel.clock import DAY, SECOND, parse_iso
from gateline.kernel.errors import InvalidInput
from gateline.monitoring.drift import FeatureReference, build_reference, feature_kind, instants, observe, reference_windows, slot_of
from gateline.monitoring.model import FEATURE_PREFIX, PREDICTION, FeaturePlan, MonitorPlan, State
from gateline.monitoring.rules import judge_drift, summarise_drift

START = parse_iso("2013-01-07T00:00:00Z")
WEEK = 7 * DAY
PLAN = MonitorPlan()
NAMES = [f"f{at}" for at in range(6)]


def week(rng: np.random.Generator, number: int, rows: int = 1000, shift: float = 0.0) -> pl.DataFrame:
    """A week of six numbers with harmless day effects, one category of 30 levels and a score; `shift` moves f0, in deviations."""
    day = rng.integers(0, 7, rows)
    effects = rng.normal(0, 0.03, (7, 7)) + 0.1 * np.sin(2 * np.pi * np.arange(7) / 7)
    columns = {name: rng.normal(0, 1, rows) + effects[at][day] for at, name in enumerate(NAMES)}
    columns["f0"] = columns["f0"] + shift
    weights = np.arange(30, 0, -1) / np.arange(30, 0, -1).sum()
    time = START + number * WEEK + day * DAY + rng.integers(0, DAY, rows)
    score = 1 / (1 + np.exp(-columns["f1"] - effects[6][day]))
    return pl.DataFrame({"t": time, **columns, "level": rng.choice([f"c{at}" for at in range(30)], rows, p=weights), PREDICTION: score})


def reference(rng: np.random.Generator, plan: MonitorPlan = PLAN, weeks: int = 10) -> list[FeatureReference]:
    frame = pl.concat([week(rng, number) for number in range(weeks)])
    times = instants(frame, "t")
    return [
        build_reference(frame[name], name, feature_kind(FeaturePlan(name=name), frame[name]), times, plan)
        for name in (*NAMES, "level", PREDICTION)
    ]


def as_served(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.rename({name: FEATURE_PREFIX + name for name in (*NAMES, "level")})


def run(references, windows, *, seasonal=()):
    """Judge windows one after the other, with their history; return the verdicts per window."""
    history: dict[str, list[bool]] = {}
    found = []
    for window in windows:
        drifts = judge_drift(
            [observe(one, as_served(window), "all") for one in references], PLAN.drift, history=history, seasonal=frozenset(seasonal)
        )
        for drift in drifts:
            history.setdefault(drift.name, []).append(drift.fired)
        found.append(drifts)
    return found


def test_harmless_weeks_raise_no_alert():
    rng = np.random.default_rng(7)
    references = reference(rng)
    verdicts = [summarise_drift(drifts)[0] for drifts in run(references, [week(rng, 10 + at) for at in range(60)])]
    assert verdicts.count(State.ALERT) == 0
    assert verdicts.count(State.WARN) <= 2
    assert verdicts.count(State.NOT_ENOUGH_DATA) == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_shift_of_three_tenths_of_a_deviation_is_an_alert_in_the_second_week(seed):
    rng = np.random.default_rng(seed)
    references = reference(rng)
    first, second = run(references, [week(rng, 10, shift=0.3), week(rng, 11, shift=0.3)])
    assert summarise_drift(first)[0] is State.WARN
    state, reason = summarise_drift(second)
    assert state is State.ALERT
    assert reason.startswith("f0: ks 0.")
    assert {drift.name for drift in second if drift.state is State.ALERT} == {"f0"}


def test_a_declared_season_mutes_the_same_shift():
    rng = np.random.default_rng(4)
    references = reference(rng)
    *_, last = run(references, [week(rng, 10 + at, shift=1.0) for at in range(3)], seasonal=["f0"])
    assert summarise_drift(last)[0] is State.OK
    assert next(drift for drift in last if drift.name == "f0").state is State.INFO


def test_a_category_that_was_never_seen_and_a_vanished_feature_fire():
    rng = np.random.default_rng(5)
    references = reference(rng)
    changed = [
        week(rng, 10 + at).with_columns(level=pl.when(pl.col("f2") > 0).then(pl.lit("new")).otherwise("level")).drop("f3")
        for at in range(2)
    ]
    changed = [frame.with_columns(f3=pl.lit(None, dtype=pl.Float64)) for frame in changed]
    _, second = run(references, changed)
    alarms = {drift.name: drift for drift in second if drift.state is State.ALERT}
    assert set(alarms) == {"level", "f3"}
    assert alarms["f3"].score_name == "null_share"
    assert (alarms["f3"].score, alarms["f3"].nulls) == (1.0, 1000)


def test_a_column_that_is_not_in_the_log_counts_as_null_throughout():
    rng = np.random.default_rng(6)
    (one,) = [feature for feature in reference(rng) if feature.name == "f0"]
    seen = observe(one, as_served(week(rng, 10)).drop("feature.f0"), "all")
    assert (seen.score, seen.nulls, seen.score_name) == (1.0, 1000, "null_share")


def test_text_in_a_numeric_feature_counts_as_null_and_numbers_in_a_category_by_value():
    times = np.arange(START, START + 10 * WEEK, WEEK // 500)
    number = build_reference(pl.Series(np.arange(len(times), dtype=float)), "a", "numeric", times, PLAN)
    seen = observe(number, pl.DataFrame({"feature.a": ["x", "2", None, "inf"]}), "all")
    assert (seen.rows, seen.nulls) == (4, 2)
    category = build_reference(pl.Series([1, 2] * (len(times) // 2)), "b", "categorical", times, PLAN)
    same = observe(category, pl.DataFrame({"feature.b": [1.0, 2.0] * 500}), "all")
    assert same.score == 0.0


def test_an_empty_window_and_an_all_null_reference_can_not_be_judged():
    rng = np.random.default_rng(8)
    (one,) = [feature for feature in reference(rng) if feature.name == "f0"]
    assert observe(one, as_served(week(rng, 10)).clear(), "all").unseen == "no rows to compare"
    nothing = build_reference(pl.Series([None] * 3000, dtype=pl.Float64), "a", "numeric", None, PLAN)
    seen = observe(nothing, pl.DataFrame({"feature.a": [1.0] * 300}), "all")
    assert (seen.score, seen.score_name) == (1.0, "null_share")


def test_every_distance_carries_its_noise_floor_and_its_definition():
    rng = np.random.default_rng(9)
    for one in reference(rng):
        names = [distance["name"] for distance in observe(one, as_served(week(rng, 10)), "all").distances]
        assert names == ["total_variation" if one.kind == "categorical" else "ks", "psi", "js_distance", "null_share"]
        for distance in observe(one, as_served(week(rng, 10)), "all").distances:
            assert distance["definition"]
            assert distance["noise_floor"] is not None


def test_a_reference_survives_storage_to_the_last_bit():
    rng = np.random.default_rng(10)
    for one in reference(rng, weeks=5):
        assert FeatureReference.from_dict(one.as_dict()).as_dict() == one.as_dict()


def test_reference_windows_leave_out_stumps_at_both_ends():
    per_day = 100
    times = np.concatenate([START + 5 * DAY + at * DAY + np.arange(per_day) for at in range(2 + 21 + 3)])
    starts = [start for start, rows in reference_windows(times, PLAN)]
    # Windows begin at the first event's midnight, so only the last five days are a stump.
    assert starts == [START + 5 * DAY + at * WEEK for at in range(3)]
    assert reference_windows(None, PLAN) == []
    assert reference_windows(times[:0], PLAN) == []


def test_daily_windows_are_compared_with_their_own_weekday():
    plan = MonitorPlan(window_seconds=86_400, timezone="America/New_York")
    rng = np.random.default_rng(11)
    noon = parse_iso("2013-01-07T17:00:00Z")
    times = np.concatenate([noon + at * DAY + np.arange(300) * SECOND for at in range(70)])
    values = np.concatenate([rng.normal(5.0 if at % 7 >= 5 else 0.0, 1, 300) for at in range(70)])
    one = build_reference(pl.Series(values), "a", "numeric", times, plan)
    assert set(one.profiles) == {"all", *"0123456"}
    saturday = parse_iso("2013-04-06T04:00:00Z")
    assert slot_of(saturday, plan) == "5"
    assert slot_of(saturday, PLAN) == "all"
    window = pl.DataFrame({"feature.a": rng.normal(5, 1, 300)})
    matched, unmatched = observe(one, window, "5"), observe(one, window, "all")
    assert matched.score < 0.15 < unmatched.score
    assert judge_drift([matched], plan.drift, history={})[0].state is State.OK


@pytest.mark.parametrize("column", [pl.Series("t", ["x", "y"]), pl.Series("t", [1, None]), pl.Series("t", [1.5, 2.0])])
def test_a_time_column_that_is_no_time_is_refused(column):
    with pytest.raises(InvalidInput, match="time column 't'"):
        instants(pl.DataFrame([column]), "t")


def test_times_may_be_microseconds_timestamps_or_dates():
    moment = parse_iso("2013-01-07T05:00:00Z")
    zoned = pl.Series("t", [moment]).cast(pl.Datetime("us", "UTC"))
    for column in (pl.Series("t", [moment]), zoned, zoned.dt.convert_time_zone("Asia/Dhaka"), zoned.cast(pl.Datetime("ms", "UTC"))):
        assert instants(pl.DataFrame([column]), "t").tolist() == [moment]
    assert instants(pl.DataFrame([zoned.dt.date()]), "t").tolist() == [parse_iso("2013-01-07T00:00:00Z")]
    assert instants(pl.DataFrame({"a": [1]}), "t") is None


def test_the_kind_of_a_feature_follows_its_type_or_its_plan():
    assert feature_kind(FeaturePlan(name="a"), pl.Series(["x"])) == "categorical"
    assert feature_kind(FeaturePlan(name="a"), pl.Series([True])) == "categorical"
    assert feature_kind(FeaturePlan(name="a"), pl.Series([1])) == "numeric"
    assert feature_kind(FeaturePlan(name="a", kind="categorical"), pl.Series([1])) == "categorical"
    with pytest.raises(InvalidInput, match="cannot be watched"):
        feature_kind(FeaturePlan(name="a"), pl.Series([[1]]))
