"""Grades, comparisons, and what of a model does not count."""

from __future__ import annotations

import io
import math
import pickle
import zipfile

import numpy as np
import polars as pl
import pytest

from gateline.gates import Policy
from gateline.reproduction import Failure, Grade, LossInterval, Predictions, Stage, needed_for
from gateline.reproduction.normal import normal_bytes, normalised
from gateline.reproduction.probing import compare_losses, compare_predictions
from gateline.reproduction.rules import (
    bound_run_ids,
    compare_digests,
    compare_values,
    environment_facts,
    first_difference,
    grade,
)  # fmt: skip
from tests.support.pipelines import node, plan


def predictions(**changes: object) -> Predictions:
    same = {"source": "rows", "rows": 10, "expected_sha256": "a", "found_sha256": "a", "largest_difference": 0.0, "decisions_changed": 0}
    return Predictions(**{**same, **changes})


def loss(found: float, *, units: int = 20) -> LossInterval:
    return LossInterval(expected=0.5, found=found, lower=0.4, upper=0.6, level=0.95, units=units)


NEAR = predictions(found_sha256="b", largest_difference=5e-7)
FAR = predictions(found_sha256="b", largest_difference=0.1, decisions_changed=2)


@pytest.mark.parametrize(
    ("facts", "wanted", "told"),
    [
        ({"model_equal": True, "predictions": predictions()}, Grade.R3, "bit for bit"),
        ({"model_equal": False, "predictions": predictions()}, Grade.R2, "not equal bit for bit"),
        ({"model_equal": None, "predictions": predictions()}, Grade.R2, "no logged model"),
        ({"model_equal": True, "predictions": NEAR}, Grade.R2, "5e-07"),
        ({"predictions": predictions(found_sha256="b", largest_difference=1e-6)}, Grade.R2, "1e-06"),
        (
            {"predictions": predictions(found_sha256="b", largest_difference=1e-7, decisions_changed=1), "loss": loss(0.5)},
            Grade.R1,
            "1 of 10",
        ),
        ({"predictions": FAR, "loss": loss(0.6)}, Grade.R1, "0.4 to 0.6"),
        ({"predictions": FAR, "loss": loss(0.61)}, Grade.R0, "is not inside"),
        ({"predictions": FAR, "loss": loss(0.5, units=1)}, Grade.R0, "1 units"),
        ({"predictions": FAR, "loss": loss(math.nan)}, Grade.R0, "nan"),
        ({"predictions": FAR}, Grade.R0, "no labelled rows"),
        ({"model_equal": True}, Grade.R0, "no predictions to compare"),
        ({"model_equal": True, "predictions": predictions(largest_difference=math.inf, found_sha256="b")}, Grade.R0, "inf"),
        ({"failure": Failure(stage=Stage.DATA, name="flights@1", detail="damaged")}, Grade.R0, "data (flights@1): damaged"),
    ],
)
def test_a_grade_says_which_numbers_it_rests_on(facts, wanted, told):
    given = {"model_equal": None, "predictions": None, "loss": None, "failure": None, **facts}
    found, sentence = grade(**given)
    assert found is wanted
    assert told in sentence
    assert found.reaches(Grade.R0)
    assert Grade.R3.reaches(found)


def test_the_first_difference_is_that_of_the_earliest_stage():
    compared = [
        *compare_digests(Stage.MODEL, {"model": "a"}, {"model": "b"}),
        *compare_digests(Stage.ARTIFACT, {"fit": "a", "split": "x"}, {"fit": "b", "split": "x"}),
        *compare_digests(Stage.DATA, {"flights@1": "d"}, {"flights@1": "d"}),
    ]
    found = first_difference(compared)
    assert found is not None
    assert (found.stage, found.name) == (Stage.ARTIFACT, "fit")
    assert first_difference(compared[2:]) is None
    assert [one.found for one in compare_digests(Stage.CODE, {"a": "1"}, {"b": "2"})] == ["", "2"]


def test_values_that_are_equal_are_one_comparison_and_differences_are_named():
    found = compare_values(Stage.ENVIRONMENT, {"a": 1, "b": [2], "c": "x"}, {"a": 1, "b": [3], "d": None}, what="facts")
    assert [(one.name, one.expected, one.found, one.equal) for one in found[:2]] == [("b", "[2]", "[3]", False), ("c", "x", "", False)]
    assert found[-1].equal
    assert found[-1].name == "2 facts"
    many = {str(number): number for number in range(200)}
    assert len(compare_values(Stage.ENVIRONMENT, many, {}, what="facts")) <= 51


def test_facts_of_an_environment_leave_out_what_cannot_change_bits():
    document = {
        "python": "3.11.7", "packages": {"numpy": "2.4", "gateline": "0.1"}, "distributions": {"numpy": {"files_sha256": "f"}},
        "hardware": {"cpu": "X", "memory_bytes": 5, "flags": ["avx2"]}, "threads": {"usable": 2, "OMP_NUM_THREADS": "1"},
        "libraries": [{"user_api": "blas", "architecture": "Zen"}, {"user_api": "openmp", "num_threads": 2}], "code": {"commit": "c"},
    }  # fmt: skip
    found = environment_facts(document)
    assert found["packages.numpy"] == "2.4"
    assert found["files.numpy"] == "f"
    assert found["threads.OMP_NUM_THREADS"] == "1"
    assert (found["blas.architecture"], found["blas.num_threads"]) == (["Zen"], [])
    assert {"packages.gateline", "hardware.memory_bytes", "code.commit"} & found.keys() == set()
    assert set(environment_facts({})) == {"blas.architecture", "blas.num_threads"}


def test_a_plan_is_cut_to_what_a_step_needs_and_reuses_nothing():
    whole = plan(
        node("rows"), node("split", {"rows": "rows"}), node("fit", {"rows": "split"}, options={"approval": "Go on?"}),
        node("pick", {"rate": {"item": "rate"}}, over={"rate": {"node": "grid"}}), node("grid"),
        node("record", {"model": "fit"}, when={"node": "pick"}), node("judge", {"run": "record"}),
    )  # fmt: skip
    whole["nodes"] = sorted(whole["nodes"], key=lambda one: ["rows", "split", "fit", "grid", "pick", "record", "judge"].index(one["name"]))
    found = needed_for(whole, ["record"])
    assert [one["name"] for one in found["nodes"]] == ["rows", "split", "fit", "grid", "pick", "record"]
    assert not any(one["options"]["cache"] or one["options"]["approval"] for one in found["nodes"])
    assert found["output"] is None
    with pytest.raises(KeyError):
        needed_for(whole, ["missing"])


def test_ids_of_runs_name_and_are_never_equal():
    assert bound_run_ids('{"run":"abc","model":"m-1"}', ["abc", "m-1", ""], ["xyz", "m-2", "q"]) == '{"run":"xyz","model":"m-2"}'


MLMODEL = """artifact_path: mlflow-artifacts:/1/models/{id}/artifacts
flavors:
  lightgbm:
    lgb_version: 4.7.0
    model_class: {kind}
    skops_trusted_types:
    - {first}
    - {second}
model_id: {id}
model_uuid: {id}
run_id: r-{id}
utc_time_created: '2026-01-01 {id}'
"""


def test_an_mlmodel_differs_by_what_the_model_is_alone():
    one = MLMODEL.format(id="1", kind="Booster", first="a.B", second="c.D").encode()
    same = MLMODEL.format(id="2", kind="Booster", first="c.D", second="a.B").encode()
    other = MLMODEL.format(id="1", kind="Ranker", first="a.B", second="c.D").encode()
    assert normal_bytes("MLmodel", one) == normal_bytes("MLmodel", same)
    assert normal_bytes("MLmodel", one) != normal_bytes("MLmodel", other)
    assert normalised({"MLmodel": one, "requirements.txt": b"a"})[0] == normalised({"MLmodel": same, "requirements.txt": b"b"})[0]


def test_trees_count_and_the_parameters_they_were_grown_with_do_not():
    trees = b"tree\nversion=v4\n\nTree=0\nleaf_value=0.1\n\nend of trees\n"
    text = trees + b"\nparameters:\n[num_threads: %d]\nend of parameters\n\npandas_categorical:null\n"
    assert normal_bytes("model.txt", text % 1) == normal_bytes("model.txt", text % 2)
    assert normal_bytes("model.txt", text % 1) != normal_bytes("model.txt", (text % 1).replace(b"0.1", b"0.2"))
    assert b"pandas_categorical" in normal_bytes("model.lgb", text % 1)


def zipped(files: dict[str, str], *, year: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def test_times_of_a_zip_and_addresses_in_a_skops_schema_do_not_count():
    schema = '{{"__id__": {one}, "file": "{two}.npy", "content": {{"__id__": {two}, "protocol": 0}}}}'
    one = zipped({"schema.json": schema.format(one=140001112, two=140001113), "140001113.npy": "abc"}, year=2001)
    same = zipped({"140999913.npy": "abc", "schema.json": schema.format(one=140999912, two=140999913)}, year=2002)
    other = zipped({"140999913.npy": "abd", "schema.json": schema.format(one=140999912, two=140999913)}, year=2002)
    assert normal_bytes("model.skops", one) == normal_bytes("model.skops", same)
    assert normal_bytes("model.skops", one) != normal_bytes("model.skops", other)
    assert normal_bytes("broken.zip", b"PK\x03\x04broken") == b"PK\x03\x04broken"


def test_two_real_skops_files_of_one_model_are_equal_and_of_another_are_not():
    import skops.io
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 4))
    label = rows[:, 0] > 0
    models = [LogisticRegression(C=c).fit(rows, label) for c in (1.0, 1.0, 0.5)]
    contents = [normal_bytes("model.skops", skops.io.dumps(one)) for one in models]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


class Hostile:
    """A pickle that would tell if somebody loaded it."""

    def __reduce__(self):
        return (pytest.fail, ("A pickle was loaded.",))


def test_nothing_is_unpickled():
    content = pickle.dumps(Hostile())
    assert normal_bytes("model.pkl", content) == content
    assert normalised({"model.pkl": content})[0] != normalised({"model.pkl": content + b"x"})[0]


def test_predictions_are_compared_to_the_bit_and_by_decision():
    one = np.array([0.1, 0.5, np.nan])
    assert compare_predictions("rows", one, one.copy()).bit_equal
    near = compare_predictions("rows", one, np.array([0.1, 0.5 - 1e-9, np.nan]))
    assert near.largest_difference == pytest.approx(1e-9)
    assert near.decisions_changed == 1
    assert compare_predictions("rows", one, np.array([0.1, np.nan, np.nan])).largest_difference == math.inf
    assert compare_predictions("rows", one, one[:2]).largest_difference == math.inf
    regression = compare_predictions("rows", np.array([10.0]), np.array([-10.0]))
    assert (regression.largest_difference, regression.decisions_changed) == (20.0, 0)
    assert compare_predictions("rows", np.array([-0.0]), np.array([0.0])).bit_equal is False
    assert compare_predictions("rows", np.array([]), np.array([])).bit_equal


def test_losses_are_judged_by_units_and_only_where_they_are_defined():
    rng = np.random.default_rng(2)
    rows = pl.DataFrame({"label": rng.integers(0, 2, 400), "unit": [f"day {one // 20}" for one in range(400)]})
    scores = np.clip(0.5 + 0.3 * (rows["label"].to_numpy() - 0.5) + rng.normal(0, 0.05, 400), 0.01, 0.99)
    found = compare_losses(rows, scores, scores, Policy())
    assert found is not None
    assert found.lower <= found.expected == found.found <= found.upper
    assert found.units == 20
    bad = compare_losses(rows, scores, 1 - scores, Policy())
    assert bad is not None
    assert bad.found > bad.upper
    assert compare_losses(rows.drop("unit"), scores, scores, Policy()) is None
    assert compare_losses(rows, scores * 10, scores * 10, Policy()) is None
    assert compare_losses(rows, scores, scores[:5], Policy()) is None
