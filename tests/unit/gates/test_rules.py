"""Verdicts from numbers, and the sentences that say them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateline.gates import Sense, Verdict
from gateline.gates.rules import (
    combine,
    figures,
    judge,
    judge_champion,
    measured,
    policy_is_too_late,
    quantile_bounds,
    samples_needed,
    undecided,
)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [((0.010, 0.2), "pass"), ((0.0099, 0.2), "inconclusive"), ((-0.1, 0.010), "inconclusive"), ((-0.1, 0.0099), "fail")],
)
def test_at_least_is_decided_by_the_worse_end(interval, verdict):
    assert judge(0.05, interval, 0.010, Sense.AT_LEAST) == verdict
    assert judge(-0.05, (-interval[1], -interval[0]), -0.010, Sense.AT_MOST) == verdict


def test_an_exact_value_never_is_inconclusive():
    assert judge(0.0, None, 0.0, Sense.AT_MOST) is Verdict.PASS
    assert judge(1.0, None, 0.0, Sense.AT_MOST) is Verdict.FAIL


@pytest.mark.parametrize(
    "numbers", [(math.nan, (0.0, 1.0), 0.0), (0.5, (math.nan, 1.0), 0.0), (0.5, (0.0, math.nan), 0.0), (0.5, None, math.nan)]
)
def test_what_is_no_number_is_an_error(numbers):
    value, interval, threshold = numbers
    assert judge(value, interval, threshold, Sense.AT_LEAST) is Verdict.ERROR


def test_the_champion_stays_unless_the_whole_interval_says_better():
    assert judge_champion((-0.02, -0.0001), 0.0) is Verdict.PASS
    assert judge_champion((-0.02, 0.0), 0.0) is Verdict.INCONCLUSIVE
    assert judge_champion((-0.02, -0.0049), 0.005) is Verdict.INCONCLUSIVE
    assert judge_champion((0.0001, 0.02), 0.0) is Verdict.FAIL
    assert judge_champion((math.nan, 0.02), 0.0) is Verdict.ERROR


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ("pass pass", "pass"), ("pass inconclusive", "inconclusive"), ("inconclusive error", "error"), ("error fail", "fail"),
        ("pass fail inconclusive", "fail"), ("", "error"),
    ],
)  # fmt: skip
def test_verdicts_combine_to_the_worst_that_is_known(verdicts, expected):
    assert combine([Verdict(one) for one in verdicts.split()]) == expected


def test_the_sentence_quotes_both_numbers_with_n_and_units():
    what = "log loss improves on the base-rate baseline by"
    sentence = measured(what, 0.061, (0.048, 0.074), "28 days (26,412 rows)", 0.01, Sense.AT_LEAST)
    assert sentence == (
        "log loss improves on the base-rate baseline by 0.061 [0.048, 0.074] over 28 days (26,412 rows); required at least 0.010"
    )


def test_numbers_close_to_the_threshold_are_told_apart():
    assert figures(0.00999, 0.01) == ["0.00999", "0.01000"]
    assert figures(49.999, 50.0) == ["49.999", "50.000"]
    assert figures(0.0, 0.0) == ["0.000", "0.000"]
    assert figures(0.1, -0.0, -0.00001) == ["0.100", "0.000", "0.000"]


def test_what_is_missing_is_said_in_units():
    assert undecided(1, "day") == "; undecided, about 1 more day is needed"
    assert undecided(None, "day").startswith("; undecided")


def test_the_bounds_of_the_99th_percentile_cover_it_as_often_as_promised():
    generator = np.random.default_rng(5)
    truth = -math.log(0.01)
    draws = [quantile_bounds(generator.exponential(size=400), 0.99, 0.95) for _ in range(2000)]
    assert np.mean([upper >= truth for _, _, upper in draws]) >= 0.94
    assert np.mean([lower <= truth for _, lower, _ in draws]) >= 0.94


def test_too_few_samples_bound_nothing_from_above():
    needed = samples_needed(0.99, 0.95)
    assert quantile_bounds(np.arange(needed - 1.0), 0.99, 0.95)[2] is None
    assert quantile_bounds(np.arange(float(needed)), 0.99, 0.95)[2] == needed - 1


def test_a_policy_recorded_after_the_first_look_is_too_late():
    assert policy_is_too_late(11, 10)
    assert not policy_is_too_late(10, 10)
    assert not policy_is_too_late(11, None)
