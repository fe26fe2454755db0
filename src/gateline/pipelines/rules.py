"""Pure decisions about runs: who may hold one, and what follows an attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateline.kernel.clock import SECOND
from gateline.pipelines.model import Outcome, StepState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.pipelines.plan import StepOptions

LEASE_SECONDS = 15
RENEWAL_SECONDS = 4
QUICK_SECONDS = 0.2
"""A step that took no longer the last time may be given ahead of those it needs."""
LOST_MAX = 20
"""How often a step may lose its runner before it is believed to be the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What becomes of a step after an attempt that did not succeed.

    Attributes:
        wait_seconds: How long the next attempt waits, when the state is ready.
        failure: Why the step failed, when it has.
    """

    state: StepState
    wait_seconds: float = 0
    failure: str = ""


def is_held(lease_until: int, now: int) -> bool:
    """Return whether a lease still counts. One that ends later than any could is of a clock that was set back, and does not."""
    return now < lease_until <= now + LEASE_SECONDS * SECOND


def is_due_for_renewal(lease_until: int, now: int) -> bool:
    """Return whether a heartbeat should write: not each one does."""
    return not is_held(lease_until, now) or lease_until - now < (LEASE_SECONDS - RENEWAL_SECONDS) * SECOND


def decide_next(
    outcome: Outcome, before: Mapping[Outcome, int], options: StepOptions, *, detail: str, cancelled: bool, retry: bool
) -> Next:
    """Decide what becomes of a step.

    Args:
        outcome: How the attempt ended; not `succeeded`.
        before: How often earlier attempts ended in which way.
        options: The options of the node.
        detail: What went wrong.
        cancelled: Whether the run is being cancelled.
        retry: False when another attempt cannot help.
    """
    if cancelled:
        return Next(state=StepState.CANCELLED)
    if outcome in {Outcome.LOST, Outcome.CANCELLED}:
        lost = before.get(Outcome.LOST, 0) + 1
        if outcome is Outcome.LOST and lost >= LOST_MAX:
            return Next(state=StepState.FAILED, failure=f"lost its runner {lost} times; it may be what kills them. {detail}".strip())
        return Next(state=StepState.READY)
    tried = 1 + sum(count for kind, count in before.items() if kind not in {Outcome.LOST, Outcome.CANCELLED, Outcome.SUCCEEDED})
    if retry and tried <= options.retries:
        return Next(state=StepState.READY, wait_seconds=options.retry_wait_seconds)
    words = {
        Outcome.FAILED: "failed",
        Outcome.EXITED: "ended",
        Outcome.TIMED_OUT: "took too long",
        Outcome.OUT_OF_MEMORY: "took too much memory",
    }
    again = f" It was tried {tried} times." if tried > 1 else ""
    return Next(state=StepState.FAILED, failure=f"{words.get(outcome, 'failed')}: {detail}{again}")
