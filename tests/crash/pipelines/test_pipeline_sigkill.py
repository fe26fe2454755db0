"""SIGKILL of server, runner, zygote and steps while runs go on: results right, no step lost, nothing registered twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.crash.pipelines.fuzz import fuzz

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_random_kills_lose_no_step_and_register_nothing_twice(tmp_path: Path) -> None:
    """The long variant, with 200 kills, is bench/pipelines/fuzz.py."""
    found = fuzz(tmp_path / "arena", kills=10, seed=4, pause_seconds_max=3.0, deadline_seconds=240)
    assert found["wrong"] == []
    assert sum(found["kills"].values()) == 10
    assert found["runs"] >= 3
