from __future__ import annotations

import math

import numpy as np
import pytest

from gateline.features.engine.distinct import KEPT, distinct_count, hashed


def sketch(values) -> list[int]:
    return sorted({hashed(value) for value in values})[:KEPT]


@pytest.mark.parametrize("count", [0, 1, 255, 256])
def test_few_distinct_values_are_counted_exactly(count):
    assert distinct_count(sketch([*range(count), *range(count)])) == count


def test_many_distinct_values_are_estimated_within_the_promised_error():
    errors = []
    for trial in range(40):
        for count in (257, 3_000):
            found = distinct_count(sketch(f"{trial}-{one}" for one in range(count)))
            errors.append(found / count - 1)
    # 80 trials: the root mean square stays near 1/sqrt(k - 2) = 6.3 %, the mean near 0.
    assert math.sqrt(np.mean(np.square(errors))) < 0.08
    assert abs(np.mean(errors)) < 0.02
    assert max(np.abs(errors)) < 0.3


def test_sketches_of_parts_merge_to_the_sketch_of_the_whole():
    one, other = sketch(range(900)), sketch(range(600, 2_000))
    assert sorted({*one, *other})[:KEPT] == sketch(range(2_000))


def test_a_hash_never_changes():
    # Kept in online tiles: another value here would count every kept value twice.
    kept = [("a", 1410542633125930404), (-1, 9376631684097872765), (0.5, 11306967415767909316), (True, 15779520396620607129)]
    assert [hashed(value) for value, _ in kept] == [number for _, number in kept]
    assert len({hashed(True), hashed(1), hashed(1.0), hashed("1")}) == 4
    assert hashed(-0.0) == hashed(0.0)
