"""Intervals resample whole units and admit when they know nothing."""

import math

import numpy as np
import pytest

from gateline.stats import resample_statistic, resample_units, units_needed


def clustered(seed, *, days=30, rows=20, day_sd=1.0, row_sd=1.0):
    """Rows that share the effect of their day; the true mean is 0."""
    generator = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), rows)
    values = generator.normal(0, day_sd, days)[day] + generator.normal(0, row_sd, days * rows)
    return values, day


def coverage_of_zero(units_of, *, datasets=300, resamples=400):
    hits = 0
    for seed in range(datasets):
        values, day = clustered(seed)
        found = resample_units(values, units_of(day), seed=seed, resamples=resamples)
        hits += found.lower <= 0 <= found.upper
    return hits / datasets


def test_the_interval_by_day_covers_the_truth_on_rows_clustered_by_day():
    # 95 % wanted; 300 data sets have a standard error of 1.3 points, and 30 units cost about 2.
    assert 0.90 <= coverage_of_zero(lambda day: day) <= 0.98


def test_the_interval_by_row_is_too_narrow_on_rows_clustered_by_day():
    assert coverage_of_zero(lambda day: np.arange(len(day)), datasets=120, resamples=200) < 0.6


def test_the_interval_by_row_covers_when_rows_are_independent():
    hits = 0
    for seed in range(300):
        values = np.random.default_rng(seed).exponential(1.0, 200)
        found = resample_units(values, np.arange(200), seed=seed, resamples=400)
        hits += found.lower <= 1 <= found.upper
    assert 0.91 <= hits / 300 <= 0.98


def test_the_half_width_agrees_with_the_linearised_standard_error():
    values, day = clustered(1, days=200)
    found = resample_units(values, day, seed=1)
    means = values.reshape(200, -1).mean(axis=1)
    expected = 1.96 * means.std(ddof=1) / math.sqrt(200)
    assert (found.upper - found.lower) / 2 == pytest.approx(expected, rel=0.06)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values, day = clustered(2)
    assert resample_units(values, day, seed=5) == resample_units(values, day, seed=5)
    assert resample_units(values, day, seed=5) != resample_units(values, day, seed=6)


def test_units_may_be_strings_and_their_row_order_does_not_matter():
    values, day = clustered(3, row_sd=0.0)
    names = np.array([f"day-{number:03d}" for number in day])
    order = np.random.default_rng(0).permutation(len(values))
    by_number = resample_units(values, day, seed=1)
    by_name = resample_units(values[order], names[order], seed=1)
    assert by_name.lower == pytest.approx(by_number.lower, abs=1e-12)
    assert by_name.upper == pytest.approx(by_number.upper, abs=1e-12)


def test_large_units_keep_their_weight():
    values = np.concatenate([np.zeros(900), np.ones(100)])
    units = np.concatenate([np.zeros(900), np.ones(100)])
    found = resample_units(values, units, seed=1)
    assert (found.lower, found.upper) == (0.0, 1.0)
    rates = resample_statistic(np.array([[0.0, 900.0], [100.0, 100.0]]), lambda t: t[:, 0] / t[:, 1], seed=1, level=0.2)
    assert rates.lower <= 0.1 <= rates.upper


@pytest.mark.parametrize("rows", [0, 1, 50])
def test_fewer_than_two_units_give_the_infinite_interval(rows):
    found = resample_units(np.ones(rows), np.zeros(rows), seed=1)
    assert (found.lower, found.upper) == (-math.inf, math.inf)


def test_a_statistic_that_is_often_undefined_widens_the_interval():
    # Rate among rows that only two of twenty units have: 12 % of resamples draw neither.
    sums = np.zeros((20, 2))
    sums[:2] = [[1.0, 2.0], [1.0, 2.0]]
    found = resample_statistic(sums, lambda t: t[:, 0] / t[:, 1], seed=1)
    assert (found.lower, found.upper) == (-math.inf, math.inf)


def test_the_general_form_agrees_with_the_mean_of_rows():
    values, day = clustered(4)
    sums = np.column_stack([np.bincount(day, weights=values), np.bincount(day)])
    assert resample_units(values, day, seed=9) == resample_statistic(sums, lambda t: t[:, 0] / t[:, 1], seed=9)


def test_many_units_are_drawn_in_blocks_with_all_resamples_filled():
    values = np.random.default_rng(1).normal(size=30_000)
    found = resample_units(values, np.arange(30_000), seed=1, resamples=200)
    assert found.upper - found.lower == pytest.approx(2 * 1.96 / math.sqrt(30_000), rel=0.2)


def test_the_needed_units_give_the_wanted_half_width():
    values, day = clustered(5, days=60)
    needed = units_needed(values, day, half_width=0.1)
    more, days = clustered(6, days=needed)
    found = resample_units(more, days, seed=1, resamples=1000)
    assert (found.upper - found.lower) / 2 == pytest.approx(0.1, rel=0.25)


def test_a_tenth_of_the_half_width_needs_a_hundred_times_the_units():
    values, day = clustered(7)
    wide, narrow = (units_needed(values, day, half_width=width) for width in (0.1, 0.01))
    assert narrow == pytest.approx(100 * wide, rel=0.01)


def test_identical_units_need_two():
    assert units_needed(np.ones(10), np.arange(10), half_width=0.1) == 2


def test_wrong_inputs_are_refused_with_a_sentence():
    values, day = clustered(8)
    with pytest.raises(ValueError, match="equally long"):
        resample_units(values, day[1:], seed=1)
    with pytest.raises(ValueError, match="1 of 600 values are not finite"):
        resample_units(np.where(np.arange(600) == 3, np.nan, values), day, seed=1)
    with pytest.raises(ValueError, match="level"):
        resample_units(values, day, seed=1, level=95)
    with pytest.raises(ValueError, match="resamples"):
        resample_units(values, day, seed=1, resamples=0)
    with pytest.raises(ValueError, match="shape"):
        resample_statistic(values, lambda t: t[:, 0], seed=1)
    with pytest.raises(ValueError, match="combine must return"):
        resample_statistic(np.ones((3, 2)), lambda t: t, seed=1)
    with pytest.raises(ValueError, match="at least 2 units"):
        units_needed(values, np.zeros(600), half_width=0.1)
    with pytest.raises(ValueError, match="half_width"):
        units_needed(values, day, half_width=0.0)
