"""Each fault breaks the served form and leaves the model what it was."""

from __future__ import annotations

import json
import time

import lightgbm
import numpy as np
import pytest

from gateline.demo.faults import Fault, Levers, choose_fault, damage, slow_model
from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.errors import InvalidInput
from gateline.serving import LoadedForm, compile_served_form, identity_inputs

LEVERS = Levers(scaled="delay", swapped=("delay", "temp"), stale_value=60.0)
ROWS = {"delay": [1.0, 5.0, 30.0, None], "temp": [20.0, 70.0, 50.0, 40.0], "hour": [6.0, 12.0, 18.0, 20.0]}


@pytest.fixture(scope="module")
def form() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2000, 3)) * [20, 15, 6] + [10, 50, 12]
    label = (values[:, 0] + rng.normal(size=2000) * 10 > 15).astype(float)
    data = lightgbm.Dataset(values, label, feature_name=["delay", "temp", "hour"])
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "seed": 1, "deterministic": True}
    text = lightgbm.train(settings, data, 30).model_to_string()
    return compile_served_form(text, identity_inputs(text))


def scores(files: dict[str, bytes], folder) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return LoadedForm.load(folder).score_table(ROWS)


def test_a_seed_always_chooses_the_same_fault_and_all_faults_can_be_chosen():
    assert [choose_fault(seed) for seed in range(5)] == [choose_fault(seed) for seed in range(5)]
    assert {choose_fault(seed) for seed in range(5)} == set(Fault)


@pytest.mark.parametrize("fault", [Fault.WRONG_SCALE, Fault.SWAPPED_COLUMNS, Fault.STALE_FEATURE, Fault.LABEL_FLIP])
def test_a_fault_of_the_form_changes_scores_but_not_the_model(form, fault, tmp_path):
    broken = damage(form, fault, LEVERS)
    assert broken.files["model.txt"] == form["model.txt"]
    assert not np.allclose(scores(broken.files, tmp_path / "broken"), scores(form, tmp_path / "sound"))
    assert broken.sentence


def test_a_wrong_scale_reads_every_value_times_sixty(form, tmp_path):
    broken = damage(form, Fault.WRONG_SCALE, LEVERS)
    inputs = {one["column"]: one for one in json.loads(broken.files["serving.json"])["inputs"]}
    assert inputs["delay"]["scale"] == 60.0
    assert inputs["temp"]["scale"] == 1.0


def test_swapped_columns_exchange_the_features_of_two_inputs(form):
    inputs = {
        one["column"]: one["feature"] for one in json.loads(damage(form, Fault.SWAPPED_COLUMNS, LEVERS).files["serving.json"])["inputs"]
    }
    assert inputs == {"delay": "temp", "temp": "delay", "hour": "hour"}


def test_a_stale_feature_does_not_depend_on_what_is_sent(form, tmp_path):
    files = damage(form, Fault.STALE_FEATURE, LEVERS).files
    first = scores(files, tmp_path / "stale")
    constant = {**ROWS, "delay": [60.0] * 4}
    assert np.array_equal(first[:3], LoadedForm.load(tmp_path / "stale").score_table(constant)[:3])


def test_a_label_flip_returns_the_probability_of_the_other_class(form, tmp_path):
    flipped = scores(damage(form, Fault.LABEL_FLIP, LEVERS).files, tmp_path / "flipped")
    assert np.allclose(flipped, 1 - scores(form, tmp_path / "sound"))


def test_the_slow_form_gives_exactly_the_same_scores_and_takes_at_least_twenty_times_longer(form, tmp_path):
    broken = damage(form, Fault.SLOW, LEVERS)
    assert json.loads(broken.files["serving.json"])["files"]["model.txt"] == sha256_bytes(broken.files["model.txt"])
    assert np.array_equal(scores(broken.files, tmp_path / "slow"), scores(form, tmp_path / "sound"))
    sound, slow = (seconds_per_table(LoadedForm.load(tmp_path / name)) for name in ("sound", "slow"))
    assert slow > 20 * sound


def seconds_per_table(form: LoadedForm) -> float:
    """The least processor time of many attempts: other work on the machine only adds to it."""
    values = {name: [20.0] for name in ROWS}
    found = []
    for _ in range(60):
        started = time.thread_time()
        form.score_table(values)
        found.append(time.thread_time() - started)
    return min(found)


def test_slowing_something_that_is_no_model_is_refused():
    with pytest.raises(InvalidInput, match="no LightGBM model"):
        slow_model("not a model")


def test_a_fault_on_an_input_that_does_not_exist_is_refused(form):
    with pytest.raises(InvalidInput, match="has no column 'altitude'"):
        damage(form, Fault.WRONG_SCALE, Levers(scaled="altitude", swapped=("delay", "temp"), stale_value=0.0))
