"""Waiting until the platform has caught up with the replay, so that the same seed tells the same order of events."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gateline.demo.processes import wait_for
from gateline.kernel.clock import DAY, Instant, iso, parse_iso
from gateline.kernel.errors import StepFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateline.demo.stage import Stage

MOVING = frozenset({"canary", "probation"})
WEEK_DAYS = 7
WINDOW = WEEK_DAYS * DAY
_SETTLE_SECONDS = 10.0
_PAUSE = 0.06


def get_rollout(stage: Stage, rollout_id: str) -> dict[str, Any]:
    """Return a rollout as the operator sees it."""
    found: dict[str, Any] = stage.client("operator").get(f"/rollouts/{rollout_id}")
    return found


def await_route(stage: Stage) -> dict[str, Any]:
    """Wait until every worker answers from the endpoint's newest route, and return the endpoint."""

    def loaded() -> dict[str, Any] | None:
        endpoint: dict[str, Any] = stage.client("operator").get(f"/endpoints/{stage.model}")
        broken = [one["error"] for one in endpoint["workers"] if one["error"]]
        if broken:
            raise StepFailed(f"A worker refuses the route: {broken[0]}")
        ready = [one for one in endpoint["workers"] if one["ready"] and one["generation"] == endpoint["generation"]]
        return endpoint if ready and len(ready) == len(endpoint["workers"]) else None

    return wait_for("the workers to load the route", loaded, seconds=60, children=stage.children)


def await_windows(stage: Stage, end: Instant) -> list[dict[str, Any]]:
    """Wait until the window that ends at `end` is closed for drift and for performance; return both."""

    def closed() -> list[dict[str, Any]] | None:
        found = stage.client("operator").get(f"/endpoints/{stage.model}/windows", params={"start": iso(end - WINDOW), "limit": 4})
        ours = [one for one in found if parse_iso(one["end"]) == end]
        return ours if {one["analysis"] for one in ours} == {"drift", "performance"} else None

    return wait_for(f"the windows that end {iso(end)}", closed, seconds=60, children=stage.children, pause=_PAUSE)


def await_canary(stage: Stage, rollout_id: str, step: tuple[str, int], sent: int) -> dict[str, Any]:
    """Wait until a canary was judged on all `sent` requests, or moved on; then until the workers follow. Returns the rollout."""

    def judged() -> dict[str, Any] | None:
        rollout = get_rollout(stage, rollout_id)
        analysis = rollout["analysis"] or {}
        seen = analysis.get("canary_requests", 0) + analysis.get("baseline_requests", 0)
        return rollout if (rollout["state"], rollout["step"]) != step or seen >= sent else None

    return _settled(stage, judged, lambda: get_rollout(stage, rollout_id))


def await_probation(stage: Stage, rollout_id: str, labelled: int) -> dict[str, Any]:
    """Wait until a probation's look that is due was taken on all `labelled` requests, or is over; then until the workers follow."""
    before = get_rollout(stage, rollout_id)
    plan, days = before["plan"], (stage.playing.position - before["promoted_event_time"]) / DAY
    if before["state"] == "probation" and days < min(plan["probation_days_min"] + WEEK_DAYS * before["looks_done"], plan["probation_days"]):
        return before

    def judged() -> dict[str, Any] | None:
        rollout = get_rollout(stage, rollout_id)
        seen = (rollout["comparison"] or {}).get("requests", 0)
        over = rollout["state"] != "probation" or rollout["looks_done"] > before["looks_done"]
        return rollout if over or seen >= labelled else None

    return _settled(stage, judged, lambda: get_rollout(stage, rollout_id))


def _settled(stage: Stage, judged: Callable[[], dict[str, Any] | None], now: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Wait for `judged`, but not for ever: a count that never comes is no reason to stop the replay."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    found = judged()
    while found is None and time.monotonic() < deadline:
        for child in stage.children:
            child.require_alive()
        time.sleep(_PAUSE)
        found = judged()
    await_route(stage)
    return found or now()
