import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.errors import IntegrityFailure, InvalidInput
from gateline.serving import FeatureKind, FeatureSpec, LoadedForm, compile_served_form, identity_inputs, score_matrix
from tests.unit.serving.support import FEATURES, booster, form_files, model_text, plain_rows, training_table, write_form


def test_a_row_scores_exactly_as_in_training_also_with_missing_values_and_unseen_categories(tmp_path):
    table = training_table().head(600).copy()
    table["carrier"] = table["carrier"].cat.set_categories(["ZZ", "UA", "AA", "B6", "DL"])
    table.loc[5:60, "carrier"] = "ZZ"
    table.loc[100:140, "carrier"] = np.nan
    table.loc[30:200, "temp"] = np.nan
    expected = booster().predict(table)
    scorer = LoadedForm.load(write_form(tmp_path)).bind(FEATURES)
    scores = [scorer.score(row) for row in plain_rows(table)]
    assert scores == expected.tolist()


def test_a_whole_table_scores_exactly_as_its_rows_do_from_polars_and_from_lists(tmp_path):
    directory, table = write_form(tmp_path), training_table().head(500)
    expected = booster().predict(table)
    columns = {"carrier": table["carrier"].astype(object).tolist(), "dep_delay": table["dep_delay"].tolist(), "temp": plain_column(table)}
    assert np.array_equal(score_matrix(directory, pl.DataFrame(columns)), expected)
    assert np.array_equal(score_matrix(directory, columns, threads=2), expected)
    assert score_matrix(directory, pl.DataFrame(columns).head(0)).shape == (0,)


def plain_column(table):
    return [None if pd.isna(value) else value for value in table["temp"]]


def test_a_table_without_a_feature_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidInput, match="carrier, temp"):
        score_matrix(write_form(tmp_path), pl.DataFrame({"dep_delay": [1.0]}))


def test_the_order_of_features_does_not_matter(tmp_path):
    form = LoadedForm.load(write_form(tmp_path))
    row = {"dep_delay": 4.0, "carrier": "DL", "temp": None}
    backwards = form.bind(FEATURES[::-1]).score([row[one.name] for one in FEATURES[::-1]])
    assert backwards == form.bind(FEATURES).score([row[one.name] for one in FEATURES])


def test_scale_offset_and_swapped_columns_take_effect(tmp_path):
    plain = LoadedForm.load(write_form(tmp_path / "plain")).bind(FEATURES)
    scaled = LoadedForm.load(write_form(tmp_path / "scaled", form_files(temp={"scale": 1.8, "offset": 32.0}))).bind(FEATURES)
    swapped = form_files(temp={"feature": "dep_delay"}, dep_delay={"feature": "temp"})
    swapped_form = LoadedForm.load(write_form(tmp_path / "swapped", swapped)).bind(FEATURES)
    assert scaled.score([20.0, "UA", 10.0]) == plain.score([20.0, "UA", 50.0])
    assert swapped_form.score([3.0, "UA", 25.0]) == plain.score([25.0, "UA", 3.0])


def test_a_negative_form_returns_the_other_class(tmp_path):
    plain = LoadedForm.load(write_form(tmp_path / "a")).bind(FEATURES)
    flipped = LoadedForm.load(write_form(tmp_path / "b", form_files(positive=False)))
    row = [7.0, "AA", 1.0]
    assert flipped.bind(FEATURES).score(row) == 1.0 - plain.score(row)
    assert flipped.score_table({"dep_delay": [7.0], "carrier": ["AA"], "temp": [1.0]})[0] == 1.0 - plain.score(row)


def test_equal_models_compile_to_equal_bytes_whatever_the_order_of_inputs():
    inputs = identity_inputs(model_text(), ["carrier"])
    assert compile_served_form(model_text(), inputs[::-1]) == compile_served_form(model_text(), inputs)


def test_every_mismatch_between_inputs_and_model_is_named_at_once():
    inputs = [
        {"column": "dep_delay", "feature": "dep_delay", "kind": "numeric", "categories": ["AA"]},
        {"column": "wind", "feature": "wind", "kind": "numeric"},
        {"column": "carrier", "feature": "carrier", "kind": "categorical", "categories": ["AA", "AA"], "scale": 2.0},
    ]
    with pytest.raises(InvalidInput) as refused:
        compile_served_form(model_text(), inputs)
    for words in (
        "'temp' of the model is not fed",
        "no column 'wind'",
        "lists a category twice",
        "cannot be scaled",
        "dep_delay' is numeric and lists 1",
    ):
        assert words in str(refused.value)


def test_categories_must_be_those_of_training_in_their_order():
    with pytest.raises(InvalidInput, match="differ from those the model was trained with"):
        form_files(carrier={"categories": ["B6", "AA", "DL", "UA"]})


def test_an_unknown_field_of_an_input_is_refused():
    with pytest.raises(InvalidInput, match="colour"):
        form_files(temp={"colour": "red"})


def test_a_model_with_several_outputs_is_refused():
    import lightgbm

    random = np.random.default_rng(1)
    table = pd.DataFrame({"x": random.normal(size=300)})
    text = lightgbm.train(
        {"objective": "multiclass", "num_class": 3, "verbose": -1}, lightgbm.Dataset(table, random.integers(0, 3, 300)), 2
    ).model_to_string()
    with pytest.raises(InvalidInput, match="more than one output"):
        compile_served_form(text, identity_inputs(text))


@pytest.mark.parametrize("name", ["serving.json", "model.txt"])
def test_a_changed_byte_in_either_file_is_refused_and_both_digests_are_named(tmp_path, name):
    files = form_files()
    digests = {key: sha256_bytes(content) for key, content in files.items()}
    damaged = files[name][:-2] + b" " + files[name][-1:]
    write_form(tmp_path, files | {name: damaged})
    with pytest.raises(IntegrityFailure) as refused:
        LoadedForm.load(tmp_path, digests)
    assert digests[name] in str(refused.value)
    assert sha256_bytes(damaged) in str(refused.value)
    assert name in str(refused.value)


def test_serving_json_pins_its_model_even_without_digests_from_a_route(tmp_path):
    files = form_files()
    with pytest.raises(IntegrityFailure, match=r"model\.txt differs from its digest"):
        LoadedForm.load(write_form(tmp_path, files | {"model.txt": form_files(seed=2)["model.txt"]}))


def test_a_missing_file_or_a_foreign_document_is_an_integrity_failure(tmp_path):
    with pytest.raises(IntegrityFailure, match="cannot be read"):
        LoadedForm.load(tmp_path)
    document = json.loads(form_files()["serving.json"]) | {"format": "pickle"}
    with pytest.raises(IntegrityFailure, match="not a served form"):
        LoadedForm.load(write_form(tmp_path, form_files() | {"serving.json": json.dumps(document).encode()}))


def test_a_form_that_reads_what_the_endpoint_lacks_is_refused_by_name(tmp_path):
    form = LoadedForm.load(write_form(tmp_path))
    features = [FeatureSpec(name="dep_delay", kind=FeatureKind.CATEGORICAL), FEATURES[1]]
    with pytest.raises(InvalidInput) as refused:
        form.bind(features)
    assert "'temp', which the endpoint does not have" in str(refused.value)
    assert "'dep_delay' as numeric, which the endpoint declares categorical" in str(refused.value)
