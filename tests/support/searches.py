"""A search in a plan, for tests that work on it by hand."""

from __future__ import annotations

import copy
from typing import Any

from tests.support.pipelines import node, plan

DEFINITION: dict[str, Any] = {
    "space": {
        "rate": {"kind": "float", "low": 0.01, "high": 0.3, "log": True},
        "leaves": {"kind": "integer", "low": 8, "high": 64, "log": False, "step": 1},
    },
    "direction": "minimize",
    "sampler": {"kind": "tpe", "startup_trials": 4},
    "pruner": {"kind": "median", "startup_trials": 2, "warmup_steps": 0, "interval_steps": 1},
    "seed": 7,
}


def search_plan(trials: int = 3, *, max_parallel: int = 1, failures: int = 0, retries: int = 0, **changes: Any) -> dict[str, Any]:
    """A plan with the search `tune`, and the step `best` after it."""
    definition = {**copy.deepcopy(DEFINITION), **changes}
    tune = node(
        "tune", {"trial": {"fields": {"number": {"item": "trial"}, "search": {"value": definition}}}}, options={"retries": retries},
        over={"trial": {"value": list(range(trials))}}, max_parallel=max_parallel, search={"argument": "trial", "failures_max": failures},
    )  # fmt: skip
    return plan(tune, node("best", {"trials": "tune", "search": {"value": definition}}))
