from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from gateline.kernel.clock import DAY
from gateline.kernel.errors import GatelineError
from gateline.monitoring.joining import LABEL_SCHEMA, join_labels
from gateline.monitoring.labels import decide_changes, read_labels
from gateline.monitoring.model import DriftPolicy, LabelRow, MonitorPlan, PerformancePolicy, State
from gateline.monitoring.plans import plan_from_dict
from gateline.monitoring.rules import Calibration, Observation, drift_threshold, judge_drift, judge_metric
from gateline.monitoring.windows import first_start, silent_end

label_rows = st.lists(
    st.builds(LabelRow, key=st.sampled_from(["r:a", "r:b", "p:c"]), label=st.sampled_from([0.0, 1.0]), event_time=st.integers(0, 50)),
    max_size=30,
    unique_by=lambda row: (row.key, row.event_time),
)
unit = st.floats(0, 1)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=8,
)


def apply(rows, state):
    changes = decide_changes(rows, state)
    return {**state, **changes.current}, changes


@given(label_rows, st.data())
def test_labels_end_the_same_however_they_are_ordered_and_batched(rows, data):
    whole, _ = apply(rows, {})
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    state, _ = apply(shuffled[:cut], {})
    state, _ = apply(shuffled[cut:], state)
    assert state == whole


@given(label_rows)
def test_every_row_of_a_batch_is_accounted_for_and_a_repetition_changes_nothing(rows):
    state, changes = apply(rows, {})
    assert changes.recorded + changes.corrected + changes.unchanged + changes.stale + changes.contradictory == len(rows)
    assert len(changes.replaced) == changes.corrected
    again, repeated = apply(rows, state)
    assert again == state
    assert not repeated.current


@given(st.lists(st.dictionaries(st.sampled_from(["request_id", "prediction_id", "label", "event_time", "x"]), anything), max_size=5))
def test_hostile_rows_are_refused_or_read_and_never_break(rows):
    try:
        found = read_labels(rows, now=10**15)
    except GatelineError:
        return
    assert all(0 <= row.event_time <= 10**15 + 10 * 60_000_000 and np.isfinite(row.label) for row in found)


@given(
    st.dictionaries(
        st.sampled_from(["window_seconds", "timezone", "unit", "features", "drift", "performance", "resolve_after_ok"]), anything
    )
)
def test_hostile_plans_are_refused_or_read_and_never_break(stored):
    try:
        plan = plan_from_dict(stored)
    except GatelineError:
        return
    assert plan_from_dict(plan.as_dict()) == plan


@st.composite
def observations(draw):
    calibration = draw(
        st.none() | st.builds(Calibration, windows=st.integers(0, 20), mean=unit, spread=unit, noise_floor=st.floats(0, 0.2))
    )
    return Observation(
        name=draw(st.text(min_size=1, max_size=5)), kind="numeric", score=draw(unit), score_name="ks", noise_floor=draw(st.floats(0, 0.2)),
        p_value=draw(st.none() | unit), calibration=calibration, distances=(), rows=draw(st.integers(0, 1000)), nulls=0,
    )  # fmt: skip


@given(st.lists(observations(), max_size=8, unique_by=lambda seen: seen.name), st.lists(st.booleans(), max_size=4))
def test_what_fires_is_large_surprising_and_has_enough_rows(seen, history):
    policy = DriftPolicy()
    for drift, one in zip(judge_drift(seen, policy, history={one.name: history for one in seen}), seen, strict=True):
        if one.rows < policy.rows_min:
            assert drift.state is State.NOT_ENOUGH_DATA
        if drift.fired:
            assert drift.score >= drift.threshold >= policy.magnitude_min
            assert drift.discovered
        assert drift.fired == (drift.state in {State.WARN, State.ALERT})
        assert drift.reason.endswith(".")


@given(observations(), st.integers(1, 200))
def test_thresholds_stay_within_the_two_magnitudes_and_grow_with_the_number_of_features(seen, features):
    policy = DriftPolicy()
    threshold, _ = drift_threshold(policy, seen, features)
    assert policy.magnitude_min <= threshold <= policy.magnitude_max
    assert threshold <= drift_threshold(policy, seen, features + 1)[0]
    assert threshold <= drift_threshold(policy, replace(seen, noise_floor=seen.noise_floor + 0.1), features)[0]


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_wider_interval_never_makes_a_verdict_harsher(value, narrow, more):
    order = [State.OK, State.WARN, State.ALERT]
    policy = PerformancePolicy(auc_min=0.6)
    for name in ("calibration_gap", "log_loss_over_baseline", "auc"):
        near = judge_metric(name, value, value - narrow, value + narrow, policy).state
        far = judge_metric(name, value, value - narrow - more, value + narrow + more, policy).state
        assert order.index(far) <= order.index(near)


@given(st.integers(0, 4 * 10**15), st.sampled_from(["UTC", "America/New_York", "Asia/Dhaka", "Australia/Lord_Howe"]))
def test_the_first_window_begins_at_most_a_day_and_an_hour_before_the_first_event(event, zone):
    start = first_start(event, zone)
    assert 0 <= event - start <= DAY + 3_600_000_000
    assert first_start(start, zone) == start


@given(st.integers(1, 60), st.none() | st.integers(0, 80), st.integers(0, 6 * 10**11))
def test_a_silence_is_whole_windows_and_ends_before_the_next_prediction(weeks, gap, extra):
    plan = MonitorPlan()
    length = 7 * DAY
    watermark = weeks * length + 3_600_000_000 + extra
    next_event = None if gap is None else length + gap * DAY
    end = silent_end(0, plan, next_event=next_event, watermark=watermark)
    assert end % length == 0
    assert length <= end <= watermark
    assert next_event is None or end <= next_event


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("qr"), st.integers(0, 1), st.sampled_from(["x", "y"])), max_size=12),
    st.lists(
        st.tuples(st.sampled_from(["r:q", "r:r", "p:a", "p:b"]), unit, st.integers(0, 5)), max_size=4, unique_by=lambda label: label[0]
    ),
)
def test_joining_keeps_every_prediction_in_its_place_and_gives_equal_ones_equal_labels(rows, known):
    frame = pl.DataFrame(
        rows, schema={"prediction_id": pl.String, "request_id": pl.String, "received_at": pl.Int64, "arm": pl.String}, orient="row"
    )
    found = join_labels(frame, pl.DataFrame(known, schema=LABEL_SCHEMA, orient="row"))
    assert found.drop("label", "label_event_time").equals(frame)
    per_case = found.group_by("prediction_id", "request_id", "received_at").agg(pl.col("label").n_unique())
    assert per_case.filter(pl.col("label") > 1).is_empty()
    assert (found["label"].is_null() == found["label_event_time"].is_null()).all()
