"""Corrections for many tests agree with SciPy and keep their promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from gateline.stats import benjamini_hochberg, holm

REPEATABLE = settings(derandomize=True, deadline=None)  # the same examples in every run

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@REPEATABLE
@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.2]))
def test_benjamini_hochberg_rejects_what_scipy_adjusts_below_q(p_values, q):
    adjusted = false_discovery_control(p_values)
    clear = np.abs(adjusted - q) > 1e-12  # rounding decides at exact equality
    assert (benjamini_hochberg(p_values, q) == (adjusted <= q))[clear].all()


@REPEATABLE
@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_at_least_bonferroni_and_at_most_benjamini_hochberg(p_values, alpha):
    rejected = holm(p_values, alpha)
    bonferroni = np.array(p_values) < alpha / len(p_values) * (1 - 1e-12)
    assert (rejected >= bonferroni).all()
    assert (rejected <= benjamini_hochberg(p_values, alpha)).all()


def test_holm_stops_at_the_first_that_fails():
    assert holm([0.04, 0.01, 0.03, 0.005], 0.05).tolist() == [False, True, False, True]


def test_without_any_effect_both_reject_in_at_most_their_budget_of_families():
    families = np.random.default_rng(1).uniform(size=(2000, 20))
    for decide in (benjamini_hochberg, holm):
        share = np.mean([decide(p, 0.05).any() for p in families])
        assert 0.03 <= share <= 0.065


def test_nothing_to_test_rejects_nothing():
    assert benjamini_hochberg([], 0.05).tolist() == []
    assert holm([], 0.05).tolist() == []


@pytest.mark.parametrize("decide", [benjamini_hochberg, holm])
def test_a_p_value_that_is_none_of_the_kind_is_refused(decide):
    with pytest.raises(ValueError, match="without NaN"):
        decide([0.1, float("nan")], 0.05)
    with pytest.raises(ValueError, match="without NaN"):
        decide([1.1], 0.05)
    with pytest.raises(ValueError, match="budget"):
        decide([0.1], 5)
