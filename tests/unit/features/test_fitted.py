"""Fitted transforms: learned once from training rows, the same for one row as for a table, pinned to what they were learned from."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateline.data import frame_digest
from gateline.features import Impute, OrdinalEncode, QuantileClip, Standardise, compute, fit, fitted_from_dict
from gateline.features.rules import set_mistakes
from gateline.kernel.errors import InvalidInput
from tests.unit.features.conftest import SET

TYPES = {"temp": pl.Float64, "count": pl.Int64, "carrier": pl.String, "late": pl.Boolean}
TRANSFORMS = (
    Impute("temp"),
    QuantileClip("temp", low=0.1, high=0.9),
    Standardise("temp"),
    Impute("count", strategy="mean"),
    Standardise("count"),
    OrdinalEncode("carrier"),
    Impute("carrier", strategy="constant", value=-2),
    OrdinalEncode("late"),
    Impute("late", strategy="most_frequent"),
)
rows = st.lists(
    st.tuples(
        st.one_of(
            st.none(),
            st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-200),
            st.sampled_from([float("nan"), float("inf"), float("-inf"), 0.0, -0.0]),
        ),
        st.one_of(st.none(), st.integers(-1000, 1000)),
        st.one_of(st.none(), st.sampled_from(["AA", "UA", "é"])),
        st.one_of(st.none(), st.booleans()),
    ),
    max_size=20,
).map(lambda found: frame([*found, (1.0, 2, "AA", True)]))  # every feature has a value to learn from


def frame(content) -> pl.DataFrame:
    return pl.DataFrame(content, schema=TYPES, orient="row")


@given(rows, rows)
def test_one_row_is_transformed_as_a_table_is(training, others):
    fitted = fit(TRANSFORMS, training)
    whole = fitted.apply(others)
    assert pl.concat([fitted.apply(one) for one in others.iter_slices(1)]).equals(whole)
    assert whole.columns == others.columns
    assert whole.null_count().sum_horizontal().item() == 0  # everything missing was imputed


@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_training_rows_changes_no_bit(training, random):
    order = list(range(training.height))
    random.shuffle(order)
    assert fit(TRANSFORMS, training[order]) == fit(TRANSFORMS, training)
    assert fit(TRANSFORMS, training[order]).digest == fit(TRANSFORMS, training).digest


@given(rows)
def test_what_was_fitted_survives_json(training):
    fitted = fit(TRANSFORMS, training)
    again = fitted_from_dict(json.loads(json.dumps(fitted.as_dict())))
    assert again == fitted
    assert again.digest == fitted.digest
    assert again.apply(training).equals(fitted.apply(training))


def test_each_transform_learns_what_it_says():
    training = frame([(1.0, 1, "UA", True), (2.0, 5, "AA", False), (None, None, None, None), (9.0, 6, "UA", True)])
    clip = fit([QuantileClip("temp", low=0.25, high=0.5)], training)
    assert clip.apply(training)["temp"].to_list() == [1.5, 2.0, None, 2.0]
    scaled = fit([Standardise("count")], training)
    spread = statistics.pstdev([1, 5, 6])
    assert scaled.apply(training)["count"].to_list() == pytest.approx([-3 / spread, 1 / spread, None, 2 / spread])
    assert fit([OrdinalEncode("carrier")], training).apply(training)["carrier"].to_list() == [1, 0, None, 1]
    assert fit([Impute("temp")], training).apply(training)["temp"].to_list() == [1.0, 2.0, 2.0, 9.0]
    assert fit([Impute("temp", strategy="mean")], training).apply(training)["temp"].to_list() == [1.0, 2.0, 4.0, 9.0]
    assert fit([Impute("carrier", strategy="most_frequent")], training).apply(training)["carrier"].to_list() == ["UA", "AA", "UA", "UA"]
    assert fit([Impute("count", strategy="constant", value=0)], training).apply(training).schema["count"] == pl.Int64
    assert fit([Impute("count", strategy="constant", value=0.5)], training).apply(training)["count"].to_list() == [1.0, 5.0, 0.5, 6.0]


def test_a_category_that_was_not_seen_has_a_number_of_its_own():
    fitted = fit([OrdinalEncode("carrier", unknown=-7)], frame([(1.0, 1, "UA", True)]))
    assert fitted.apply(frame([(1.0, 1, "ZZ", True), (1.0, 1, None, True)]))["carrier"].to_list() == [-7, None]


@given(st.floats(-1e300, 1e300), st.integers(1, 60))
def test_a_constant_feature_becomes_zero(value, count):
    training = frame([(value, 1, "UA", True)] * count)
    assert fit([Standardise("temp")], training).apply(training)["temp"].to_list() == [0.0] * count


def test_transforms_of_a_feature_follow_one_another():
    training = frame([(0.0, 1, "UA", True), (10.0, 1, "UA", True), (None, 1, "UA", True)])
    fitted = fit([Impute("temp", strategy="constant", value=20.0), Standardise("temp")], training)
    assert fitted.parameters[1]["mean"] == 10.0
    turned = fit([Standardise("temp"), Impute("temp", strategy="constant", value=20.0)], training)
    assert turned.parameters[0]["mean"] == 5.0
    assert turned.apply(training)["temp"].to_list() == [-1.0, 1.0, 20.0]


def test_the_digest_is_pinned_to_rows_and_parameters():
    training = frame([(1.0, 1, "UA", True), (2.0, 5, "AA", False)])
    fitted = fit([Standardise("temp")], training)
    assert fitted.rows == 2
    assert fitted.rows_digest == frame_digest(training.select("temp"))
    assert fit([Standardise("temp")], pl.concat([training, training])).parameters == fitted.parameters
    assert fit([Standardise("temp")], pl.concat([training, training])).digest != fitted.digest
    assert fit([QuantileClip("temp")], training).digest != fitted.digest
    with pytest.raises(AttributeError):
        fitted.rows = 3


@given(rows, st.data())
def test_a_changed_value_gives_another_digest_of_rows(training, data):
    place, column = data.draw(st.integers(0, training.height - 1)), data.draw(st.sampled_from(["temp", "count", "carrier"]))
    other = {"temp": 0.123456, "count": 12345, "carrier": "other"}[column]
    index = pl.int_range(pl.len()) == place
    assert frame_digest(training.with_columns(pl.when(index).then(pl.lit(other)).otherwise(column).alias(column))) != frame_digest(training)
    assert frame_digest(training.with_columns(temp=-pl.col("temp") * 0)) == frame_digest(training.with_columns(temp=pl.col("temp") * 0))
    assert frame_digest(pl.concat([training, training[:1]])) != frame_digest(training)
    assert frame_digest(training.rename({"temp": "warmth"})) != frame_digest(training)


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ((Standardise("tmep"), Standardise("cuont")), "feature 'tmep' is not in the rows; feature 'cuont' is not in the rows"),
        ((Standardise("carrier"),), "standardise of 'carrier' needs numbers, not String"),
        ((QuantileClip("late"),), "quantile_clip of 'late' needs numbers, not Boolean"),
        ((OrdinalEncode("temp"),), "ordinal_encode of 'temp' needs texts, whole numbers or booleans, not Float64"),
        ((Impute("carrier"),), "impute of 'carrier' needs numbers, not String"),
        ((Impute("carrier", strategy="constant", value=1),), "impute of 'carrier' puts 1 among values of type String"),
        ((Impute("count", strategy="constant", value=True),), "impute of 'count' puts True among values of type Int64"),
        ((Impute("late", strategy="constant", value="no"),), "impute of 'late' puts 'no' among values of type Boolean"),
        ((Standardise("temp"),), "standardise of 'temp' has no values to learn from in 1 rows"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_words(transforms, words):
    with pytest.raises(InvalidInput) as error:
        fit(transforms, frame([(None, 1, "UA", True)]))
    assert words in error.value.message


def test_nan_and_infinity_count_as_missing():
    strange = frame([(value, 1, "UA", True) for value in (1.0, float("nan"), 3.0, float("inf"), float("-inf"))])
    fitted = fit([Standardise("temp"), Impute("temp", strategy="constant", value=9.0)], strange)
    assert fitted.parameters[0]["mean"] == 2.0
    assert fitted.apply(strange)["temp"].to_list() == [-1.0, 9.0, 1.0, 9.0, 9.0]
    plain = fit(
        [Standardise("temp"), Impute("temp", strategy="constant", value=9.0)],
        strange.with_columns(temp=pl.Series([1.0, None, 3.0, None, None])),
    )
    assert plain.digest == fitted.digest


@pytest.mark.parametrize("values", [(1.7e308, 1.7e308, 1e300), (5e-324, 0.0)], ids=str)
def test_values_whose_spread_cannot_be_written_are_refused(values):
    with pytest.raises(InvalidInput, match=r"standardise of 'temp' learned .* too large, or too close"):
        fit([Standardise("temp")], frame([(value, 1, "UA", True) for value in values]))


@pytest.mark.parametrize("values", [(1e200, 3e200), (1e-200, 3e-200), (1e308, -1e308)], ids=str)
def test_large_and_small_values_are_standardised_as_others_are(values):
    fitted = fit([Standardise("temp")], frame([(value, 1, "UA", True) for value in values]))
    found = fitted.apply(frame([(value, 1, "UA", True) for value in values]))["temp"].to_list()
    assert [abs(value) for value in found] == pytest.approx([1.0, 1.0], rel=1e-12)


def test_a_result_that_is_too_large_is_missing():
    fitted = fit([Standardise("temp")], frame([(1e-100, 1, "UA", True), (2e-100, 1, "UA", True)]))
    assert fitted.apply(frame([(1e300, 1, "UA", True)]))["temp"].to_list() == [None]


def test_zeros_of_either_sign_teach_the_same():
    zeros = frame([(0.0, 1, "UA", True), (-0.0, 1, "UA", True)])
    for transform in (Impute("temp", strategy="most_frequent"), Impute("temp"), Standardise("temp"), QuantileClip("temp")):
        assert fit([transform], zeros).digest == fit([transform], zeros.reverse()).digest


def test_whole_numbers_do_for_fractions_and_narrow_types_for_wide_ones():
    fitted = fit([Standardise("temp"), OrdinalEncode("count")], frame([(1.0, 1, "UA", True), (3.0, 2, "UA", True)]))
    assert fitted.types == {"temp": "float64", "count": "int64"}
    narrow = pl.DataFrame({"temp": [3], "count": [2]}, schema={"temp": pl.Int16, "count": pl.Int8})
    assert fitted.apply(narrow).to_dicts() == [{"temp": 1.0, "count": 1}]
    with pytest.raises(InvalidInput, match="feature 'count' is float64, and was int64 when they were fitted"):
        fitted.apply(pl.DataFrame({"temp": [3.0], "count": [2.0]}))
    with pytest.raises(InvalidInput, match=r"'when' is Date, which no feature is"):
        fit([OrdinalEncode("when")], pl.DataFrame({"when": [None]}, schema={"when": pl.Date}))


def test_rows_of_another_kind_are_refused_when_applied():
    fitted = fit([Standardise("temp")], frame([(1.0, 1, "UA", True)]))
    with pytest.raises(InvalidInput, match="feature 'temp' is not in the rows"):
        fitted.apply(pl.DataFrame({"count": [1]}))
    with pytest.raises(InvalidInput, match="feature 'temp' is string, and was float64 when they were fitted"):
        fitted.apply(pl.DataFrame({"temp": ["warm"]}))


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"transforms": 3, "parameters": [], "types": {}, "rows": 1, "rows_digest": ""},
        {"transforms": [{"kind": "spell"}], "parameters": [{}], "types": {}, "rows": 1, "rows_digest": ""},
        {
            "transforms": [{"kind": "standardise", "feature": "x", "colour": 1}],
            "parameters": [{}],
            "types": {},
            "rows": 1,
            "rows_digest": "",
        },
        {"transforms": [{"kind": "standardise", "feature": "x"}], "parameters": [], "types": {}, "rows": 1, "rows_digest": ""},
    ],
    ids=range(5),
)
def test_broken_records_are_refused(content):
    with pytest.raises(InvalidInput):
        fitted_from_dict(content)


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (Standardise("amuont"), "standardise of 'amuont': the set has no such feature"),
        (QuantileClip("amount", low=0.9, high=0.1), "quantiles go up from 0 to 1, not from 0.9 to 0.1"),
        (QuantileClip("amount", high=1.5), "quantiles go up from 0 to 1"),
        (Impute("amount", strategy="mode"), "'mode' is no strategy; use one of mean"),
        (Impute("amount", strategy="constant"), "constant has a value, and nothing else has"),
        (Impute("amount", value=3), "constant has a value, and nothing else has"),
    ],
)
def test_a_mistake_in_a_declaration_is_told_in_words(transform, words):
    assert words in "; ".join(set_mistakes(replace(SET, fitted=(transform,))))


def test_a_set_is_fitted_to_the_rows_that_are_chosen(tables):
    declared = replace(SET, fitted=(Impute("mean_delay"), Standardise("amount"), OrdinalEncode("shop")))
    found = compute(declared, tables)
    fitted = fit(declared.fitted, found.filter(pl.col("label").is_not_null()))
    assert fitted.rows == 2
    transformed = fitted.apply(found)
    assert transformed["amount"].to_list() == [1.0, -3.0, -1.0]  # mean 25, standard deviation 5
    assert transformed["mean_delay"].to_list() == [3.0, 1.0, 3.0]
    assert transformed["row_id"].to_list() == found["row_id"].to_list()
    assert declared.plan.fingerprint == SET.plan.fingerprint
    assert declared.digest != SET.digest
