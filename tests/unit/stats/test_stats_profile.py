"""Profiles count on frozen edges, add up exactly and carry what a drift verdict needs."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateline.stats import (
    Edges,
    Profile,
    categorical_edges,
    compare,
    ks_two_sample,
    null_share,
    numeric_edges,
    profile_categorical,
    profile_numeric,
)

REPEATABLE = settings(derandomize=True, deadline=None)  # the same examples in every run

NUMBERS = st.lists(st.one_of(st.floats(-1e9, 1e9), st.integers(0, 3).map(float), st.just(math.nan)), max_size=60)
NAMES = st.lists(st.one_of(st.sampled_from("abcdef"), st.none()), max_size=60)
REFERENCE = np.random.default_rng(1).normal(size=20_000)
EDGES = numeric_edges(REFERENCE)


def by_name(distances):
    return {found.name: found for found in distances}


@REPEATABLE
@given(NUMBERS, NUMBERS, st.integers(2, 30))
def test_merging_numeric_windows_equals_profiling_them_together(first, second, bins):
    edges = numeric_edges(first, bins=bins)
    a, b = profile_numeric(first, edges), profile_numeric(second, edges)
    together = profile_numeric([*first, *second], edges)
    merged = a.merge(b)
    assert merged == b.merge(a)
    assert merged.counts.tolist() == together.counts.tolist()
    assert (merged.count, merged.minimum, merged.maximum) == (together.count, together.minimum, together.maximum)
    assert merged.total == pytest.approx(together.total, rel=1e-9, abs=1e-3)
    assert merged.total_squares == pytest.approx(together.total_squares, rel=1e-9)


@REPEATABLE
@given(NAMES, NAMES, NAMES)
def test_merging_categorical_windows_is_exact_in_any_grouping(reference, first, second):
    edges = categorical_edges(reference)
    a, b, c = (profile_categorical(names, edges) for names in (reference, first, second))
    assert a.merge(b).merge(c) == c.merge(b.merge(a)) == profile_categorical([*reference, *first, *second], edges)


@REPEATABLE
@given(NUMBERS, NUMBERS)
def test_a_numeric_profile_survives_json_to_the_last_bit(reference, values):
    profile = profile_numeric(values, numeric_edges(reference))
    again = Profile.from_dict(json.loads(json.dumps(profile.as_dict(), allow_nan=False)))
    assert again == profile
    assert hash(again) == hash(profile)
    assert again.as_dict() == profile.as_dict()


@REPEATABLE
@given(NAMES, NAMES)
def test_a_categorical_profile_survives_json(reference, values):
    profile = profile_categorical(values, categorical_edges(reference))
    assert Profile.from_dict(json.loads(json.dumps(profile.as_dict()))) == profile


@REPEATABLE
@given(NUMBERS.filter(lambda values: not all(map(math.isnan, values))))
def test_a_window_compared_with_itself_is_at_distance_zero(values):
    profile = profile_numeric(values, numeric_edges(values))
    assert [found.value for found in compare(profile, profile)] == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)
    assert null_share(profile, profile).value == 0.0


@REPEATABLE
@given(NUMBERS, NUMBERS, st.integers(2, 12))
def test_coarse_bins_keep_every_row(reference, values, bins):
    edges = numeric_edges(reference)
    fixed, window = profile_numeric(reference, edges), profile_numeric(values, edges)
    joined = window.coarse(bins, reference=fixed)
    assert joined.sum() == len(values)
    assert joined[-1] == window.nulls
    assert len(joined) <= bins + 3


def test_default_edges_split_the_reference_into_256_equal_bins():
    profile = profile_numeric(REFERENCE, EDGES)
    assert len(EDGES.inner) == 255
    assert EDGES.slots == len(profile.counts) == 257
    assert profile.counts[:-1].min() >= 78
    assert profile.counts[:-1].max() <= 79


def test_coarse_bins_hold_about_a_tenth_of_the_reference_each():
    profile = profile_numeric(REFERENCE, EDGES)
    shares = profile.coarse()[:-1] / profile.count
    assert len(shares) == 10
    assert shares == pytest.approx(np.full(10, 0.1), abs=0.004)


def test_a_value_on_an_edge_belongs_to_the_bin_below_it():
    edges = Edges(kind="numeric", inner=(1.0, 2.0), categories=())
    assert profile_numeric([1.0, 1.5, 2.0, 2.1, -9.0, None], edges).counts.tolist() == [2, 2, 1, 1]


def test_infinities_are_counted_in_the_end_bins_and_kept_out_of_the_moments():
    edges = numeric_edges([1.0, 2.0, math.inf])
    profile = profile_numeric([math.inf, -math.inf, 1.5], edges)
    assert (profile.counts[0], profile.counts[-2], profile.nulls) == (1, 1, 0)
    assert (profile.minimum, profile.maximum, profile.total, profile.total_squares) == (1.5, 1.5, 1.5, 2.25)


def test_the_binned_ks_is_within_one_bin_of_the_exact_one():
    current = np.random.default_rng(2).normal(0.2, 1, 5000)
    exact = ks_two_sample(REFERENCE, current)
    binned = by_name(compare(profile_numeric(REFERENCE, EDGES), profile_numeric(current, EDGES)))["ks"]
    assert exact.value - 1 / 256 <= binned.value <= exact.value
    assert binned.noise_floor == exact.noise_floor


@pytest.mark.parametrize("value", [2.0, 3.0])
def test_a_constant_column_that_moves_up_or_down_is_seen_by_every_distance(value):
    reference = np.full(1000, 2.5)
    edges = numeric_edges(reference)
    found = compare(profile_numeric(reference, edges), profile_numeric(np.full(1000, value), edges))
    assert [round(one.value, 6) for one in found[::2]] == [1.0, 1.0]
    assert found[1].value > 10


def test_a_null_outbreak_is_seen_by_psi_and_the_null_share_though_not_by_ks():
    holes = REFERENCE.copy()
    holes[::2] = np.nan
    reference, current = (profile_numeric(values, EDGES) for values in (REFERENCE, holes))
    found = by_name(compare(reference, current))
    assert found["ks"].value < 0.02
    assert found["psi"].value > 1
    share = null_share(reference, current)
    assert (share.name, share.value) == ("null_share", 0.5)
    assert share.p_value < 1e-9


def test_a_column_that_became_all_null_has_no_ks_but_the_largest_null_share():
    gone = profile_numeric(np.full(100, np.nan), EDGES)
    reference = profile_numeric(REFERENCE, EDGES)
    assert math.isnan(by_name(compare(reference, gone))["ks"].value)
    assert by_name(compare(reference, gone))["psi"].value > 5
    assert null_share(reference, gone).value == 1.0


def test_unseen_categories_are_counted_together_and_named_distances_come_in_order():
    edges = categorical_edges(np.array(["a", "a", "b"], dtype=object))
    reference = profile_categorical(["a", "a", "b"], edges)
    current = profile_categorical(np.array(["a", "zebra", None, math.nan], dtype=object), edges)
    assert current.counts.tolist() == [1, 0, 1, 2]
    assert current.nulls == 2
    found = compare(reference, current)
    assert [one.name for one in found] == ["total_variation", "psi", "js_distance"]
    assert found[0].value == pytest.approx(0.75)
    assert all("unseen" in one.definition for one in found)


def test_at_most_200_categories_are_kept_the_most_frequent_first():
    names = [f"c{number:03d}" for number in range(300)] + ["c299"] * 5
    edges = categorical_edges(names)
    assert len(edges.categories) == 200
    assert edges.categories[:2] == ("c299", "c000")
    assert profile_categorical(names, edges).counts[-2] == 100


def test_numpy_text_and_python_text_are_the_same_category():
    names = ["x", "y", "x"]
    assert categorical_edges(np.array(names)) == categorical_edges(names)


def test_an_empty_reference_gives_one_open_bin():
    edges = numeric_edges([math.nan])
    assert profile_numeric([1.0, None], edges).counts.tolist() == [1, 1]
    assert profile_categorical([None, "a"], categorical_edges([])).counts.tolist() == [1, 1]


def test_profiles_are_frozen_and_their_counts_read_only():
    profile = profile_numeric([1.0], EDGES)
    with pytest.raises(ValueError, match="read-only"):
        profile.counts[0] = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.count = 3
    assert profile != profile_numeric([-9.0], EDGES)


def test_what_does_not_fit_together_is_refused():
    one, other = profile_numeric([1.0], EDGES), profile_numeric([1.0], numeric_edges([1.0, 2.0]))
    for action in (one.merge, lambda p: compare(one, p), lambda p: one.coarse(reference=p)):
        with pytest.raises(ValueError, match="different edges"):
            action(other)
    stored = one.as_dict()
    with pytest.raises(ValueError, match="counts must be"):
        Profile.from_dict(stored | {"counts": [1]})
    with pytest.raises(ValueError, match="add up to"):
        Profile.from_dict(stored | {"count": 2})
    with pytest.raises(ValueError, match="categorical edges"):
        profile_categorical(["a"], EDGES)
    with pytest.raises(ValueError, match="numeric edges"):
        profile_numeric([1.0], categorical_edges(["a"]))
    with pytest.raises(ValueError, match="bins"):
        numeric_edges([1.0], bins=1)


@pytest.mark.parametrize(
    ("kind", "inner", "categories", "message"),
    [
        ("numeric", (2.0, 1.0), (), "increasing"),
        ("numeric", (math.inf,), (), "finite"),
        ("numeric", (), ("a",), "not both"),
        ("categorical", (), ("a", "a"), "distinct"),
        ("ordinal", (), (), "kind"),
    ],
)
def test_edges_that_make_no_sense_are_refused(kind, inner, categories, message):
    with pytest.raises(ValueError, match=message):
        Edges(kind=kind, inner=inner, categories=categories)
