"""The life of alerts, inside the transaction of what causes each change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from gateline.kernel.clock import iso
from gateline.kernel.errors import Conflict, InvalidInput, NotFound
from gateline.kernel.ids import new_id
from gateline.kernel.limits import TEXT_LENGTH_MAX
from gateline.monitoring import store
from gateline.monitoring.model import Alert, AlertState, State, Window
from gateline.monitoring.rules import AlertStep, next_alert_step

if TYPE_CHECKING:
    from gateline.ledger import Transaction

OPENED = "monitoring.alert.opened"
REPEATED = "monitoring.alert.repeated"
RESOLVED = "monitoring.alert.resolved"


def apply_window(
    tx: Transaction, window: Window, *, names: Sequence[str], severity: float, resolve_after_ok: int, ok_streak: int | None = None
) -> AlertStep:
    """Open, extend or resolve the endpoint's alert as a window that closes in this transaction asks for.

    Args:
        tx: The transaction that closes the window.
        window: The closed window; its row is already written.
        names: The features or metrics at fault.
        severity: Score over threshold of the worst.
        resolve_after_ok: The plan's number of quiet windows.
        ok_streak: Windows in a row, this one included, that were `ok` for its version; counted from the closed windows when left out.
    """
    row = store.unresolved_alert(tx.session, window.endpoint, window.analysis)
    step = next_alert_step(
        None if row is None else store.to_alert(row),
        state=window.state,
        version=window.version,
        ok_streak=_ok_streak(tx, window, resolve_after_ok) if ok_streak is None else ok_streak,
        resolve_after_ok=resolve_after_ok,
    )
    if row is not None and step in {AlertStep.RESOLVE, AlertStep.REPLACE}:
        if window.version and row.version != window.version:
            why = f"{window.version} now answers most requests, no longer {row.version}."
        else:
            why = f"{resolve_after_ok} windows in a row were quiet; the newest ends {iso(window.end)}."
        resolve(tx, row, why)
    if row is not None and step is AlertStep.ABSORB:
        row.windows += 1
        row.last_window_start, row.last_window_end = window.start, window.end
        row.names, row.severity, row.reason = list(names), severity, window.reason
        tx.record("monitoring.alert.repeated", row.id, {"window_end": window.end, "windows": row.windows, "reason": window.reason})
        tx.publish(REPEATED, _payload(row))
    if step in {AlertStep.OPEN, AlertStep.REPLACE}:
        _open(tx, window, names, severity)
    return step


def _ok_streak(tx: Transaction, window: Window, length: int) -> int:
    """Return how many windows in a row, the newest included, were `ok` for this version; counting stops at `length`."""
    row, streak = store.WindowRow, 0
    query = select(row.state, row.version).where(row.endpoint == window.endpoint, row.analysis == window.analysis.value)
    for state, version in tx.session.execute(query.order_by(row.start.desc()).limit(length)):
        if state != State.OK or version != window.version:
            break
        streak += 1
    return streak


def _open(tx: Transaction, window: Window, names: Sequence[str], severity: float) -> None:
    row = store.AlertRow(
        id=new_id("alert"), endpoint=window.endpoint, kind=window.analysis.value, version=window.version, state=AlertState.OPEN.value,
        first_window_start=window.start, last_window_start=window.start, last_window_end=window.end, windows=1, names=list(names),
        severity=severity, reason=window.reason, opened_at=tx.now,
    )  # fmt: skip
    tx.session.add(row)
    tx.record("monitoring.alert.opened", row.id, _payload(row))
    tx.publish(OPENED, _payload(row))


def resolve(tx: Transaction, row: store.AlertRow, comment: str) -> None:
    """End an alert, on record."""
    row.state, row.resolved_at, row.resolved_by, row.comment = AlertState.RESOLVED.value, tx.now, tx.actor, comment
    tx.record("monitoring.alert.resolved", row.id, {"endpoint": row.endpoint, "kind": row.kind, "comment": comment})
    tx.publish(RESOLVED, {"alert_id": row.id, "endpoint": row.endpoint, "kind": row.kind})
    tx.session.flush()


def acknowledge(tx: Transaction, alert_id: str, comment: str) -> Alert:
    """Note that a person looks after an alert; it goes on absorbing windows.

    Raises:
        NotFound: there is no such alert.
        Conflict: it is resolved.
    """
    row = _unresolved(tx, alert_id, comment)
    if row.state == AlertState.OPEN:
        row.state, row.acknowledged_at, row.acknowledged_by, row.comment = AlertState.ACKNOWLEDGED.value, tx.now, tx.actor, comment
        tx.record("monitoring.alert.acknowledged", row.id, {"endpoint": row.endpoint, "kind": row.kind, "comment": comment})
    return store.to_alert(row)


def resolve_by_hand(tx: Transaction, alert_id: str, comment: str) -> Alert:
    """End an alert because a person says so.

    Raises:
        NotFound: there is no such alert.
        Conflict: it is resolved already.
    """
    row = _unresolved(tx, alert_id, comment)
    resolve(tx, row, comment)
    return store.to_alert(row)


def _unresolved(tx: Transaction, alert_id: str, comment: str) -> store.AlertRow:
    if len(comment) > TEXT_LENGTH_MAX:
        raise InvalidInput(f"The comment has {len(comment):,} characters; at most {TEXT_LENGTH_MAX:,} are kept.")
    row = tx.session.get(store.AlertRow, alert_id, with_for_update=True)
    if row is None:
        raise NotFound(f"There is no alert '{alert_id[:100]}'.", next_step="List them with `gateline monitor alerts`.")
    if row.state == AlertState.RESOLVED:
        raise Conflict(f"The alert {alert_id} was resolved by {row.resolved_by} at {iso(row.resolved_at or 0)}.")
    return row


def _payload(row: store.AlertRow) -> dict[str, Any]:
    return {
        "alert_id": row.id,
        "endpoint": row.endpoint,
        "kind": row.kind,
        "version": row.version,
        "window_start": row.last_window_start,
        "window_end": row.last_window_end,
        "windows": row.windows,
        "names": list(row.names),
        "severity": row.severity,
        "sentence": row.reason,
    }
