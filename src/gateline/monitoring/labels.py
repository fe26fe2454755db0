"""Labels as they arrive: reading a batch, and deciding what it changes. Pure; the store applies the outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateline.kernel.clock import MINUTE, Instant, parse_iso
from gateline.kernel.errors import GatelineError, InvalidInput, TooLarge
from gateline.kernel.limits import LABEL_ROWS_MAX
from gateline.monitoring.model import LabelRow

KEY_LENGTH_MAX = 200
CLOCK_SKEW = 10 * MINUTE
_MISTAKES_SHOWN = 20
_FIELDS = {"prediction_id", "request_id", "label", "event_time"}


def read_labels(rows: Sequence[Mapping[str, Any]], now: Instant) -> list[LabelRow]:
    """Return the rows of a batch, checked.

    Each row has `prediction_id` or `request_id` (one of them), `label` (0, 1 or a number) and `event_time` (when the label became
    known: microseconds or ISO 8601 with an offset).

    Args:
        rows: The batch, at most `LABEL_ROWS_MAX` rows.
        now: The server's clock; labels known more than ten minutes later than that come from a wrong clock and are refused.

    Raises:
        TooLarge: the batch has too many rows.
        InvalidInput: names the mistakes of the first twenty wrong rows.
    """
    if len(rows) > LABEL_ROWS_MAX:
        raise TooLarge(f"The batch has {len(rows):,} labels; the limit is {LABEL_ROWS_MAX:,}.", next_step="Send it in parts.")
    if not rows:
        raise InvalidInput("The batch holds no labels.", next_step="Send at least one row.")
    found: list[LabelRow] = []
    mistakes: list[str] = []
    for number, row in enumerate(rows):
        try:
            found.append(_read_row(row, now + CLOCK_SKEW))
        except GatelineError as error:
            mistakes.append(f"row {number}: {error.message}")
    if mistakes:
        more = f" … and {len(mistakes) - _MISTAKES_SHOWN} more rows" if len(mistakes) > _MISTAKES_SHOWN else ""
        raise InvalidInput(
            f"{len(mistakes)} of {len(rows)} labels are wrong; none was taken. {' '.join(mistakes[:_MISTAKES_SHOWN])}{more}",
            facts={"wrong_rows": len(mistakes)},
        )
    return found


def _read_row(row: Mapping[str, Any], latest: Instant) -> LabelRow:
    if unknown := set(row) - _FIELDS:
        raise InvalidInput(f"unknown field {', '.join(sorted(str(name)[:40] for name in unknown))}.")
    prediction, request = row.get("prediction_id"), row.get("request_id")
    if (prediction is None) == (request is None):
        raise InvalidInput("give prediction_id or request_id, one of them.")
    name = request if prediction is None else prediction
    if not isinstance(name, str) or not 0 < len(name) <= KEY_LENGTH_MAX or "\x00" in name:
        raise InvalidInput(f"the id must be text of 1 to {KEY_LENGTH_MAX} characters.")
    label = row.get("label")
    if not isinstance(label, (int, float)) or not _finite(label):
        raise InvalidInput("label must be 0, 1 or a finite number.")
    return LabelRow(
        key=f"{'r' if prediction is None else 'p'}:{name}", label=float(label), event_time=_instant(row.get("event_time"), latest)
    )


def _finite(number: float) -> bool:
    """Return whether the number is finite as a 64-bit float; whole numbers may be too long for one."""
    return abs(number) < 1e300 if isinstance(number, int) else math.isfinite(number)


def _instant(value: object, latest: Instant) -> Instant:
    if isinstance(value, str):
        value = parse_iso(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput("event_time must be whole UTC microseconds or ISO 8601 text with an offset.")
    if not 0 <= value <= latest:
        raise InvalidInput(f"event_time {value} lies {'before 1970' if value < 0 else 'in the future'}.")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a batch does to the labels on record.

    Attributes:
        current: Key to the row that holds after the batch, for keys that change.
        replaced: Rows that were on record, or earlier in this batch, and that a newer one replaces.
        recorded: Keys that had no label.
        corrected: Rows that replaced an older one.
        unchanged: Rows equal to what is on record.
        stale: Rows older than what is on record.
        contradictory: Rows as old as what is on record, with another value.
    """

    current: Mapping[str, LabelRow]
    replaced: Sequence[LabelRow]
    recorded: int
    corrected: int
    unchanged: int
    stale: int
    contradictory: int


def decide_changes(rows: Sequence[LabelRow], known: Mapping[str, LabelRow]) -> Changes:
    """Return what a batch changes: a label is replaced only by one that became known later.

    The outcome per key is the label with the newest event time, however labels are batched or ordered; of two with one time and
    different values the first to arrive stays.

    Args:
        rows: The batch, in the order given.
        known: The labels on record for its keys.
    """
    current: dict[str, LabelRow] = {}
    replaced: list[LabelRow] = []
    recorded = corrected = unchanged = stale = contradictory = 0
    for row in rows:
        before = current.get(row.key) or known.get(row.key)
        if before is None:
            recorded += 1
            current[row.key] = row
        elif row.event_time > before.event_time:
            corrected += 1
            replaced.append(before)
            current[row.key] = row
        elif row.event_time < before.event_time:
            stale += 1
        elif row.label == before.label:
            unchanged += 1
        else:
            contradictory += 1
    return Changes(
        current=current, replaced=replaced, recorded=recorded, corrected=corrected, unchanged=unchanged, stale=stale,
        contradictory=contradictory,
    )  # fmt: skip
