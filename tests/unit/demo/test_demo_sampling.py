"""The sample of requests is a function of the seed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateline.demo.sampling import sample_positions


@given(count=st.integers(1, 500), wanted=st.integers(1, 600), seed=st.integers(0, 5))
def test_a_sample_is_the_same_for_the_same_seed_sorted_and_without_repetition(count, wanted, seed):
    first, second = sample_positions(count, wanted, seed), sample_positions(count, wanted, seed)
    assert np.array_equal(first, second)
    assert len(first) == min(count, wanted)
    assert np.array_equal(first, np.unique(first))
    assert first.min() >= 0
    assert first.max() < count


@given(seed=st.integers(0, 20), small=st.integers(1, 100), more=st.integers(0, 100))
def test_a_smaller_sample_is_part_of_every_larger_one(seed, small, more):
    larger = set(sample_positions(1000, small + more, seed).tolist())
    assert set(sample_positions(1000, small, seed).tolist()) <= larger


def test_another_seed_gives_another_sample():
    assert not np.array_equal(sample_positions(1000, 100, 1), sample_positions(1000, 100, 2))


def test_without_a_number_every_row_is_taken():
    assert sample_positions(7, None, 3).tolist() == list(range(7))
