"""When two values are the same, what a shift explains, and what a run says."""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest

from gateline.kernel.clock import DAY, HOUR, SECOND, parse_iso
from gateline.kernel.errors import InvalidInput
from gateline.monitoring import ParityPlan, State, parity_plan_from_dict
from gateline.monitoring.parity_model import FeatureParity, Lag, RequestCounts, severity
from gateline.monitoring.parity_rules import (
    compare_feature,
    day_end,
    estimate_lag,
    is_closed,
    is_overdue,
    is_sampled,
    judge_run,
    outcomes,
    sampled,
    smape,
)
from gateline.monitoring.parity_words import stale_sentence

PLAN = ParityPlan(feature_set="order_risk", rows_min=10)
AGREE, MISMATCH, MISSING, EXTRA = range(4)


def one(served, offline, served_type=pl.Float64, offline_type=pl.Float64) -> int:
    return outcomes(pl.Series([served], dtype=served_type), pl.Series([offline], dtype=offline_type)).item()


@pytest.mark.parametrize(
    ("served", "offline", "expected"),
    [
        (1.0, 1.0 + 1e-10, AGREE),
        (1.0, 1.0 + 1e-8, MISMATCH),
        (1e300, 1e300 * (1 + 1e-10), AGREE),
        (0.0, 1e-300, MISMATCH),
        (0.0, -0.0, AGREE),
        (math.nan, None, AGREE),
        (math.nan, 1.0, MISSING),
        (1.0, math.nan, EXTRA),
        (math.inf, 1.0, MISMATCH),
        (math.inf, math.inf, AGREE),
        (-math.inf, math.inf, MISMATCH),
        (1.7e308, -1.7e308, MISMATCH),
    ],
)
def test_fractions_agree_within_a_relative_tolerance(served, offline, expected):
    assert one(served, offline) == expected


@pytest.mark.parametrize(
    ("served", "offline", "expected"),
    [(3.0, 3, AGREE), (3.0000000001, 3, MISMATCH), (1e15 + 1, 10**15, MISMATCH), (float(2**53 + 2), 2**53 + 2, AGREE), (None, 0, MISSING)],
)
def test_whole_numbers_agree_exactly_as_the_log_keeps_them(served, offline, expected):
    assert one(served, offline, offline_type=pl.Int64) == expected


@pytest.mark.parametrize(
    ("served", "offline", "kind", "expected"),
    [
        ("4", 4, pl.Int64, AGREE),
        ("4.0", 4, pl.Int64, AGREE),
        ("four", 4, pl.Int64, MISMATCH),
        ("9007199254740993", 9007199254740993, pl.Int64, AGREE),
        ("9007199254740993", 9007199254740992, pl.Int64, MISMATCH),
        ("0.1", 0.1, pl.Float64, AGREE),
        ("true", True, pl.Boolean, AGREE),
        ("False", False, pl.Boolean, AGREE),
        ("1", True, pl.Boolean, AGREE),
        ("true", False, pl.Boolean, MISMATCH),
        ("a", "a", pl.String, AGREE),
        ("a", "A", pl.String, MISMATCH),
        ("", None, pl.String, EXTRA),
        (None, "a", pl.String, MISSING),
    ],
)
def test_texts_agree_with_what_they_say(served, offline, kind, expected):
    assert one(served, offline, pl.String, kind) == expected


def test_numbers_served_for_texts_and_truth_values_are_compared_too():
    assert one(1.0, True, offline_type=pl.Boolean) == AGREE
    assert one(0.0, True, offline_type=pl.Boolean) == MISMATCH
    assert one(4.0, "4", offline_type=pl.String) == AGREE
    assert one(4.0, "four", offline_type=pl.String) == MISMATCH
    assert one(None, "four", offline_type=pl.String) == MISSING


def test_smape_is_bounded_and_undefined_for_texts():
    assert smape(pl.Series([1.0, 3.0]), pl.Series([1.0, 1.0])) == pytest.approx(0.5)
    assert smape(pl.Series([math.inf]), pl.Series([1.0])) == 2
    assert smape(pl.Series([1.7e308]), pl.Series([-1.7e308])) == 2
    assert smape(pl.Series([1.0]), pl.Series([True])) == 0
    assert smape(pl.Series(["a"]), pl.Series(["b"])) is None
    assert smape(pl.Series([None], dtype=pl.Float64), pl.Series([1.0])) is None


def test_the_lag_is_the_shift_that_explains_most_and_the_smallest_of_equals():
    served = pl.Series([1.0, 2.0, 3.0, 4.0])
    earlier = {
        60: pl.Series([9.0, 9.0, 9.0, None]),
        300: pl.Series([1.0, 2.0, 3.0, 9.0]),
        900: pl.Series([1.0, 2.0, 3.0, None]),
        3600: pl.Series([1.0, None, None, None]),
    }
    assert estimate_lag(served, earlier) == Lag(seconds=300, share=0.75, rows=4)
    assert estimate_lag(served, {60: earlier[60]}) == Lag(seconds=None, share=0.0, rows=4)


def rows(served, offline):
    return pl.DataFrame({"prediction_id": [f"p{at}" for at in range(len(served))], "served": served, "offline": offline})


def test_the_worst_of_the_three_shares_decides_a_feature():
    plan = replace(PLAN, mismatch_max=0.5, missing_max=0.05)
    table = rows([2.0] * 4 + [None] + [1.0] * 15, [1.0] * 20)
    found = compare_feature("x", table, plan)
    assert (found.mismatch, found.missing, found.extra, found.state) == (4, 1, 0, State.WARN)
    assert (found.kind, found.share, found.limit) == ("missing", 0.05, 0.05)
    assert severity(found) == 1
    assert "x: missing 5.00% <= 5.00% (1 of 20 requests have no value served" in found.reason
    assert "above the 0.00% of a warning" in found.reason
    strict = compare_feature("x", table, replace(plan, missing_max=0.0))
    assert strict.state is State.ALERT
    assert severity(strict) == 1.05
    assert strict.examples == ("p0", "p1", "p2")
    tolerant = compare_feature("x", table, replace(plan, warn_above=0.3))
    assert tolerant.state is State.OK
    assert FeatureParity.from_dict(strict.as_dict()) == strict


def test_few_rows_give_no_verdict_however_much_they_differ():
    found = compare_feature("x", rows([1.0] * 9, [2.0] * 9), PLAN)
    assert found.state is State.NOT_ENOUGH_DATA


def test_a_run_says_what_decided_it():
    bad = compare_feature("bad", rows([1.0] * 20, [2.0] * 20), PLAN)
    good = compare_feature("good", rows([1.0] * 20, [1.0] * 20), PLAN)
    counts = RequestCounts(requests=25, unnamed=2, batched=1, sampled=22, unknown=2, compared=20)
    state, reason = judge_run(counts, [good, bad, replace(bad, name="other")], PLAN)
    assert state is State.ALERT
    assert reason.startswith("bad: mismatch 100.00% > 1.00% (20 of 20 requests have another value offline; SMAPE 0.667).")
    assert " And 1 more: other." in reason
    assert reason.endswith("Not compared: 2 of an entity that is unknown offline, 2 without an entity, 1 in batches under one entity.")
    assert judge_run(counts, [good], PLAN)[0] is State.OK
    assert judge_run(counts, [], PLAN) == (State.NOT_ENOUGH_DATA, judge_run(counts, [], PLAN)[1])
    assert judge_run(replace(counts, compared=9, sampled=9), [bad], PLAN)[0] is State.NOT_ENOUGH_DATA
    assert judge_run(replace(counts, compared=10, sampled=22), [bad], PLAN)[0] is State.NOT_ENOUGH_DATA
    assert judge_run(RequestCounts(requests=5, unnamed=5), [], PLAN)[1].endswith("Not compared: 5 without an entity.")
    assert judge_run(RequestCounts(), [], PLAN) == (State.NOT_ENOUGH_DATA, "No predictions in this interval.")


def test_days_end_at_midnight_of_their_zone_also_when_clocks_change():
    for text, zone, hours in (
        ("2013-03-10T05:00:00Z", "America/New_York", 23),
        ("2013-11-03T04:00:00Z", "America/New_York", 25),
        ("2017-10-14T03:00:00Z", "America/Sao_Paulo", 24),
        ("2017-10-15T03:00:00Z", "America/Sao_Paulo", 23),
        ("2013-04-01T00:00:00Z", "UTC", 24),
    ):
        start = parse_iso(text)
        assert day_end(start, zone) == start + hours * HOUR, text


def test_a_day_closes_on_the_watermark_and_is_overdue_after_its_wait():
    plan = replace(PLAN, lateness_seconds=60, wait_seconds=600)
    assert not is_closed(DAY, plan, None)
    assert not is_closed(DAY, plan, DAY + 60 * SECOND - 1)
    assert is_closed(DAY, plan, DAY + 60 * SECOND)
    assert not is_overdue(DAY, plan, None)
    assert not is_overdue(DAY, plan, DAY + 660 * SECOND - 1)
    assert is_overdue(DAY, plan, DAY + 660 * SECOND)


def test_only_datasets_read_before_the_end_are_stale():
    assert stale_sentence({"a@1": 5, "b@1": 4}, 5).startswith("b@1 was read at 1970-01-01T00:00:00.000004Z, before")
    assert stale_sentence({"a@1": 5}, 5) == ""


def test_the_sample_is_the_same_everywhere_and_grows_with_the_share():
    assert [is_sampled(f"order-{at}", 0.5) for at in range(6)] == [True, True, False, True, False, True]
    entities = pl.Series([f"e{at % 500}" for at in range(2000)])
    small, large = sampled(entities, 0.1), sampled(entities, 0.4)
    assert not (small & ~large).any()
    assert 0.05 < small.mean() < 0.15
    assert sampled(entities, 1.0).all()
    assert sampled(entities.clear(), 0.5).len() == 0


def test_every_mistake_of_a_plan_is_named_at_once():
    with pytest.raises(InvalidInput, match="feature_set"):
        parity_plan_from_dict({})
    with pytest.raises(InvalidInput, match="unknown fields: share"):
        parity_plan_from_dict({"feature_set": "x", "share": 1})
    with pytest.raises(InvalidInput) as error:
        parity_plan_from_dict({
            "feature_set": "No Name", "sample_share": 2, "rows_min": 0, "coverage_min": "half", "warn_above": -1, "mismatch_max": True,
            "timezone": "Mars", "lateness_seconds": -1, "wait_seconds": 1.5, "resolve_after_ok": 0,
        })  # fmt: skip
    for name in ("feature_set", "sample_share", "rows_min", "coverage_min", "warn_above", "mismatch_max", "timezone", "lateness_seconds",
                 "wait_seconds", "resolve_after_ok"):  # fmt: skip
        assert name in error.value.message
    for wrong in (3, None, "x@y@z", "x@"):
        with pytest.raises(InvalidInput, match="feature_set"):
            parity_plan_from_dict({"feature_set": wrong})
    plan = parity_plan_from_dict({"feature_set": "order_risk@2", "sample_share": 1})
    assert parity_plan_from_dict(plan.as_dict()) == plan
