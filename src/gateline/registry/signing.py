"""Signatures under model versions, and the record of those that were refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.gates import STATEMENT_TYPE, GateRun
from gateline.kernel.errors import Conflict, GatelineError, InvalidInput
from gateline.kernel.ids import new_id
from gateline.registry import lifecycle, store
from gateline.registry.model import Approval, HistoryKind, Meaning, ModelVersion, ModelVersionId, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.access import Principal
    from gateline.ledger import Ledger, Transaction


def known_meaning(meaning: Meaning | str) -> Meaning:
    """Return the meaning of a signature; raises InvalidInput when it is none."""
    try:
        return Meaning(meaning)
    except ValueError as error:
        raise InvalidInput(f"'{meaning}' is no meaning of a signature.", next_step=f"Use one of: {', '.join(Meaning)}.") from error


def subjects_of(version: ModelVersion, run: GateRun) -> dict[str, Any]:
    """Return the digests that a signature under a version is bound to (21 CFR 11.70: it cannot be moved to another record)."""
    return {
        "model_files": version.digest,
        "run": version.run_digest,
        "gate_run": run.statement_digest,
        "policy": run.policy_digest,
        "feature_set": version.feature_set_digest,
        "dataset_versions": dict(version.dataset_versions),
        "training_frame": version.training_frame,
    }


def sign(
    ledger: Ledger,
    tx: Transaction,
    row: store.VersionRow,
    principal: Principal,
    meaning: Meaning,
    comment: str,
    subjects: Mapping[str, Any],
) -> Approval:
    """Write a signature under a version whose row is locked.

    Raises:
        Conflict: the version is no candidate any more, or the same person signed already.
    """
    if State(row.state) is not State.CANDIDATE:
        raise Conflict(f"{row.id} is {row.state}; only a candidate is approved.", next_step="Look at its history.")
    if any(one.principal == principal.name for one in store.approvals(tx.session, row.id)):
        raise Conflict(f"{principal.name} has already signed {row.id}.", next_step="A second signature needs a second person.")
    unsigned = Approval(
        id=new_id("approval"),
        model_version=ModelVersionId(row.id),
        principal=principal.name,
        roles=tuple(sorted(principal.roles)),
        meaning=meaning,
        comment=comment,
        signed_at=tx.now,
        subjects=subjects,
    )
    envelope = ledger.sign(STATEMENT_TYPE, unsigned.statement(row.files))
    tx.session.add(store.ApprovalRow(**unsigned.content(), envelope=envelope))
    lifecycle.note(tx, row, HistoryKind.APPROVED, before=row.state, reason=f"{meaning}: {comment}")
    tx.record("model.version.approved", row.id, unsigned.content())
    event = {"id": row.id, "approval": unsigned.id, "principal": principal.name, "meaning": meaning.value}
    tx.publish("model.version.approved", event)
    return Approval.from_dict({**unsigned.content(), "envelope": envelope})


def record_refusal(ledger: Ledger, principal: Principal, version: str, meaning: Meaning, refusal: GatelineError) -> None:
    """Record that a signature was refused, in a transaction of its own: the refused change itself left nothing."""
    with ledger.transaction(principal.name) as tx:
        row = store.version_row(tx.session, version)
        lifecycle.note(tx, row, HistoryKind.APPROVAL_REFUSED, before=row.state, reason=refusal.message)
        said = {"code": refusal.code, "reason": refusal.message, "facts": refusal.facts}
        tx.record("model.approval.refused", row.id, {"principal": principal.name, "meaning": meaning.value, **said})
