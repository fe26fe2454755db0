from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gateline.monitoring.model import Alert, AlertState, Analysis, DriftPolicy, PerformancePolicy, State
from gateline.monitoring.rules import (
    AlertStep,
    Calibration,
    Observation,
    drift_threshold,
    judge_drift,
    judge_metric,
    labels_missing,
    next_alert_step,
    summarise_drift,
    summarise_group,
)

POLICY = DriftPolicy()
QUALITY = PerformancePolicy()


def seen(name: str = "a", score: float | None = 0.3, p_value: float | None = 1e-9, **changed) -> Observation:
    calibration = Calibration(windows=12, mean=0.03, spread=0.01, noise_floor=0.02)
    whole = Observation(
        name=name, kind="numeric", score=score, score_name="ks", noise_floor=0.02, p_value=p_value, calibration=calibration, distances=(),
        rows=2000, nulls=0,
    )  # fmt: skip
    return replace(whole, **changed)


def judge(*observations: Observation, history=None, seasonal=(), policy=POLICY):
    return judge_drift(observations, policy, history=history or {}, seasonal=frozenset(seasonal))


def test_the_first_time_a_feature_fires_it_is_a_warning():
    (found,) = judge(seen())
    assert (found.state, found.fired) == (State.WARN, True)
    assert "fired in 1 of the last 3 windows" in found.reason


@pytest.mark.parametrize(
    ("history", "state"),
    [([True], State.ALERT), ([True, False], State.ALERT), ([False, True], State.ALERT), ([True, False, False], State.WARN)],
)
def test_twice_in_three_windows_is_an_alert(history, state):
    (found,) = judge(seen(), history={"a": history})
    assert found.state is state


def test_a_feature_that_no_longer_fires_is_ok_whatever_it_did_before():
    (found,) = judge(seen(score=0.04), history={"a": [True, True]})
    assert (found.state, found.fired) == (State.OK, False)


def test_a_small_distance_never_fires_however_certain():
    (found,) = judge(seen(score=0.049, p_value=0.0))
    assert found.state is State.OK
    assert found.threshold >= 0.05


def test_a_large_distance_that_is_not_surprising_does_not_fire():
    (found,) = judge(seen(p_value=0.2))
    assert (found.state, found.discovered) == (State.OK, False)
    assert "not surprising" in found.reason


def test_a_distance_within_what_the_reference_does_itself_does_not_fire():
    wild = Calibration(windows=12, mean=0.2, spread=0.1, noise_floor=0.02)
    (found,) = judge(seen(calibration=wild))
    assert found.state is State.OK
    assert found.threshold_source == "calibrated"


def test_seasonal_features_are_information_and_never_alarms():
    (found,) = judge(seen(), history={"a": [True, True]}, seasonal=["a"])
    assert (found.state, found.fired) == (State.INFO, True)
    assert "declared seasonal" in found.reason
    assert summarise_drift([found])[0] is State.OK


def test_too_few_rows_are_not_enough_data_and_say_how_many_are_missing():
    (found,) = judge(seen(rows=150))
    assert found.state is State.NOT_ENOUGH_DATA
    assert "150 predictions of the 200 needed (50 missing)" in found.reason


def test_nothing_measured_is_not_enough_data_and_never_ok():
    (found,) = judge(seen(score=None, unseen="no rows to compare"))
    assert found.state is State.NOT_ENOUGH_DATA
    assert summarise_drift([found]) == (State.NOT_ENOUGH_DATA, "a: no rows to compare.")


def test_a_window_without_reference_is_not_enough_data():
    assert summarise_drift([])[0] is State.NOT_ENOUGH_DATA


def test_the_number_of_features_counts_in_threshold_and_in_discovery():
    alone, _ = drift_threshold(POLICY, seen(), 1)
    among, _ = drift_threshold(POLICY, seen(), 100)
    assert among > alone
    p = 0.009
    assert judge(seen(p_value=p))[0].discovered
    many = [seen(f"f{at}", score=0.01, p_value=0.9) for at in range(20)]
    assert not judge(seen(p_value=p), *many)[0].discovered


def test_without_enough_reference_windows_the_noise_of_sampling_sets_the_threshold():
    few = Calibration(windows=3, mean=0.5, spread=0.5, noise_floor=0.02)
    for calibration in (few, None):
        threshold, source = drift_threshold(POLICY, seen(calibration=calibration, noise_floor=0.04), 1)
        assert source == "noise floor"
        assert threshold == pytest.approx(0.04 * (1 + 2.3263 * 0.2996 * 1.15), rel=1e-3)


def test_windows_with_fewer_rows_than_the_reference_windows_need_larger_distances():
    thresholds = [drift_threshold(POLICY, seen(noise_floor=noise), 10)[0] for noise in (0.01, 0.02, 0.05, 0.1)]
    assert thresholds[0] == thresholds[1] < thresholds[2] < thresholds[3]


def test_no_reference_is_so_wild_that_a_disjoint_distribution_goes_unseen():
    wild = Calibration(windows=12, mean=0.4, spread=0.3, noise_floor=0.02)
    (found,) = judge(seen(score=1.0, p_value=0.0, calibration=wild))
    assert found.fired
    assert found.threshold_source == "largest magnitude"


def test_a_window_quotes_its_worst_feature_and_names_the_others():
    drifts = judge(seen("a"), seen("b", score=0.6), seen("c", score=0.01, p_value=0.5), history={"a": [True], "b": [True]})
    state, reason = summarise_drift(drifts)
    assert state is State.ALERT
    assert reason.startswith("b: ks 0.600 >= 0.0")
    assert "And 1 more: a." in reason


def test_silence_has_a_reason_with_numbers_too():
    state, reason = summarise_drift(judge(seen(score=0.03, p_value=0.5)))
    assert state is State.OK
    assert "0.030 < 0." in reason


@pytest.mark.parametrize(
    ("value", "lower", "upper", "state"),
    [
        (-0.2, -0.3, -0.1, State.ALERT),
        (0.2, 0.1, 0.3, State.ALERT),
        (0.2, 0.04, 0.3, State.WARN),
        (0.04, -0.1, 0.2, State.OK),
        (0.0, -math.inf, math.inf, State.OK),
        (0.2, -math.inf, math.inf, State.WARN),
        (math.nan, -math.inf, math.inf, State.NOT_ENOUGH_DATA),
    ],
)
def test_the_calibration_gap_is_judged_in_both_directions_by_its_better_end(value, lower, upper, state):
    assert judge_metric("calibration_gap", value, lower, upper, QUALITY).state is state


@pytest.mark.parametrize(("lower", "upper", "state"), [(0.01, 0.1, State.ALERT), (-0.01, 0.1, State.WARN), (-0.1, -0.01, State.OK)])
def test_a_model_worse_than_the_constant_baseline_alarms(lower, upper, state):
    assert judge_metric("log_loss_over_baseline", (lower + upper) / 2, lower, upper, QUALITY).state is state


def test_auc_is_shown_and_never_alarms_unless_a_floor_is_declared():
    assert judge_metric("auc", 0.4, 0.3, 0.5, QUALITY).state is State.OK
    floor = replace(QUALITY, auc_min=0.6)
    assert judge_metric("auc", 0.4, 0.3, 0.5, floor).state is State.ALERT
    assert judge_metric("auc", 0.55, 0.5, 0.7, floor).state is State.WARN
    assert judge_metric("auc", 0.7, 0.5, 0.9, floor).state is State.OK


def test_an_error_larger_than_the_allowed_multiple_of_the_reference_alarms():
    assert judge_metric("mean_absolute_error", 4.0, 3.5, 4.5, QUALITY, reference=2.0).state is State.ALERT
    assert judge_metric("mean_absolute_error", 2.5, 2.0, 3.5, QUALITY, reference=2.0).state is State.OK
    assert judge_metric("mean_absolute_error", 4.0, 3.5, 4.5, QUALITY).state is State.OK


def test_missing_labels_are_counted_for_the_minimum_and_for_the_coverage():
    assert labels_missing(QUALITY, predictions=100, labels=20) == 180
    assert labels_missing(QUALITY, predictions=1000, labels=300) == 200
    assert labels_missing(QUALITY, predictions=1000, labels=500) == 0


def test_a_group_with_few_labels_or_few_days_is_not_enough_data():
    bad = [("calibration_gap", judge_metric("calibration_gap", 0.5, 0.4, 0.6, QUALITY))]
    state, reason = summarise_group(bad, QUALITY, predictions=1000, labels=300, units=7)
    assert state is State.NOT_ENOUGH_DATA
    assert "300 labels for 1000 predictions (30%): 200 more are needed" in reason
    state, reason = summarise_group(bad, QUALITY, predictions=1000, labels=900, units=3)
    assert state is State.NOT_ENOUGH_DATA
    assert "2 more are needed" in reason
    assert summarise_group(bad, QUALITY, predictions=1000, labels=900, units=7)[0] is State.ALERT


def alert(**changed) -> Alert:
    whole = Alert(
        id="alert_1", endpoint="e", kind=Analysis.DRIFT, version="m@1", state=AlertState.OPEN, first_window_start=0, last_window_start=0,
        last_window_end=1, windows=1, names=("a",), severity=2.0, reason="", opened_at=0,
    )  # fmt: skip
    return replace(whole, **changed)


@pytest.mark.parametrize(
    ("open_alert", "state", "version", "streak", "step"),
    [
        (None, State.ALERT, "m@1", 0, AlertStep.OPEN),
        (None, State.WARN, "m@1", 0, AlertStep.NONE),
        (alert(), State.ALERT, "m@1", 0, AlertStep.ABSORB),
        (alert(state=AlertState.ACKNOWLEDGED), State.ALERT, "m@1", 0, AlertStep.ABSORB),
        (alert(), State.OK, "m@1", 1, AlertStep.NONE),
        (alert(), State.OK, "m@1", 2, AlertStep.RESOLVE),
        (alert(), State.NOT_ENOUGH_DATA, "m@1", 0, AlertStep.NONE),
        (alert(), State.NOT_ENOUGH_DATA, "", 0, AlertStep.NONE),
        (alert(), State.OK, "m@2", 1, AlertStep.RESOLVE),
        (alert(), State.ALERT, "m@2", 0, AlertStep.REPLACE),
    ],
)
def test_one_alert_stands_for_all_alarming_windows_of_a_version(open_alert, state, version, streak, step):
    assert next_alert_step(open_alert, state=state, version=version, ok_streak=streak, resolve_after_ok=2) is step
