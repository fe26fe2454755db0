import re

import lightgbm
import numpy as np
import pytest

from gateline.kernel.errors import GatelineError, IntegrityFailure, InvalidInput
from gateline.serving.lightgbm_native import NativeBooster
from gateline.serving.lightgbm_text import check_model_text
from tests.unit.serving.support import booster, model_text, training_table


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"boosting": "dart"},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        {"objective": "regression"},
        {"min_gain_to_split": 1e9},
        {"data_sample_strategy": "goss"},
    ],
    ids=str,
)
def test_what_lightgbm_writes_passes_and_scores_exactly(parameters):
    table = training_table()
    label = (table["dep_delay"] > 10).astype(int)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_per_group": 5} | parameters
    model = lightgbm.train(settings, lightgbm.Dataset(table, label), 12)
    check_model_text(model.model_to_string())
    native = NativeBooster(model.model_to_string())
    matrix = np.column_stack([table["dep_delay"], table["carrier"].cat.codes.astype(float), table["temp"]])[:300]
    expected = model.predict(table.head(300))
    assert [native.score_row(row) for row in matrix.tolist()] == expected.tolist()
    assert native.score_matrix(matrix).tolist() == expected.tolist()


def test_a_model_cut_anywhere_is_refused_and_never_reaches_the_library():
    text = model_text()
    end = text.index("end of trees")
    for length in range(0, end, max(1, end // 150)):
        with pytest.raises(GatelineError):
            check_model_text(text[:length])


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"\nleft_child=\S+", "\nleft_child=999999"),
        (r"\nleft_child=\S+", "\nleft_child=0"),
        (r"\nright_child=\S+", "\nright_child=-999999"),
        (r"\nsplit_feature=\S+", "\nsplit_feature=77"),
        (r"\nleaf_value=\S+", "\nleaf_value=abc"),
        (r"\nleaf_value=\S+ ", "\nleaf_value="),
        (r"\nnum_leaves=\d+", "\nnum_leaves=2"),
        (r"\nnum_cat=\d+", "\nnum_cat=0"),
        (r"\ncat_boundaries=0 \d+", "\ncat_boundaries=0 99"),
        (r"\nis_linear=0", "\nis_linear=1"),
        (r"\nshrinkage=", "\nsurprise="),
        (r"\nnum_class=1", "\nnum_class=2"),
        (r"\nmax_feature_idx=2", "\nmax_feature_idx=3"),
    ],
)
def test_an_edited_structure_is_refused_even_when_the_sizes_are_made_to_fit(pattern, replacement):
    text = model_text()
    edited = _with_true_sizes(re.sub(pattern, replacement, text, count=1))
    assert edited != text
    with pytest.raises((IntegrityFailure, InvalidInput)):
        check_model_text(edited)


def _with_true_sizes(text: str) -> str:
    """Write the sizes of the trees as they really are, as somebody would who edits a model on purpose."""
    start, end = text.index("Tree=0\n"), text.index("end of trees")
    blocks = re.split(r"(?=^Tree=\d+$)", text[start:end], flags=re.MULTILINE)
    sizes = " ".join(str(len(block.encode())) for block in blocks if block)
    return re.sub(r"tree_sizes=.*", f"tree_sizes={sizes}", text[:start]) + text[start:]


def test_the_sizes_helper_of_this_test_changes_nothing_in_a_sound_model():
    assert _with_true_sizes(model_text()) == model_text()


def test_a_matrix_of_another_width_is_refused():
    with pytest.raises(InvalidInput, match="3 columns"):
        NativeBooster(model_text()).score_matrix(np.zeros((2, 5)))


def test_threads_do_not_change_the_scores():
    native, table = NativeBooster(model_text()), training_table()
    matrix = np.column_stack([table["dep_delay"], table["carrier"].cat.codes.astype(float), table["temp"]])
    assert np.array_equal(native.score_matrix(matrix, threads=1), native.score_matrix(matrix, threads=2))
    assert np.array_equal(native.score_matrix(matrix), booster().predict(table))
