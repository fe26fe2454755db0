"""Distances agree with SciPy, are 0 on identical samples and near their noise floor without change."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp

from gateline.stats import (
    chi2_homogeneity_from_counts,
    js_distance_from_counts,
    js_divergence_from_counts,
    ks_from_counts,
    ks_two_sample,
    psi_from_counts,
    total_variation_from_counts,
)

REPEATABLE = settings(derandomize=True, deadline=None)  # the same examples in every run

FROM_COUNTS = [
    chi2_homogeneity_from_counts,
    js_distance_from_counts,
    js_divergence_from_counts,
    ks_from_counts,
    psi_from_counts,
    total_variation_from_counts,
]
SYMMETRIC = FROM_COUNTS
TIED = st.lists(st.integers(-3, 3).map(float), min_size=3, max_size=40)
LOOSE = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=40)


@st.composite
def tables(draw):
    bins = draw(st.integers(2, 12))
    rows = st.lists(st.integers(0, 500), min_size=bins, max_size=bins).filter(any)
    return np.array(draw(rows)), np.array(draw(rows))


@REPEATABLE
@given(st.one_of(TIED, LOOSE), st.one_of(TIED, LOOSE))
def test_ks_is_scipys_distance_and_asymptotic_p_value(reference, current):
    found = ks_two_sample(reference, current)
    expected = ks_2samp(reference, current, method="asymp")
    assert found.value == pytest.approx(expected.statistic, abs=1e-9)
    assert found.p_value == pytest.approx(float(expected.pvalue), abs=1e-9)


@REPEATABLE
@given(tables())
def test_distances_from_counts_are_scipys(table):
    a, b = table
    divergence = jensenshannon(a, b, base=2) ** 2
    assert js_divergence_from_counts(a, b).value == pytest.approx(divergence, abs=1e-9)
    seen = a + b > 0
    if seen.sum() > 1:
        expected = chi2_contingency([a[seen], b[seen]], correction=False)
        found = chi2_homogeneity_from_counts(a, b)
        assert found.value == pytest.approx(expected.statistic, rel=1e-9, abs=1e-9)
        assert found.p_value == pytest.approx(expected.pvalue, abs=1e-9)
        assert found.noise_floor == expected.dof
        assert total_variation_from_counts(a, b).p_value == found.p_value
    rows = np.arange(len(a))
    expected_ks = ks_2samp(np.repeat(rows, a), np.repeat(rows, b), method="asymp")
    assert ks_from_counts(a, b).value == pytest.approx(expected_ks.statistic, abs=1e-9)


@pytest.mark.parametrize("distance", FROM_COUNTS)
@REPEATABLE
@given(table=tables())
def test_a_distance_is_zero_on_identical_counts_symmetric_and_never_negative(distance, table):
    a, b = table
    assert distance(a, a).value == pytest.approx(0.0, abs=1e-12)
    found, mirrored = distance(a, b), distance(b, a)
    assert found.value >= 0
    assert found.value == pytest.approx(mirrored.value, rel=1e-9, abs=1e-12)
    assert found.noise_floor == pytest.approx(mirrored.noise_floor)
    assert found.definition
    assert found.p_value is None or 0 <= found.p_value <= 1


def test_identical_samples_have_distance_zero_and_p_value_one():
    values = np.random.default_rng(1).normal(size=500)
    found = ks_two_sample(values, values[::-1])
    assert (found.value, found.p_value) == (0.0, 1.0)
    assert chi2_homogeneity_from_counts([5, 0], [7, 0]).p_value == 1.0


def test_one_row_on_each_side_is_enough_for_ks_but_proves_nothing():
    found = ks_two_sample([0.0], [1.0])
    assert found.value == 1.0
    assert found.noise_floor > 1


def test_nan_are_dropped_and_infinities_are_kept_by_ks():
    assert ks_two_sample([1.0, math.nan], [1.0, 1.0]).value == 0.0
    assert ks_two_sample([1.0, 2.0], [math.inf, 1.0]).value == 0.5


def test_one_outlier_in_the_reference_does_not_blind_ks():
    generator = np.random.default_rng(6)
    reference = np.append(generator.normal(size=20_000), 1e6)
    assert ks_two_sample(reference, generator.normal(0.3, 1, 20_000)).value > 0.1


def test_an_empty_side_is_not_a_number_and_never_a_pass():
    for found in [*(f([0, 0], [1, 2]) for f in FROM_COUNTS), ks_two_sample([math.nan], [1.0])]:
        assert math.isnan(found.value)
        assert math.isinf(found.noise_floor)
        assert found.p_value is None


def test_a_new_bin_costs_a_finite_psi_set_by_the_floor():
    expected = (0.05 - 1e-4) * math.log(0.05 / 1e-4) + 0.05 * math.log(1 / 0.95)
    assert psi_from_counts([1000, 0], [950, 50]).value == pytest.approx(expected, abs=1e-12)
    assert psi_from_counts([1000, 0], [950, 50], floor=0.01).value < expected


@pytest.mark.parametrize(
    ("distance", "rel"),
    [
        (psi_from_counts, 0.1),
        (js_distance_from_counts, 0.1),
        (js_divergence_from_counts, 0.1),
        (total_variation_from_counts, 0.05),
        (chi2_homogeneity_from_counts, 0.06),
    ],
)
def test_the_noise_floor_is_the_mean_distance_without_change(distance, rel):
    generator = np.random.default_rng(3)
    shares = np.arange(1, 11) / 55
    pairs = [(generator.multinomial(5000, shares), generator.multinomial(1000, shares)) for _ in range(600)]
    found = [distance(a, b) for a, b in pairs]
    mean = np.mean([one.value for one in found])
    assert mean == pytest.approx(np.mean([one.noise_floor for one in found]), rel=rel)


def test_the_noise_floor_of_ks_is_its_mean_without_change():
    generator = np.random.default_rng(4)
    found = [ks_two_sample(generator.normal(size=2000), generator.normal(size=1000)) for _ in range(300)]
    assert np.mean([one.value for one in found]) == pytest.approx(found[0].noise_floor, rel=0.06)


def test_the_homogeneity_test_keeps_its_size_without_change():
    generator = np.random.default_rng(5)
    shares = 1 / np.arange(1, 21)
    shares /= shares.sum()
    p_values = [
        chi2_homogeneity_from_counts(generator.multinomial(5000, shares), generator.multinomial(5000, shares)).p_value for _ in range(1000)
    ]
    assert 0.03 <= np.mean(np.array(p_values) < 0.05) <= 0.07


def test_unequal_bins_and_negative_counts_are_refused():
    with pytest.raises(ValueError, match="same bins"):
        psi_from_counts([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="0 or more"):
        psi_from_counts([1, -2], [1, 2])
