"""Sampling of histories and comparison of runs: pure functions."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateline.cli.run_text import compared, plotted, told
from gateline.kernel.errors import InvalidInput
from gateline.tracking import MetricHistory, MetricPoint, sample
from gateline.tracking.comparison import checked_runs, compare
from tests.unit.tracking.test_freeze import FACTS


def points_of(values):
    return [MetricPoint(step=step, at=step, value=value) for step, value in enumerate(values)]


@given(st.lists(st.floats(), min_size=1, max_size=300), st.integers(10, 60))
def test_a_sample_keeps_ends_extremes_and_a_mark_of_what_is_no_number(values, limit):
    points = points_of(values)
    kept = sample(iter(points), len(points), limit)
    steps = [one.step for one in kept]
    assert len(kept) <= limit
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0, len(values) - 1)
    if len(values) <= limit:
        assert kept == points
    finite = [value for value in values if math.isfinite(value)]
    kept_finite = [one.value for one in kept if math.isfinite(one.value)]
    if finite:
        assert (min(kept_finite), max(kept_finite)) == (min(finite), max(finite))
    assert (len(finite) < len(values)) == (len(kept_finite) < len(kept))


def test_a_hundred_thousand_points_are_sampled_evenly():
    kept = sample(iter(points_of([math.sin(step / 5_000) for step in range(100_000)])), 100_000, 302)
    gaps = [after.step - before.step for before, after in pairwise(kept)]
    assert len(kept) > 190
    assert max(gaps) <= 2_000


def test_a_comparison_tells_equal_from_different_and_missing():
    other = replace(FACTS, run_id="r2", params={"rounds": "200", "extra": "x"}, metrics={"auc": math.nan}, tags={}, inputs=())
    environments = {"r1": {"python": "3.11", "threads": {"usable": 2}, "packages": {"numpy": "2.4"}, "code": {}}}
    found = compare([FACTS, other], environments).as_dict()
    assert found["runs"] == ["r1", "r2"]
    assert found["different"]["parameters"] == {"extra": [None, "x"], "rounds": ["100", "200"]}
    assert found["different"]["metrics"] == {"auc": [0.75, "nan"], "loss": ["inf", None]}
    assert found["different"]["inputs"] == {"flights (training)": ["flights@1", None]}
    assert found["different"]["code"] == {"commit": ["c0ffee", ""]}
    assert found["different"]["environment"] == {"python": ["3.11", None], "threads.usable": [2, None]}
    assert found["different"]["packages"] == {"numpy": ["2.4", None]}
    same = compare([other, replace(other, run_id="r3")], {})
    assert same.same["metrics"] == {"auc": "nan"}
    assert not any(same.different.values())


@pytest.mark.parametrize("ids", [[], ["a"], ["a", "a"], [str(one) for one in range(11)]])
def test_only_two_to_ten_different_runs_are_compared(ids):
    with pytest.raises(InvalidInput, match="2 to 10"):
        checked_runs(ids)


@pytest.mark.parametrize("values", [[1.0], [math.nan], [math.inf, -math.inf], [-1.7e308, 1.7e308], [0.5, 0.5, math.nan], [5e-324, 0.0]])
def test_every_history_can_be_plotted(values):
    history = MetricHistory(run_id="r1", name="m", count=len(values), sampled=False, points=tuple(points_of(values))).as_dict()
    text = plotted(history)
    assert text.startswith(f"m: {len(values)} values")
    finite = sum(map(math.isfinite, values))
    assert text.count("*") == finite
    assert ("NaN or infinite" in text) == (finite < len(values))


def test_a_run_is_told_with_its_resources_and_nothing_that_a_terminal_obeys():
    metrics = {"resources.cpu_seconds": 61.5, "resources.peak_memory_bytes": 3 * 1024**2, "resources.read_bytes": 0.0,
               "resources.estimated_cost": 0.25, "auc": 0.5}  # fmt: skip
    tags = {"resources.currency": "EUR", "mlflow.note.content": "why\n\x1b[31mred"}
    run = {**replace(FACTS, metrics=metrics, tags=tags, params={"a": "\x1b]0;x\x07" + "y" * 100_000}).as_dict(), "frozen": False}
    text = told(run)
    assert "cpu: 61.50 s" in text
    assert "peak memory: 3.0 MiB" in text
    assert "read: 0.0 B" in text.replace("bytes", "B")
    assert "estimated cost: 0.2500 EUR" in text
    assert "auc = 0.5" in text
    assert "\x1b" not in text
    assert len(text) < 3_000
    other = {"runs": ["a", "b"], "same": {"tags": {}}, "different": {"tags": {"k": ["\x1b[2J", None]}}}
    assert "\x1b" not in compared(other, everything=True)
