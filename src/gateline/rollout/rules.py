"""Pure decisions of a rollout: what the evidence allows, in words that quote the numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from gateline.rollout.model import Analysis, Comparison, Evidence, Family, RolloutPlan

ERROR_SHARE_MAX = 0.5
ERROR_REQUESTS_MIN = 20
SAMPLE_RATIO_P_MIN = 1e-6
SUSPICION = math.log(10)
LOOK_DAYS = 7


class Action(StrEnum):
    """What to do with a rollout next."""

    WAIT = "wait"
    WIDEN = "widen"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    PAUSE = "pause"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An action and its reason."""

    action: Action
    reason: str


def decide_canary(plan: RolloutPlan, step: int, analysis: Analysis) -> Decision:
    """Decide about a running canary.

    The order is: guards that need no statistics; evidence of harm (roll back when E >= families / alpha, which bounds the chance that a
    harmless version is ever rolled back by alpha, however often one looks); enough requests and labels, and no suspicion, for the next
    step; too many requests without an answer, for a human.
    """
    guard = _guard(analysis)
    if guard is not None:
        return guard
    worst = max(analysis.evidence, key=lambda one: one.log_e)
    threshold = math.log(len(Family) / plan.alpha)
    if worst.log_e >= threshold:
        return Decision(action=Action.ROLL_BACK, reason=_harm(worst, threshold))
    if analysis.step_requests >= plan.step_requests_max:
        words = f"After {analysis.step_requests} canary requests in this step there is no clear answer: {_harm(worst, threshold)}"
        return Decision(action=Action.PAUSE, reason=words)
    missing = _missing(plan, analysis)
    if missing:
        return Decision(action=Action.WAIT, reason=f"Not enough data yet: {missing}.")
    if worst.log_e >= SUSPICION:
        return Decision(action=Action.WAIT, reason=f"Enough data, but not quiet: {_harm(worst, threshold)}")
    seen = f"{analysis.step_requests} canary requests and {analysis.step_labels} labels in this step, loudest evidence {_e(worst.log_e)}"
    if step + 1 < len(plan.steps):
        return Decision(action=Action.WIDEN, reason=f"From {plan.steps[step]:.0%} to {plan.steps[step + 1]:.0%}: {seen}.")
    return Decision(action=Action.PROMOTE, reason=f"All {len(plan.steps)} steps passed: {seen} ({worst.family}).")


def looks_in_all(plan: RolloutPlan) -> int:
    """Return how many looks at the paired comparison a probation allows."""
    return max(1, 1 + (plan.probation_days - plan.probation_days_min) // LOOK_DAYS)


def next_look_day(plan: RolloutPlan, looks_done: int) -> int:
    """Return the number of event days after which the next look, or the end of the probation, can be due."""
    return min(plan.probation_days_min + looks_done * LOOK_DAYS, plan.probation_days)


def look_due(plan: RolloutPlan, looks_done: int, days: int) -> bool:
    """Return whether enough labelled days have come for the next look."""
    return looks_done < looks_in_all(plan) and days >= next_look_day(plan, looks_done)


def decide_probation(plan: RolloutPlan, looks_done: int, elapsed_days: float, found: Comparison) -> Decision:
    """Decide about a promoted version: take it back only when the predecessor is shown better on labels of whole days."""
    words = (
        f"log loss minus the predecessor's is {found.difference:+.4f} [{found.lower:+.4f}, {found.upper:+.4f}] "
        f"over {found.days} days ({found.requests} labelled requests, {found.coverage:.0%} of those served)"
    )
    if look_due(plan, looks_done, found.days) and found.lower > 0:
        return Decision(action=Action.ROLL_BACK, reason=f"The predecessor is shown better: {words}.")
    if elapsed_days >= plan.probation_days:
        return Decision(action=Action.KEEP, reason=f"Probation of {plan.probation_days} days ended without proof of harm: {words}.")
    return Decision(action=Action.WAIT, reason=f"In probation: {words}.")


def _guard(analysis: Analysis) -> Decision | None:
    """Return the decision of a hard guard, when one is met."""
    if analysis.canary_requests >= ERROR_REQUESTS_MIN and analysis.error_share > ERROR_SHARE_MAX:
        words = f"{analysis.error_share:.0%} of {analysis.canary_requests} canary requests failed; at most {ERROR_SHARE_MAX:.0%} may."
        return Decision(action=Action.ROLL_BACK, reason=words)
    if analysis.sample_ratio_p < SAMPLE_RATIO_P_MIN:
        words = (
            f"{analysis.canary_requests} of {analysis.canary_requests + analysis.baseline_requests} requests reached the canary, which the "
            f"plan's shares would give with p = {analysis.sample_ratio_p:.1e}; the arms cannot be compared."
        )
        return Decision(action=Action.ROLL_BACK, reason=words)
    return None


def _missing(plan: RolloutPlan, analysis: Analysis) -> str:
    """Return what the step still lacks, in words."""
    wanted = [
        (analysis.step_requests, plan.step_requests_min, "canary requests"),
        (analysis.step_labels, plan.step_labels_min, "labelled canary requests"),
    ]
    return " and ".join(f"{have} of {need} {what}" for have, need, what in wanted if have < need)


def _harm(found: Evidence, threshold: float) -> str:
    """Return the evidence of a family in words, quoting both arms."""
    canary, champion = _share(found.canary_bad, found.canary_total), _share(found.baseline_bad, found.baseline_total)
    return f"{found.what}: canary {canary}, champion {champion}; evidence {_e(found.log_e)}, rollback at {_e(threshold)}."


def _share(bad: int, total: int) -> str:
    return f"{bad} of {total} ({bad / total:.1%})" if total else "none"


def _e(log_e: float) -> str:
    """Return an e-value from its log, readable whatever its size."""
    return f"E = {math.exp(log_e):.3g}" if log_e < 700 else f"E = 1e{log_e / math.log(10):.0f}"
