"""What feature parity says to people: sentences that quote their numbers. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gateline.kernel.clock import Instant, iso
from gateline.monitoring.parity_model import Lag, Outcome, ParityPlan, RequestCounts

_WORDS = {
    Outcome.MISMATCH: "another value offline",
    Outcome.MISSING: "no value served although there is one offline",
    Outcome.EXTRA: "a value served although there is none offline",
}


def feature_sentence(
    name: str, kind: Outcome, count: int, rows: int, limit: float, plan: ParityPlan, error: float | None, lag: Lag | None
) -> str:
    """Return what decided a feature, with its numbers."""
    share = count / rows if rows else 0.0
    relation = ">" if share > limit else "<="
    text = f"{name}: {kind.name.lower()} {share:.2%} {relation} {limit:.2%} ({count:,} of {rows:,} requests have {_WORDS[kind]}"
    text += ")" if error is None else f"; SMAPE {error:.3g})"
    if 0 < share <= limit and share > plan.warn_above:
        text += f", above the {plan.warn_above:.2%} of a warning"
    if lag is not None:
        text += f"; {lag_words(lag)}"
    return text + "."


def lag_words(lag: Lag) -> str:
    """Return what explains the mismatches, in words.

    >>> lag_words(Lag(seconds=3600, share=0.98, rows=200))
    '98% of 200 mismatches equal the value of 1 h earlier'
    """
    if lag.seconds is None:
        return f"no earlier value, up to 1 d before, explains any of {lag.rows:,} mismatches"
    return f"{lag.share:.0%} of {lag.rows:,} mismatches equal the value of {duration(lag.seconds)} earlier"


def duration(seconds: int) -> str:
    """Return a length of time in its largest whole unit.

    >>> [duration(seconds) for seconds in (60, 900, 3600, 86400)]
    ['1 min', '15 min', '1 h', '1 d']
    """
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def apart_sentence(counts: RequestCounts) -> str:
    """Return what was counted apart, as a sentence; empty when nothing was."""
    words = (
        (counts.unknown, "of an entity that is unknown offline"),
        (counts.unnamed, "without an entity"),
        (counts.batched, "in batches under one entity"),
    )
    found = [f"{count:,} {what}" for count, what in words if count]
    return f" Not compared: {', '.join(found)}." if found else ""


def stale_sentence(read_at: Mapping[str, Instant], end: Instant) -> str:
    """Return which datasets were last read before the interval ended, as a sentence; empty when all were read after it.

    Args:
        read_at: Dataset version id to when its source was read.
        end: First instant after the interval.
    """
    old = [f"{version} was read at {iso(at)}" for version, at in sorted(read_at.items()) if at < end]
    return f"{'; '.join(old)}, before the interval ends at {iso(end)}." if old else ""
