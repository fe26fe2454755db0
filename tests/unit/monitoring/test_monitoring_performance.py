from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from gateline.kernel.clock import DAY, HOUR, parse_iso
from gateline.monitoring.model import MonitorPlan, State, Unit
from gateline.monitoring.performance import measure_groups, measure_reference, summarise_groups, units_of

START = parse_iso("2013-04-01T00:00:00Z")
PLAN = MonitorPlan()
REFERENCE = {"base_rate": 0.25, "metrics": {"log_loss": 0.5, "auc": 0.75}}


def joined(rows: int = 1400, *, version: str = "m@1", arm: str = "champion", shadow: bool = False, seed: int = 1, bias: float = 0.0):
    """A week of predictions that are right on average (or too small by `bias`), with labels three hours later."""
    rng = np.random.default_rng(seed)
    chance = np.clip(rng.beta(2, 6, rows), 0.01, 0.99)
    time = np.sort(START + rng.integers(0, 7 * DAY, rows))
    label = (rng.random(rows) < np.clip(chance + bias, 0, 1)).astype(float)
    names = [f"{version}-{arm}-{at}" for at in range(rows)]
    return pl.DataFrame(
        {
            "prediction_id": names, "request_id": names, "event_time": time, "version": version, "arm": arm, "shadow": shadow,
            "prediction": chance, "label": label, "label_event_time": time + 3 * HOUR,
        }
    )  # fmt: skip


def only(frame, plan=PLAN, reference=REFERENCE):
    (group,) = measure_groups(frame, plan, reference)
    return group


def metric(group, name):
    return next(one for one in group.metrics if one.name == name)


def test_a_sound_week_is_ok_and_shows_every_metric_with_its_interval():
    group = only(joined())
    assert group.state is State.OK
    assert [one.name for one in group.metrics] == ["log_loss", "brier", "calibration_gap", "log_loss_over_baseline", "auc"]
    assert all(one.lower <= one.value <= one.upper for one in group.metrics)
    assert (group.predictions, group.labels, group.coverage, group.units, group.missing) == (1400, 1400, 1.0, 7, 0)
    assert metric(group, "auc").reference == 0.75
    assert group.lag_seconds == {"p05": 10800.0, "p50": 10800.0, "p95": 10800.0, "max": 10800.0}
    assert group.reason.startswith("m@1 (champion): calibration_gap ")


def test_outcomes_far_from_what_was_predicted_alarm_on_the_calibration_gap():
    group = only(joined(bias=0.2))
    assert group.state is State.ALERT
    assert metric(group, "calibration_gap").state is State.ALERT
    assert "the whole interval is beyond it" in group.reason


def test_flipped_labels_are_worse_than_the_baseline():
    group = only(joined().with_columns(prediction=1 - pl.col("prediction")))
    assert metric(group, "log_loss_over_baseline").state is State.ALERT


def test_one_bad_day_of_seven_is_a_warning_because_days_are_the_unit():
    frame = joined()
    bad = pl.col("event_time") < START + DAY
    group = only(frame.with_columns(label=pl.when(bad).then(1.0).otherwise("label")))
    gap = metric(group, "calibration_gap")
    assert abs(gap.value) > 0.05
    assert gap.state is State.WARN
    rowwise = only(frame.with_columns(label=pl.when(bad).then(1.0).otherwise("label")), MonitorPlan(unit=Unit.ROW))
    assert metric(rowwise, "calibration_gap").state is State.ALERT


def test_too_few_labels_are_not_enough_data_and_the_number_missing_is_told():
    frame = joined().with_columns(label=pl.when(pl.int_range(pl.len()) < 300).then("label"))
    group = only(frame)
    assert (group.state, group.missing, group.labels) == (State.NOT_ENOUGH_DATA, 400, 300)
    assert only(joined(rows=100)).missing == 100
    assert summarise_groups(()) == (State.NOT_ENOUGH_DATA, "No predictions in this window.")


def test_labels_of_too_few_days_are_not_enough_data():
    frame = joined().filter(pl.col("event_time") < START + 3 * DAY)
    group = only(frame)
    assert group.state is State.NOT_ENOUGH_DATA
    assert "2 more are needed" in group.reason


def test_no_labels_at_all_is_not_enough_data():
    group = only(joined().with_columns(label=pl.lit(None, dtype=pl.Float64), label_event_time=pl.lit(None, dtype=pl.Int64)))
    assert (group.state, group.labels, group.metrics, group.lag_seconds) == (State.NOT_ENOUGH_DATA, 0, (), {})


def test_the_group_that_served_most_decides_and_shadows_never_do():
    champion, canary = joined(), joined(400, version="m@2", arm="canary", seed=2, bias=0.4)
    shadow = joined(3000, version="m@3", arm="predecessor", shadow=True, seed=3, bias=0.4)
    groups = measure_groups(pl.concat([shadow, canary, champion]), PLAN, REFERENCE)
    assert [(group.version, group.main) for group in groups] == [("m@1", True), ("m@2", False), ("m@3", False)]
    assert [group.state for group in groups] == [State.OK, State.ALERT, State.ALERT]
    assert summarise_groups(groups) == (State.OK, groups[0].reason)
    alone = measure_groups(shadow, PLAN, REFERENCE)
    assert summarise_groups(alone)[0] is State.NOT_ENOUGH_DATA


def test_errors_and_impossible_probabilities_are_left_out_and_counted():
    frame = joined().with_columns(
        prediction=pl.when(pl.int_range(pl.len()) < 10).then(None).when(pl.int_range(pl.len()) < 30).then(1.7).otherwise("prediction")
    )
    group = only(frame)
    assert group.excluded == 30
    assert group.labels == 1400
    assert group.state is State.OK


def test_one_class_only_has_no_auc_and_the_other_metrics_stand():
    group = only(joined().with_columns(label=pl.lit(0.0)))
    assert metric(group, "auc").state is State.NOT_ENOUGH_DATA
    assert metric(group, "auc").value is None
    assert metric(group, "calibration_gap").state is State.ALERT


def test_numbers_as_labels_are_read_as_regression():
    rng = np.random.default_rng(5)
    frame = joined().with_columns(label=pl.col("prediction") * 10 + pl.Series(rng.normal(0, 1, 1400)), prediction=pl.col("prediction") * 10)
    reference = {"metrics": {"mean_absolute_error": 0.8}}
    group = only(frame, reference=reference)
    assert [one.name for one in group.metrics] == ["mean_absolute_error", "bias"]
    assert group.state is State.OK
    worse = only(frame.with_columns(prediction=pl.col("prediction") + 3), reference=reference)
    assert worse.state is State.ALERT


def test_the_same_window_measured_twice_says_the_same():
    assert measure_groups(joined(), PLAN, REFERENCE) == measure_groups(joined(), PLAN, REFERENCE)


def test_units_are_local_days_hours_or_rows():
    times = np.array([START, START + 3 * HOUR, START + 5 * HOUR, START + DAY])
    new_york = MonitorPlan(timezone="America/New_York")
    assert len(np.unique(units_of(times, PLAN))) == 2
    assert np.diff(units_of(times, new_york)).tolist() == [0, 1, 0]
    assert np.diff(units_of(times, MonitorPlan(unit=Unit.HOUR))).tolist() == [3, 2, 19]
    assert units_of(times, MonitorPlan(unit=Unit.ROW)).tolist() == [0, 1, 2, 3]


def test_a_reference_with_labels_gives_base_rate_metrics_and_their_spread_over_windows():
    frames = [joined(seed=at).with_columns(event_time=pl.col("event_time") + at * 7 * DAY) for at in range(5)]
    frame = pl.concat(frames)
    found = measure_reference(frame, frame["event_time"].to_numpy(), "prediction", "label", PLAN)
    assert (found["rows"], found["windows"], found["binary"]) == (7000, 5, True)
    assert found["base_rate"] == pytest.approx(0.25, abs=0.02)
    assert 0 < found["spread"]["calibration_gap"] < 0.05
    assert measure_reference(frame.drop("label"), None, "prediction", "label", PLAN) == {}
    assert measure_reference(frame.with_columns(label=None), None, "prediction", "label", PLAN) == {}
