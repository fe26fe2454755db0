"""Aggregates in two steps, where plain arithmetic goes wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateline.features import Aggregate
from gateline.features.declarations.plan import Window
from gateline.features.online.aggregates import summary, value
from gateline.features.online.state import decode, encode
from tests.unit.features.online.conftest import PAYMENTS


def window(aggregate: str, position: int = 0) -> Window:
    return Window(name="w", source=PAYMENTS, key="shop", column="amount", aggregate=aggregate, window_seconds=60, position=position)


def by_tiles(aggregate: str, *tiles: list[object], position: int = 0) -> object:
    part = window(aggregate, position)
    return value(part, [decode(encode(summary(part, tile, exact=True))) for tile in tiles])


def test_whole_numbers_stay_exact_beyond_64_bits():
    large = (1 << 63) - 1
    assert by_tiles("sum", [large, large], [large]) == 3 * large
    assert value(window("sum"), [summary(window("sum"), np.full(100, large))]) == 100 * large
    assert by_tiles("var", [large, large], [large - 2]) == pytest.approx(4 / 3)


def test_fractions_that_cancel_between_tiles_leave_the_exact_sum():
    assert by_tiles("sum", [1e300, 1.0], [-1e300, 2.0**-60]) == 1.0 + 2.0**-60
    assert by_tiles("mean", [1e16, 1.0], [-1e16, 1.0]) == 0.5


def test_the_variance_of_near_values_far_from_zero_is_not_lost():
    assert by_tiles("var", [1e9, 1e9 + 1], [1e9 + 2, 1e9 + 3]) == pytest.approx(5 / 3, rel=1e-12)
    assert by_tiles("std", [0.1] * 3, [0.1] * 4) == 0.0


@pytest.mark.parametrize("aggregate", [one for one in Aggregate if one not in {Aggregate.RATIO, Aggregate.LAST_K}])
def test_of_nothing_every_aggregate_says_so(aggregate):
    nothing = 0 if aggregate in {Aggregate.COUNT, Aggregate.APPROX_DISTINCT} else None
    assert by_tiles(aggregate, [], []) == nothing
    assert value(window(aggregate), []) == nothing


def test_the_last_values_reach_over_tiles():
    assert [by_tiles("last_k", ["a", "b"], [], ["c"], position=position) for position in (1, 2, 3, 4)] == ["c", "b", "a", None]


def test_distinct_values_are_exact_up_to_256_and_estimated_beyond():
    assert by_tiles("approx_distinct", list(range(200)), list(range(56, 256))) == 256
    found = by_tiles("approx_distinct", *[list(range(start, start + 5_000)) for start in range(0, 100_000, 2_500)])
    assert math.isclose(found, 102_500, rel_tol=0.2)
    once = value(window("approx_distinct"), [summary(window("approx_distinct"), list(range(102_500)))])
    assert found == once  # tiles change nothing


def test_many_values_give_what_few_give():
    many = np.arange(-50, 150, dtype=np.int64)
    for aggregate in ("sum", "mean", "min", "max", "count", "var", "first", "last"):
        part = window(aggregate)
        assert value(part, [summary(part, many)]) == value(part, [summary(part, many.tolist())])
