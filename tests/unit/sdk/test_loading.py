"""Modules of a project, loaded by several threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from gateline.sdk.loading import load_module

if TYPE_CHECKING:
    from pathlib import Path


def test_threads_that_need_the_same_module_all_get_it_whole(tmp_path: Path) -> None:
    """While one executes it, it lies half made where Python looks for modules."""
    (tmp_path / "slow_to_load.py").write_text("import time\ntime.sleep(0.3)\nvalue = 1\n", encoding="utf-8")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: vars(load_module(tmp_path, "slow_to_load")).get("value"), range(4)))
    assert found == [1, 1, 1, 1]
