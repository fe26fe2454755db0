"""Changes of state inside a transaction: each leaves a ledger entry and a line of history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateline.registry import rules, store
from gateline.registry.model import HistoryKind, State

if TYPE_CHECKING:
    from gateline.ledger import Transaction


def note(tx: Transaction, row: store.VersionRow, kind: HistoryKind, *, before: str = "", environment: str = "", reason: str = "") -> None:
    """Add a line to the history of a version."""
    tx.session.add(
        store.HistoryRow(
            name=row.name, model_version=row.id, kind=kind.value, at=tx.now, actor=tx.actor, from_state=before, to_state=row.state,
            environment=environment, reason=reason,
        )
    )  # fmt: skip


def change_state(tx: Transaction, row: store.VersionRow, target: State, reason: str, *, environment: str = "") -> None:
    """Move a version to another state; the same state again changes nothing.

    Raises:
        Conflict: the lifecycle does not allow it.
    """
    before = State(row.state)
    if before is target:
        return
    rules.require_transition(row.id, before, target)
    row.state = target.value
    note(tx, row, HistoryKind.STATE_CHANGED, before=before.value, environment=environment, reason=reason)
    tx.record(
        "model.version.state_changed",
        row.id,
        {"from": before.value, "to": target.value, "environment": environment, "reason": reason, "digest": row.digest},
    )


def place(tx: Transaction, row: store.VersionRow, environment: str, reason: str) -> str:
    """Make a version the one of its model in an environment, and return the id of the one that was there (empty: none).

    The one that was there leaves: out of production it is retired, out of staging a candidate again.
    """
    current = tx.session.get(store.PlacementRow, (row.name, environment))
    if current is not None and current.model_version == row.id:
        return row.id
    previous = "" if current is None else current.model_version
    if current is None:
        tx.session.add(store.PlacementRow(name=row.name, environment=environment, model_version=row.id, since=tx.now))
    else:
        current.model_version, current.since = row.id, tx.now
    tx.session.flush()
    target = rules.state_in(environment)
    if not (State(row.state) is State.PRODUCTION and target is State.STAGING):
        change_state(tx, row, target, reason, environment=environment)
    note(tx, row, HistoryKind.PLACED, environment=environment, reason=reason)
    tx.record("model.version.placed", row.id, {"environment": environment, "previous": previous, "reason": reason, "digest": row.digest})
    if previous:
        _leave(tx, store.version_row(tx.session, previous), environment, f"{row.id} took its place in {environment}")
    return previous


def remove(tx: Transaction, row: store.VersionRow, reason: str) -> None:
    """Take a version out of every environment it is placed in."""
    for placement in store.placements(tx.session, row.name):
        if placement.model_version == row.id:
            environment = placement.environment
            tx.session.delete(placement)
            tx.session.flush()
            _leave(tx, row, environment, reason)


def _leave(tx: Transaction, row: store.VersionRow, environment: str, reason: str) -> None:
    """Record that a version is no longer placed in an environment, with the state that follows."""
    others = [one.environment for one in store.placements(tx.session, row.name) if one.model_version == row.id]
    note(tx, row, HistoryKind.REMOVED, environment=environment, reason=reason)
    tx.record("model.version.removed", row.id, {"environment": environment, "reason": reason})
    change_state(tx, row, rules.state_after_leaving(environment, others), reason, environment=environment)
