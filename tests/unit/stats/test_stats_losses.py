"""Losses and the AUC have their textbook values, and the AUC interval covers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from gateline.stats import auc, auc_interval, brier_rows, calibration_gap, log_loss_rows, resample_statistic

REPEATABLE = settings(derandomize=True, deadline=None)  # the same examples in every run


def labelled(seed, rows=500):
    generator = np.random.default_rng(seed)
    probability = generator.uniform(0, 1, rows)
    return (generator.uniform(size=rows) < probability).astype(float), probability


def test_losses_have_their_textbook_values():
    y, p = labelled(1)
    expected = [-math.log(b if a else 1 - b) for a, b in zip(y, p, strict=True)]
    assert log_loss_rows(y, p) == pytest.approx(expected, abs=1e-9)
    assert brier_rows(y, p) == pytest.approx((y - p) ** 2, abs=1e-12)
    assert calibration_gap(y, p) == pytest.approx(p.mean() - y.mean(), abs=1e-12)


def test_a_certain_mistake_costs_a_finite_log_loss():
    assert log_loss_rows([1, 0], [0.0, 1.0]) == pytest.approx([-math.log(1e-6)] * 2, rel=1e-9)


@REPEATABLE
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=60))
def test_auc_is_the_mann_whitney_share_of_pairs_with_ties_halved(rows):
    y = np.array([label for label, _ in rows])
    score = np.array([number for _, number in rows], dtype=float)
    found = auc(y, score)
    if y.all() or not y.any():
        assert math.isnan(found)
    else:
        pairs = y.sum() * (~y).sum()
        assert found == pytest.approx(mannwhitneyu(score[y], score[~y]).statistic / pairs, abs=1e-12)


def test_auc_of_an_empty_column_is_nan():
    assert math.isnan(auc([], []))
    assert math.isnan(calibration_gap([], []))


def test_the_auc_interval_by_unit_holds_the_auc_and_repeats_with_its_seed():
    y, p = labelled(2, 2000)
    units = np.repeat(np.arange(100), 20)
    found = auc_interval(y, p, units, seed=3)
    assert found.lower < auc(y, p) < found.upper
    assert found == auc_interval(y, p, units, seed=3)
    # The standard error after Hanley and McNeil (1982) is 0.0091 here.
    assert found.upper - found.lower == pytest.approx(2 * 1.96 * 0.0091, rel=0.25)


def test_the_auc_interval_covers_the_true_auc():
    truth = 5 / 6  # P(score of a positive > score of a negative) for y ~ Bernoulli(p), p uniform
    hits = 0
    for seed in range(100):
        y, p = labelled(seed, 400)
        found = auc_interval(y, p, np.arange(400), seed=seed, resamples=200)
        hits += found.lower <= truth <= found.upper
    assert hits >= 88


def test_the_auc_interval_is_wider_when_whole_days_differ():
    generator = np.random.default_rng(4)
    day = np.repeat(np.arange(30), 40)
    y = (generator.uniform(size=1200) < 0.5).astype(float)
    quality = generator.normal(1.0, 1.5, 30)[day]
    score = y * quality + generator.normal(size=1200)
    by_day = auc_interval(y, score, day, seed=1)
    by_row = auc_interval(y, score, np.arange(1200), seed=1)
    assert by_day.upper - by_day.lower > 2 * (by_row.upper - by_row.lower)


def test_the_auc_interval_knows_nothing_from_one_unit_or_one_class():
    y, p = labelled(5, 50)
    one_unit = auc_interval(y, p, np.zeros(50), seed=1)
    one_class = auc_interval(np.ones(50), p, np.arange(50), seed=1)
    lonely_positive = auc_interval([1.0, *[0.0] * 49], p, np.arange(50), seed=1)
    for found in (one_unit, one_class, lonely_positive):
        assert (found.lower, found.upper) == (0.0, 1.0)


def test_the_calibration_gap_has_an_interval_by_unit_from_its_sums():
    y, p = labelled(6)
    day = np.repeat(np.arange(25), 20)
    sums = np.column_stack([np.bincount(day, weights=p), np.bincount(day, weights=y), np.bincount(day)])
    found = resample_statistic(sums, lambda t: (t[:, 0] - t[:, 1]) / t[:, 2], seed=1)
    assert found.lower < calibration_gap(y, p) < found.upper


def test_labels_other_than_0_and_1_and_unequal_columns_are_refused():
    with pytest.raises(ValueError, match="0 or 1"):
        auc([0, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="equally long"):
        brier_rows([0, 1], [0.1])
