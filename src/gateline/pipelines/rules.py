"""Pure decisions about runs: who may take one, and whether an alert starts one."""

from __future__ import annotations

from dataclasses import dataclass

from gateline.kernel.clock import SECOND
from gateline.pipelines.model import Retraining, RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDecision:
    """Whether an alert starts a pipeline, and why."""

    start: bool
    reason: str


def may_claim(state: RunState, lease_until: int, now: int) -> bool:
    """Return whether a runner may take the run: it waits, or its runner's lease has run out."""
    return state is RunState.QUEUED or (state is RunState.RUNNING and lease_until < now)


def decide_start(plan: Retraining | None, alert_kind: str, event_time: int, last_started: int | None, *, unfinished: bool) -> StartDecision:
    """Decide whether an alert of this kind at this event time (UTC microseconds) starts the plan's pipeline."""
    if plan is None:
        return StartDecision(start=False, reason="No retraining is declared for this endpoint.")
    if alert_kind not in plan.alert_kinds:
        return StartDecision(
            start=False, reason=f"Alerts of kind {alert_kind} do not start {plan.pipeline}; it listens to {', '.join(plan.alert_kinds)}."
        )
    if unfinished:
        return StartDecision(start=False, reason=f"A run of {plan.pipeline} is still unfinished.")
    if last_started is not None:
        elapsed = (event_time - last_started) / SECOND
        if elapsed < plan.cool_down_seconds:
            days, wanted = elapsed / 86400, plan.cool_down_seconds / 86400
            return StartDecision(start=False, reason=f"{plan.pipeline} started {days:.1f} days before; the cool-down is {wanted:.1f} days.")
    return StartDecision(start=True, reason=f"A {alert_kind} alert asks for a candidate.")
