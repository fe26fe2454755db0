"""Each check, on data where the right answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from gateline.gates import Verdict
from gateline.gates.checks import check_champion, check_holdout, check_latency, check_schema, check_slices
from gateline.gates.checks.slices import chance_this_low
from gateline.kernel.clock import DAY
from gateline.kernel.errors import InvalidInput
from tests.unit.gates.conftest import START, make_rows


def logistic(rows, weight=1.5, intercept=-1.0):
    return 1 / (1 + np.exp(-(weight * rows["x"].to_numpy() + intercept)))


def test_a_useful_model_passes_the_holdout(inputs):
    [result] = check_holdout(inputs())
    assert result.verdict is Verdict.PASS
    assert result.interval[0] >= result.threshold
    assert (result.n, result.units) == (5600, 28)
    assert "over 28 days (5,600 rows); required at least 0.010" in result.sentence
    assert result.details["auc"] > 0.7


def test_a_model_without_use_fails_the_holdout(inputs):
    rows = make_rows(60, 28)
    [result] = check_holdout(inputs(rows, scores=np.full(rows.height, 0.9)))
    assert result.verdict is Verdict.FAIL
    assert result.value < 0


def test_a_holdout_that_cannot_decide_says_how_much_is_missing(inputs, policy):
    value = check_holdout(inputs())[0].value
    close = dataclasses.replace(policy, holdout=dataclasses.replace(policy.holdout, improvement_min=value - 0.002))
    [result] = check_holdout(inputs(policy=close))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.details["units_missing"] > 0
    assert "more days are needed" in result.sentence


def test_intervals_resample_days_and_not_rows(inputs, policy):
    rows = make_rows(60, 28)
    by_row = rows.with_columns(pl.int_range(100_000, 100_000 + pl.len()).alias("unit"))
    [days], [single] = check_holdout(inputs(rows)), check_holdout(inputs(by_row))
    width = [one.interval[1] - one.interval[0] for one in (days, single)]
    assert width[0] > width[1]


@pytest.mark.parametrize("days", [0, 1, 6])
def test_an_empty_or_short_holdout_is_inconclusive_and_says_how_many_units_are_missing(inputs, days):
    rows = make_rows(60, 28).filter(pl.col("unit") < 60 + days)
    [result] = check_holdout(inputs(rows))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert f"{7 - days} more day" in result.sentence
    assert result.details["units_missing"] == 7 - days


def test_one_outcome_only_is_inconclusive(inputs):
    [result] = check_holdout(inputs(make_rows(60, 28).with_columns(pl.lit(0).alias("label"))))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "both outcomes" in result.sentence


def test_rows_without_a_label_are_left_out_and_counted(inputs):
    rows = make_rows(60, 28)
    some = rows.with_columns(pl.when(pl.int_range(pl.len()) % 10 == 0).then(None).otherwise(pl.col("label")).alias("label"))
    [result] = check_holdout(inputs(some))
    assert result.n == 5040
    assert result.details["unlabelled_rows"] == 560


@pytest.mark.parametrize(
    ("scores", "words"), [(np.nan, "not numbers"), (1.5, "outside 0 to 1"), (-0.5, "outside 0 to 1"), (np.inf, "not numbers")]
)
def test_scores_that_are_no_probabilities_are_refused(inputs, scores, words):
    rows = make_rows(60, 28)
    wrong = logistic(rows)
    wrong[17] = scores
    with pytest.raises(InvalidInput, match=f"1 of 5,600 scores .* {words}"):
        check_holdout(inputs(rows, scores=wrong))


def test_as_many_scores_as_rows_are_needed(inputs):
    with pytest.raises(InvalidInput, match="scores for 5,600 rows"):
        check_holdout(inputs(scores=np.zeros(3)))


@pytest.mark.parametrize("column", ["label", "unit"])
def test_a_missing_column_is_refused_by_name(inputs, column):
    with pytest.raises(InvalidInput, match=f"no {column} column '{column}'"):
        check_holdout(inputs(make_rows(60, 28).drop(column)))


def test_labels_other_than_0_and_1_are_refused(inputs):
    with pytest.raises(InvalidInput, match="neither 0 nor 1"):
        check_holdout(inputs(make_rows(60, 28).with_columns(pl.lit(2).alias("label"))))


def test_a_holdout_day_that_was_trained_on_is_refused(inputs):
    with pytest.raises(InvalidInput, match="1 of 28 days of the holdout are also in the training rows"):
        check_holdout(inputs(training=make_rows(0, 61)))


def test_slices_pass_one_result_for_each_column(inputs):
    [result] = check_slices(inputs())
    assert result.name == "slices:carrier"
    assert result.verdict is Verdict.PASS
    assert [one["value"] for one in result.details["slices"]] == ["AA", "B6", "UA"]
    assert "worst of 3 slices by carrier" in result.sentence


def test_a_slice_that_is_served_badly_fails_and_is_named(inputs):
    rows = make_rows(60, 28)
    scores = np.where((rows["carrier"] == "UA").to_numpy(), 0.97, logistic(rows))
    [result] = check_slices(inputs(rows, scores=scores))
    assert result.verdict is Verdict.FAIL
    assert "carrier: UA improves" in result.sentence


def test_small_slices_are_listed_and_too_many_of_them_are_inconclusive(inputs, policy):
    narrow = dataclasses.replace(policy, slices=dataclasses.replace(policy.slices, rows_min=2000, coverage_min=0.95))
    [result] = check_slices(inputs(policy=narrow))
    assert list(result.details["not_judged"]) == ["UA"]
    assert result.verdict is Verdict.INCONCLUSIVE
    wide = dataclasses.replace(narrow, slices=dataclasses.replace(narrow.slices, coverage_min=0.8))
    [result] = check_slices(inputs(policy=wide))
    assert result.verdict is Verdict.PASS
    assert "1 small slice with" in result.sentence


def test_a_missing_slice_value_is_a_slice_of_its_own(inputs):
    rows = make_rows(60, 28).with_columns(pl.when(pl.col("carrier") == "UA").then(None).otherwise(pl.col("carrier")).alias("carrier"))
    [result] = check_slices(inputs(rows))
    assert "(missing)" in [one["value"] for one in result.details["slices"]]


def test_slices_without_columns_or_with_unknown_ones_are_no_pass(inputs, policy):
    none = dataclasses.replace(policy, slices=dataclasses.replace(policy.slices, columns=()))
    assert check_slices(inputs(policy=none))[0].verdict is Verdict.ERROR
    unknown = dataclasses.replace(policy, slices=dataclasses.replace(policy.slices, columns=("airline",)))
    with pytest.raises(InvalidInput, match="no slice column 'airline'"):
        check_slices(inputs(policy=unknown))


def test_many_slices_of_a_model_at_the_threshold_seldom_fail_any(inputs):
    generator = np.random.default_rng(3)
    families = 200
    alarms = 0
    units = np.repeat(np.arange(28), 20)
    for _ in range(families):
        smallest = min(chance_this_low(generator.normal(size=560) + generator.normal(size=28)[units], units, 0.0) for _ in range(15))
        alarms += smallest <= 0.05 / 15
    assert alarms / families <= 0.10


def test_the_schema_passes_on_the_columns_of_training(inputs):
    [result] = check_schema(inputs())
    assert result.verdict is Verdict.PASS
    assert (result.value, result.n) == (0.0, 5600)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.drop("x"), "'x' is missing from the holdout rows"),
        (lambda rows: rows.with_columns(pl.col("x").cast(pl.String)), "'x' is String, in training Float64"),
        (lambda rows: rows.with_columns(pl.lit(None, pl.Float64).alias("x")), "'x' misses 100.0% of its values, in training 0.0%"),
        (lambda rows: rows.with_columns(pl.lit(float("inf")).alias("x")), "'x' holds 5,600 infinite numbers"),
        (lambda rows: rows.with_columns(pl.lit("ZZ").alias("carrier")), "no category of the model, such as 'ZZ'"),
    ],
)
def test_the_schema_fails_and_names_the_column(inputs, change, words):
    [result] = check_schema(inputs(change(make_rows(60, 28))))
    assert result.verdict is Verdict.FAIL
    assert words in result.sentence


def test_whole_and_decimal_numbers_are_one_kind(inputs):
    assert check_schema(inputs(make_rows(60, 28).with_columns(pl.col("x").cast(pl.Float32))))[0].verdict is Verdict.PASS


def test_an_empty_holdout_shows_nothing(inputs):
    empty = make_rows(60, 28).clear()
    assert check_schema(inputs(empty))[0].verdict is Verdict.INCONCLUSIVE
    assert check_latency(inputs(empty))[0].verdict is Verdict.INCONCLUSIVE


def test_a_fast_worker_passes_and_a_slow_one_fails(inputs):
    [fast] = check_latency(inputs())
    assert fast.verdict is Verdict.PASS
    assert fast.n == 400
    assert " ms over 400 requests; required at most 20.0" in fast.sentence
    [slow] = check_latency(inputs(probe=lambda rows: np.linspace(15, 60, rows.height)))
    assert slow.verdict is Verdict.FAIL


def test_warm_up_requests_are_not_timed(inputs):
    [result] = check_latency(inputs(probe=lambda rows: np.where(np.arange(rows.height) < 50, 900.0, 5.0)))
    assert result.verdict is Verdict.PASS
    assert result.details["max_ms"] == 5.0


def test_a_tail_around_the_threshold_is_inconclusive(inputs):
    def probe(rows):
        times = np.full(rows.height, 5.0)
        times[-5:] = 100.0
        return times

    [result] = check_latency(inputs(probe=probe))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "send more requests" in result.sentence


def test_too_high_a_level_for_the_requests_is_inconclusive(inputs, policy):
    [result] = check_latency(inputs(policy=dataclasses.replace(policy, level=0.99)))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "59 more requests are needed" in result.sentence


@pytest.mark.parametrize("times", [np.full(3, 1.0), np.full(450, np.nan), np.full(450, -1.0)])
def test_times_that_are_missing_or_no_times_are_refused(inputs, times):
    with pytest.raises(InvalidInput):
        check_latency(inputs(probe=lambda rows: times))


def test_a_better_candidate_is_shown_better_and_a_worse_one_worse(inputs):
    rows = make_rows(60, 28)
    good, poor = logistic(rows), logistic(rows, weight=0.2)
    [result] = check_champion(inputs(rows, scores=good, champion_scores=poor))
    assert result.verdict is Verdict.PASS
    assert result.interval[1] < 0
    assert "the champion m@1's by" in result.sentence
    [result] = check_champion(inputs(rows, scores=poor, champion_scores=good))
    assert result.verdict is Verdict.FAIL
    assert result.sentence.endswith("the candidate is shown worse")


def test_an_equal_candidate_is_not_shown_better(inputs):
    rows = make_rows(60, 28)
    [result] = check_champion(inputs(rows, scores=logistic(rows, 1.45), champion_scores=logistic(rows, 1.55)))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the champion stays" in result.sentence
    [same] = check_champion(inputs(rows, scores=logistic(rows), champion_scores=logistic(rows)))
    assert same.verdict is Verdict.INCONCLUSIVE


def test_a_margin_asks_for_more_than_better(inputs, policy):
    rows = make_rows(60, 28)
    value = check_champion(inputs(rows, champion_scores=logistic(rows, weight=0.2)))[0].value
    asking = dataclasses.replace(policy, champion=dataclasses.replace(policy.champion, margin=-value))
    [result] = check_champion(inputs(rows, champion_scores=logistic(rows, weight=0.2), policy=asking))
    assert result.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("ends", "who"), [({"until_day": 61}, "the candidate"), ({"champion_until_day": 75}, "the champion m@1")], ids=["candidate", "champion"]
)
def test_a_window_that_reaches_into_a_training_period_is_refused(inputs, ends, who):
    rows = make_rows(60, 28)
    with pytest.raises(InvalidInput, match=f"before {who}'s training period ends"):
        check_champion(inputs(rows, champion_scores=logistic(rows), **ends))


def test_training_rows_later_than_declared_are_found(inputs):
    rows = make_rows(60, 28)
    with pytest.raises(InvalidInput, match="its training rows reach 2013-03-01"):
        check_champion(inputs(rows, champion_scores=logistic(rows), until_day=59))


@pytest.mark.parametrize("column", [pl.col("t").dt.epoch("us"), pl.col("t").cast(pl.Datetime("ms", "UTC")), pl.col("t").dt.date()])
def test_times_may_be_timestamps_dates_or_microseconds(inputs, column):
    assert inputs(make_rows(60, 28).with_columns(column.alias("t"))).window_start == START + 60 * DAY


def test_without_a_champion_there_is_nothing_to_compare(inputs):
    with pytest.raises(InvalidInput, match="no champion"):
        check_champion(inputs())
