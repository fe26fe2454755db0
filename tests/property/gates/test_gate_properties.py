"""What holds of verdicts whatever the numbers."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateline.gates import Policy, Sense, Verdict, parse_policy
from gateline.gates.checks.slices import chance_this_low
from gateline.gates.rules import combine, figures, judge, judge_champion, quantile_bounds, samples_needed
from gateline.kernel.errors import InvalidInput

numbers = st.floats(-1e6, 1e6)
verdicts = st.lists(st.sampled_from(Verdict), max_size=8)
senses = st.sampled_from(Sense)


@st.composite
def intervals(draw: st.DrawFn) -> tuple[float, float, float]:
    """Return a value with the ends of an interval around it."""
    lower, value, upper = sorted(draw(st.tuples(numbers, numbers, numbers)))
    return value, lower, upper


@given(intervals(), numbers, senses)
def test_pass_means_that_every_value_of_the_interval_meets_the_threshold(found, threshold, sense):
    value, lower, upper = found
    meets = [one >= threshold if sense is Sense.AT_LEAST else one <= threshold for one in (lower, upper)]
    expected = Verdict.PASS if all(meets) else Verdict.INCONCLUSIVE if any(meets) else Verdict.FAIL
    assert judge(value, (lower, upper), threshold, sense) is expected


@given(intervals(), numbers, numbers, senses)
def test_asking_for_more_never_helps(found, first, second, sense):
    value, lower, upper = found
    order = [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS]
    easy, hard = sorted((first, second)) if sense is Sense.AT_LEAST else sorted((first, second), reverse=True)
    assert order.index(judge(value, (lower, upper), hard, sense)) <= order.index(judge(value, (lower, upper), easy, sense))


@given(intervals(), numbers, senses)
def test_a_wider_interval_never_decides_more(found, threshold, sense):
    value, lower, upper = found
    wide = judge(value, (lower - 1, upper + 1), threshold, sense)
    assert wide is Verdict.INCONCLUSIVE or wide is judge(value, (lower, upper), threshold, sense)


@given(st.sampled_from([0, 1, 2, 3]), senses)
def test_no_nan_is_ever_a_pass(position, sense):
    numbers_given = [0.0, 0.0, 0.0, 0.0]
    numbers_given[position] = math.nan
    value, lower, upper, threshold = numbers_given
    assert judge(value, (lower, upper), threshold, sense) is Verdict.ERROR


@given(intervals(), st.floats(0, 10))
def test_a_champion_falls_only_to_an_interval_wholly_below_the_margin(found, margin):
    _, lower, upper = found
    verdict = judge_champion((lower, upper), margin)
    assert (verdict is Verdict.PASS) == (upper < -margin)
    assert (verdict is Verdict.FAIL) == (lower > 0)


@given(verdicts, st.randoms(use_true_random=False))
def test_the_whole_passes_only_when_every_part_passes_in_any_order(found, order):
    shuffled = list(found)
    order.shuffle(shuffled)
    assert combine(found) is combine(shuffled)
    assert (combine(found) is Verdict.PASS) == (bool(found) and all(one is Verdict.PASS for one in found))


@given(verdicts, st.sampled_from(Verdict))
def test_a_further_check_never_opens_a_gate(found, further):
    if combine(found) is not Verdict.PASS and found:
        assert combine([*found, further]) is not Verdict.PASS


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=600), st.floats(0.5, 0.999))
def test_order_statistics_bracket_the_quantile_and_need_enough_samples(samples, level):
    value, lower, upper = quantile_bounds(np.array(samples), 0.99, level)
    assert lower <= value
    assert (upper is None) == (len(samples) < samples_needed(0.99, level))
    assert upper is None or value <= upper


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_numbers_that_differ_by_a_millionth_are_told_apart(value, threshold):
    shown = figures(value, threshold)
    if abs(value - threshold) > 2e-6:
        assert shown[0] != shown[1]


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 6)), min_size=8), st.floats(-5, 5))
def test_the_chance_of_a_mean_this_low_grows_with_the_mean(rows, threshold):
    values, units = np.array([one[0] for one in rows]), np.array([one[1] for one in rows])
    if len(np.unique(units)) >= 2:
        chance = chance_this_low(values, units, threshold)
        assert 0 <= chance <= 1
        assert chance <= chance_this_low(values, units, threshold - 1) + 1e-12


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=3)
names = st.sampled_from(["suite", "level", "seed", "label", "holdout", "slices", "improvement_min", "units_min", "columns", "other"])


def outcome(document: dict[str, object]) -> tuple[Policy | None, InvalidInput | None]:
    """Return the policy of a document, or why it is refused."""
    try:
        return parse_policy(document), None
    except InvalidInput as error:
        return None, error


@given(st.dictionaries(names, leaves | st.dictionaries(names, leaves, max_size=4), max_size=5))
def test_any_document_is_a_policy_or_is_refused_with_every_mistake_named(document):
    policy, refusal = outcome(document)
    if policy is None:
        assert refusal is not None
        assert refusal.facts["mistakes"]
        return
    assert parse_policy(policy.as_dict()).digest == policy.digest
