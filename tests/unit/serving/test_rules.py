import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateline.kernel.errors import InvalidInput
from gateline.serving import FeatureKind, FeatureSpec, RouteArm
from gateline.serving.model import FormInput
from gateline.serving.rules import check_endpoint, check_route, choose_arm, cut_points, salt_key, used_values
from tests.unit.serving.support import FEATURES

KEY = salt_key("release-1")


def arm(name: str, weight: float) -> RouteArm:
    return RouteArm(name=name, version=f"{name}@1", weight=weight, form={})


def chosen(weights, units, key=KEY):
    cuts = cut_points(weights)
    return np.array([choose_arm(key, cuts, f"entity-{unit}".encode()) for unit in range(units)])


@given(some.floats(0.0, 1.0), some.floats(0.0, 1.0))
def test_widening_an_arm_only_moves_entities_into_it(first, second):
    narrow, wide = sorted((first, second))
    before, after = chosen([1 - narrow, narrow], 200), chosen([1 - wide, wide], 200)
    assert not np.any((before == 1) & (after == 0))


@pytest.mark.parametrize("weight", [0.01, 0.1, 0.25, 0.5])
def test_shares_are_within_binomial_bounds(weight):
    units = 20_000
    taken = int((chosen([1 - weight, weight], units) == 1).sum())
    assert abs(taken - weight * units) < 5 * np.sqrt(units * weight * (1 - weight))


def test_an_arm_of_weight_zero_takes_nobody_and_one_of_weight_one_everybody():
    assert set(chosen([1.0, 0.0], 2000)) == {0}
    assert set(chosen([0.0, 1.0], 2000)) == {1}
    assert set(chosen([0.5, 0.0, 0.5], 2000)) == {0, 2}
    assert cut_points([0.1] * 10)[-1] == 1 << 64


def test_another_salt_shuffles_entities_anew():
    first, second = chosen([0.5, 0.5], 4000), chosen([0.5, 0.5], 4000, salt_key("release-2"))
    assert 0.45 < (first == second).mean() < 0.55


def test_every_mistake_of_a_route_is_named():
    with pytest.raises(InvalidInput) as refused:
        check_route([arm("canary", 1.5), arm("canary", 0.1)], [])
    for words in ("'canary' is named twice", "no arm is named 'champion'", "weight 1.5", "sum to 1.6"):
        assert words in str(refused.value)
    check_route([arm("champion", 0.9), arm("canary", 0.1)], [arm("predecessor", 0.0)])


def test_every_mistake_of_an_endpoint_is_named():
    with pytest.raises(InvalidInput) as refused:
        check_endpoint([FEATURES[0], FEATURES[0], FeatureSpec(name="", kind=FeatureKind.NUMERIC)], -1.0)
    for words in ("'dep_delay' is declared twice", "has no name", "latency_ms_p99 is -1.0"):
        assert words in str(refused.value)


def test_the_value_a_model_used_is_that_of_the_column_of_the_features_name():
    inputs = [
        FormInput(column="dep_delay", feature="temp", kind=FeatureKind.NUMERIC),
        FormInput(column="temp", feature="dep_delay", kind=FeatureKind.NUMERIC, scale=2.0, offset=1.0),
    ]
    used = {one.feature: (one.source, one.scale, one.offset, one.is_as_sent) for one in used_values(FEATURES, inputs)}
    assert used == {
        "dep_delay": ("temp", 1.0, 0.0, False),
        "temp": ("dep_delay", 2.0, 1.0, False),
        "carrier": ("carrier", 1.0, 0.0, True),
    }


def test_a_renamed_column_counts_for_the_feature_it_reads():
    inputs = [FormInput(column="celsius", feature="temp", kind=FeatureKind.NUMERIC, scale=0.5)]
    used = {one.feature: one for one in used_values(FEATURES, inputs)}
    assert (used["temp"].source, used["temp"].scale) == ("temp", 0.5)
