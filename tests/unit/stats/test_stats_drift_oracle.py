"""Our numbers against those of other libraries on 13 data sets, where the definitions agree.

`tests/oracles/drift.json` holds what SciPy, NannyML, TFDV, alibi-detect, frouros and Evidently
answered; the inputs lie beside it. Where a library defines a thing otherwise, the docstrings of
`gateline.stats.distance` say so, and the last tests here show that the difference is real.
"""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from gateline.stats import (
    categorical_edges,
    chi2_homogeneity_from_counts,
    compare,
    js_distance_from_counts,
    js_divergence_from_counts,
    ks_two_sample,
    numeric_edges,
    profile_categorical,
    profile_numeric,
    psi_from_counts,
    total_variation_from_counts,
)

FOLDER = Path(__file__).parents[2] / "oracles"
ORACLE = json.loads((FOLDER / "drift.json").read_text(encoding="utf-8"))
CATEGORIES = json.loads(gzip.decompress((FOLDER / "drift_categories.json.gz").read_bytes()))
CATEGORICAL = sorted(CATEGORIES)
NUMERIC = sorted(set(ORACLE["cases"]) - set(CATEGORIES))


@pytest.fixture(scope="module")
def arrays():
    with np.load(FOLDER / "drift_inputs.npz") as stored:
        return {name: stored[name] for name in stored.files}


def numeric_counts(arrays, case, bins):
    edges = numeric_edges(arrays[f"{case}__ref"], bins=bins)
    reference, current = (profile_numeric(arrays[f"{case}__{side}"], edges) for side in ("ref", "cur"))
    return reference.coarse(bins), current.coarse(bins, reference=reference)


def categorical_profiles(case):
    edges = categorical_edges(CATEGORIES[case][0])
    return tuple(profile_categorical(names, edges) for names in CATEGORIES[case])


@pytest.mark.parametrize("case", NUMERIC)
def test_the_stored_inputs_are_those_of_the_oracle(arrays, case):
    for side in ("ref", "cur"):
        digest = hashlib.sha256(np.ascontiguousarray(arrays[f"{case}__{side}"], dtype="<f8")).hexdigest()
        assert digest == ORACLE["inputs"][case][f"sha256_{side}"]


@pytest.mark.parametrize("case", CATEGORICAL)
def test_the_stored_categories_are_those_of_the_oracle(case):
    for side, names in zip(("ref", "cur"), CATEGORIES[case], strict=True):
        assert hashlib.sha256("\n".join(names).encode()).hexdigest() == ORACLE["inputs"][case][f"sha256_{side}"]


@pytest.mark.parametrize("case", NUMERIC)
def test_ks_is_scipys_on_every_data_set(arrays, case):
    expected = ORACLE["cases"][case]["scipy_numpy"]
    found = ks_two_sample(arrays[f"{case}__ref"], arrays[f"{case}__cur"])
    assert found.value == pytest.approx(expected["ks_D"], abs=1e-9)
    assert found.p_value == pytest.approx(expected["ks_p_asymp"], rel=1e-6, abs=1e-300)


@pytest.mark.parametrize("case", NUMERIC)
@pytest.mark.parametrize("library", ["frouros", "deepchecks", "alibi_detect"])
def test_ks_agrees_with_the_other_exact_libraries(arrays, case, library):
    found = ks_two_sample(arrays[f"{case}__ref"], arrays[f"{case}__cur"])
    assert found.value == pytest.approx(ORACLE["cases"][case][library]["ks_D"], abs=1e-6)  # alibi-detect keeps float32


@pytest.mark.parametrize("case", NUMERIC)
@pytest.mark.parametrize("bins", [10, 20])
def test_binned_distances_are_those_on_reference_quantiles(arrays, case, bins):
    expected = ORACLE["cases"][case]["scipy_numpy"]
    a, b = numeric_counts(arrays, case, bins)
    assert psi_from_counts(a, b).value == pytest.approx(expected[f"psi_refq{bins}_eps1e-4"], abs=1e-9)
    assert js_distance_from_counts(a, b).value == pytest.approx(expected[f"jsd_refq{bins}_base2"], abs=1e-9)
    assert js_divergence_from_counts(a, b).value == pytest.approx(expected[f"jsdiv_refq{bins}_base2"], abs=1e-9)
    assert total_variation_from_counts(a, b).value == pytest.approx(expected[f"tvd_refq{bins}"], abs=1e-9)


@pytest.mark.parametrize("case", NUMERIC)
def test_the_stored_256_bin_profile_gives_nearly_the_same_verdict(arrays, case):
    expected = ORACLE["cases"][case]["scipy_numpy"]
    edges = numeric_edges(arrays[f"{case}__ref"])
    reference, current = (profile_numeric(arrays[f"{case}__{side}"], edges) for side in ("ref", "cur"))
    ks, psi, js = compare(reference, current)
    assert expected["ks_D"] - 0.004 <= ks.value <= expected["ks_D"] + 1e-12
    # Ten joined bins hold 9.8 to 10.2 % each, not exactly 10 %: that moves a score by less than its noise floor.
    assert psi.value == pytest.approx(expected["psi_refq10_eps1e-4"], rel=0.1, abs=psi.noise_floor)
    assert js.value == pytest.approx(expected["jsd_refq10_base2"], rel=0.1, abs=0.5 * js.noise_floor)


@pytest.mark.parametrize("case", CATEGORICAL)
def test_categorical_distances_are_scipys(case):
    expected = ORACLE["cases"][case]["scipy_numpy"]
    reference, current = categorical_profiles(case)
    variation, psi, js = compare(reference, current)
    chi2 = chi2_homogeneity_from_counts(reference.counts, current.counts)
    assert chi2.value == pytest.approx(expected["chi2"], abs=1e-9)
    assert variation.p_value == chi2.p_value == pytest.approx(expected["chi2_p"], rel=1e-9)
    assert variation.value == pytest.approx(expected["tvd"], abs=1e-9)
    assert psi.value == pytest.approx(expected["psi_eps1e4"], abs=1e-9)
    assert js.value == pytest.approx(expected["jsd_base2"], abs=1e-9)


@pytest.mark.parametrize("case", CATEGORICAL)
def test_categorical_distances_agree_with_nannyml_frouros_and_tfdv(case):
    answers = ORACLE["cases"][case]
    reference, current = (profile.counts for profile in categorical_profiles(case))
    chi2 = chi2_homogeneity_from_counts(reference, current).value
    assert chi2 == pytest.approx(answers["nannyml"]["chi2"], abs=1e-9)
    assert chi2 == pytest.approx(answers["frouros"]["chi2"], abs=1e-9)
    assert js_distance_from_counts(reference, current).value == pytest.approx(answers["nannyml"]["jensen_shannon"], abs=1e-9)
    assert js_divergence_from_counts(reference, current).value == pytest.approx(answers["tfdv_1.16.1"]["js"], abs=1e-9)


def test_libraries_with_other_definitions_give_other_numbers():
    delay, outlier = ORACLE["cases"]["nyc_dep_delay"], ORACLE["cases"]["outlier_squash_20k"]
    origin = ORACLE["cases"]["nyc_origin"]
    assert delay["evidently"]["psi"] < 0.7 * delay["scipy_numpy"]["psi_refq10_eps1e-4"]
    assert outlier["nannyml"]["kolmogorov_smirnov"] < 0.001
    assert outlier["scipy_numpy"]["ks_D"] > 0.1
    assert origin["evidently"]["chisquare"] < 0.001
    assert origin["scipy_numpy"]["chi2_p"] > 0.01
