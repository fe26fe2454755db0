"""The e-process and the e-detector keep their error budgets and find what they should."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from gateline.stats import detector_start, detector_update, log_e, sample_ratio_p, start, update, update_many

REPEATABLE = settings(derandomize=True, deadline=None)  # the same examples in every run

ALPHA = 0.01
EVENTS = st.lists(st.tuples(st.booleans(), st.floats(0.01, 0.99)), max_size=40)


def ever_exceeds(canary_chance, weight, generator, *, ratio=1.0, batches=60, size=20, swap=False):
    """Whether E reaches 1 / alpha at any of 60 looks."""
    state = start()
    for _ in range(batches):
        canary = generator.uniform(size=size) < canary_chance
        arms, share = (~canary, 1 - weight) if swap else (canary, weight)
        state = update_many(state, arms, np.full(size, share), ratio)
        if log_e(state) >= math.log(1 / ALPHA):
            return True
    return False


def exceedances(canary_chance, weight, *, runs, seed, **options):
    generator = np.random.default_rng(seed)
    return sum(ever_exceeds(canary_chance, weight, generator, **options) for _ in range(runs))


@REPEATABLE
@given(EVENTS, st.sampled_from([0.5, 1.0, 1.2, 3.0]))
def test_a_batch_equals_its_events_one_by_one_in_any_order(events, ratio):
    one_by_one = start()
    for canary, weight in reversed(events):
        one_by_one = update(one_by_one, canary=canary, weight=weight, ratio=ratio)
    batch = update_many(start(), [canary for canary, _ in events], [weight for _, weight in events], ratio)
    assert batch.log_wealth == pytest.approx(one_by_one.log_wealth, abs=1e-9)
    assert (batch.bad_canary, batch.bad_baseline) == (one_by_one.bad_canary, one_by_one.bad_baseline)


@REPEATABLE
@given(st.floats(0.001, 0.999), st.sampled_from([0.5, 1.0, 1.2, 3.0]), st.floats(0, 1))
def test_one_event_is_worth_at_most_one_on_average_under_the_hypothesis(weight, ratio, below):
    chance = below * weight * ratio / (weight * ratio + 1 - weight)
    on_canary, on_baseline = (math.exp(log_e(update(start(), canary=arm, weight=weight, ratio=ratio))) for arm in (True, False))
    assert chance * on_canary + (1 - chance) * on_baseline <= 1 + 1e-9
    edge = weight * ratio / (weight * ratio + 1 - weight)
    assert edge * on_canary + (1 - edge) * on_baseline == pytest.approx(1, abs=1e-9)


def test_wealth_is_the_likelihood_ratio_of_the_definition():
    state = update_many(start(), [True, True, False], [0.1, 0.3, 0.1], 1.2)
    for lift, wealth in zip(state.lifts, state.log_wealth, strict=True):
        expected = 0.0
        for canary, w in ((True, 0.1), (True, 0.3), (False, 0.1)):
            tolerated = w * 1.2 / (w * 1.2 + 1 - w)
            raised = w * 1.2 * lift / (w * 1.2 * lift + 1 - w)
            expected += math.log(raised / tolerated) if canary else math.log((1 - raised) / (1 - tolerated))
        assert wealth == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("weight", [0.01, 0.1, 0.5])
def test_an_equal_canary_is_rolled_back_in_at_most_one_percent_of_runs(weight):
    # 400 runs: 11 or more would have a chance below 0.3 % at the budget of 1 %.
    assert exceedances(weight, weight, runs=400, seed=1) <= 10


def test_a_canary_within_the_margin_is_tolerated_and_without_the_margin_it_is_not():
    weight, worse = 0.2, 1.5
    chance = weight * worse / (weight * worse + 1 - weight)
    assert exceedances(chance, weight, runs=200, seed=2, ratio=1.5) <= 6
    assert exceedances(chance, weight, runs=50, seed=2) >= 45


def test_changing_weights_and_a_shared_incident_do_not_roll_back_a_good_canary():
    generator = np.random.default_rng(3)
    rolled_back = 0
    for _ in range(300):
        state = start()
        for minute in range(60):
            weight = 0.05 if minute < 20 else 0.25
            rate = 0.06 if 20 <= minute < 30 else 0.01
            requests = generator.poisson(600)
            bad = generator.binomial(requests, rate)
            canary = generator.uniform(size=bad) < weight
            state = update_many(state, canary, np.full(bad, weight))
            if log_e(state) >= math.log(1 / ALPHA):
                rolled_back += 1
                break
    assert rolled_back <= 8


def test_a_canary_with_five_more_points_of_errors_is_found_within_three_minutes():
    generator = np.random.default_rng(4)
    minutes = []
    for _ in range(50):
        state, minute = start(), 0
        while log_e(state) < math.log(1 / ALPHA):
            minute += 1
            requests = generator.poisson(3000)
            on_canary = generator.binomial(requests, 0.1)
            worse, usual = generator.binomial(on_canary, 0.06), generator.binomial(requests - on_canary, 0.01)
            canary = np.repeat([True, False], [worse, usual])
            state = update_many(state, canary, np.full(len(canary), 0.1))
        minutes.append(minute)
    assert np.median(minutes) == 1
    assert max(minutes) <= 3


def test_the_mirrored_test_finds_a_canary_with_too_few_and_spares_an_equal_one():
    weight = 0.3
    half = weight * 0.5 / (weight * 0.5 + 1 - weight)
    assert exceedances(half, weight, runs=40, seed=5, swap=True) >= 38
    assert exceedances(half, weight, runs=40, seed=5) == 0
    assert exceedances(weight, weight, runs=300, seed=6, swap=True) <= 8


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_at_no_or_all_traffic_events_count_but_carry_no_evidence(weight):
    state = update_many(start(), [True, False], [weight, weight])
    assert log_e(state) == 0.0
    assert (state.bad_canary, state.bad_baseline) == (1, 1)


def test_overwhelming_evidence_does_not_overflow():
    state = update_many(start(), np.ones(100_000, dtype=bool), np.full(100_000, 0.01))
    assert 1e4 < log_e(state) < math.inf


def test_events_and_options_out_of_range_are_refused():
    for weight in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="weights"):
            update(start(), canary=True, weight=weight)
    with pytest.raises(ValueError, match="ratio"):
        update(start(), canary=True, weight=0.1, ratio=0.0)
    with pytest.raises(ValueError, match="equally long"):
        update_many(start(), [True], [0.1, 0.2])
    for lifts in ((), (1.0,), (math.inf,)):
        with pytest.raises(ValueError, match="lifts"):
            start(lifts)
        with pytest.raises(ValueError, match="lifts"):
            detector_start(0.1, lifts)


def test_the_sample_ratio_check_is_the_exact_binomial_test():
    for canary, total, weight in ((12, 100, 0.1), (0, 50, 0.1), (530, 1000, 0.5)):
        assert sample_ratio_p(canary, total, weight) == pytest.approx(binomtest(canary, total, weight).pvalue, abs=1e-12)
    assert sample_ratio_p(0, 0, 0.1) == 1.0
    with pytest.raises(ValueError, match="3 canary requests of 2"):
        sample_ratio_p(3, 2, 0.5)


def test_the_sample_ratio_check_seldom_blames_good_routing_and_sees_broken_routing():
    generator = np.random.default_rng(7)
    good = [sample_ratio_p(int(generator.binomial(10_000, 0.1)), 10_000, 0.1) for _ in range(500)]
    broken = [sample_ratio_p(int(generator.binomial(10_000, 0.12)), 10_000, 0.1) for _ in range(50)]
    assert np.mean(np.array(good) < 0.01) <= 0.024
    assert max(broken) < 0.001


def rows_to_alarm(rate, threshold, generator, *, block, rows_max):
    state = detector_start(0.1)
    while state.rows < rows_max:
        state = detector_update(state, int(generator.binomial(block, rate)), block)
        if state.log_value >= math.log(threshold):
            return state.rows
    return rows_max


@pytest.mark.parametrize("block", [1, 50])
def test_false_alarms_of_the_detector_are_at_least_the_threshold_apart_on_average(block):
    generator = np.random.default_rng(8)
    threshold = 500
    waits = [rows_to_alarm(0.1, threshold, generator, block=block, rows_max=3000) for _ in range(30)]
    assert np.mean(waits) >= threshold


def test_the_detector_finds_a_rise_from_10_to_15_percent_in_about_600_rows():
    generator = np.random.default_rng(9)
    waits = [rows_to_alarm(0.15, 1e5, generator, block=20, rows_max=20_000) for _ in range(60)]
    assert 400 <= np.median(waits) <= 1000


def test_the_detector_follows_the_shiryaev_roberts_recursion():
    state, plain = detector_start(0.1, (1.5, 3.0)), [0.0, 0.0]
    for bad in (0, 1, 1, 0, 1):
        state = detector_update(state, bad, 1)
        plain = [(m + 1) * (lift if bad else (1 - 0.1 * lift) / 0.9) for m, lift in zip(plain, (1.5, 3.0), strict=True)]
    assert state.log_value == pytest.approx(math.log(sum(plain) / 2), abs=1e-9)
    assert (state.bad, state.rows) == (3, 5)
    block = detector_update(state, 2, 10)
    expected = [(m + 10) * lift**2 * ((1 - 0.1 * lift) / 0.9) ** 8 for m, lift in zip(plain, (1.5, 3.0), strict=True)]
    assert block.log_value == pytest.approx(math.log(sum(expected) / 2), abs=1e-9)


def test_the_detector_stays_finite_works_at_high_rates_and_ignores_empty_blocks():
    state = detector_start(0.8)
    assert detector_update(state, 0, 0) is state
    for _ in range(20):
        state = detector_update(state, 10_000, 10_000)
    assert all(map(math.isfinite, state.log_one_plus))
    assert 1e4 < state.log_value < math.inf
    for bad, rows in ((2, 1), (-1, 1)):
        with pytest.raises(ValueError, match="block"):
            detector_update(state, bad, rows)
    for p0 in (0.0, 1.0):
        with pytest.raises(ValueError, match="p0"):
            detector_start(p0)
