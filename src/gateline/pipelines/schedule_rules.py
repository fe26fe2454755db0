"""Pure decisions about what starts by itself: which nominal times are run, whether an event starts a run, what holds a run up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateline.kernel.clock import SECOND, iso
from gateline.pipelines.cron import GRACE
from gateline.pipelines.schedule_model import CatchUp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateline.pipelines.schedule_model import Limits, Trigger, Usage

DUE_MAX = 10_000
"""How many nominal times are looked at in one pass."""
CATCH_UP_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What becomes of the nominal times that have come.

    Attributes:
        run: Those that are run, oldest first.
        skipped: Those that are not.
    """

    run: tuple[int, ...]
    skipped: tuple[int, ...]

    @property
    def done_until(self) -> int | None:
        """The newest time that was decided on."""
        return max((*self.run, *self.skipped), default=None)


def decide_due(times: Sequence[int], now: int, policy: CatchUp, most: int, *, complete: bool = True) -> Due:
    """Decide which nominal times are run. Each is either run or skipped; what is left of an incomplete list is decided later.

    Args:
        times: Nominal times up to now, oldest first.
        now: The time, UTC microseconds.
        policy: What becomes of times that passed unnoticed; the one that is due within `GRACE` is on time under any policy.
        most: Of `CatchUp.ALL`: how many are run at most.
        complete: False when newer ones are due too; then only those are decided that are skipped whatever they are.
    """
    kept = min(most, CATCH_UP_MAX) if policy is CatchUp.ALL else 1
    older, newest = tuple(times[: max(0, len(times) - kept)]), tuple(times[max(0, len(times) - kept) :])
    if not complete:
        return Due(run=(), skipped=older)
    if policy is CatchUp.NONE and newest and now - newest[0] > GRACE:
        return Due(run=(), skipped=(*older, *newest))
    return Due(run=newest, skipped=older)


def decline(trigger: Trigger, event_time: int, last: int | None, *, unfinished: bool, alert_kind: str = "") -> str:
    """Return why an event at a time (UTC microseconds) starts no run of the trigger's pipeline, or nothing when it does."""
    if alert_kind and alert_kind not in trigger.alert_kinds:
        return f"Alerts of kind {alert_kind} do not start {trigger.pipeline}; it listens to {', '.join(trigger.alert_kinds)}."
    if unfinished:
        return f"A run of {trigger.pipeline} is still unfinished."
    if last is not None and (event_time - last) / SECOND < trigger.cool_down_seconds:
        days, wanted = (event_time - last) / SECOND / 86400, trigger.cool_down_seconds / 86400
        return f"{trigger.pipeline} started {days:.1f} days before; the cool-down is {wanted:.1f} days."
    return ""


def obstacle(limits: Limits, usage: Usage) -> str:
    """Return why no further run of a pipeline may begin now, or nothing when one may.

    Begins that the clock places in the future are not in `usage`: a clock that was set back must not hold runs up until it has caught up.
    """
    name = limits.pipeline
    if limits.concurrent_max is not None and usage.under_way >= limits.concurrent_max:
        return f"As many runs of {name} as may be are under way; the limit is {limits.concurrent_max}."
    if limits.runs_max is not None and usage.begun >= limits.runs_max:
        return f"As many runs of {name} as may begin within {limits.period_seconds} s have begun; the limit is {limits.runs_max}."
    if limits.cool_down_seconds and usage.last_begin is not None:
        return f"A run of {name} began {iso(usage.last_begin)}; the cool-down is {limits.cool_down_seconds} s."
    return ""
