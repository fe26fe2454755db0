"""The ledger: read it, take a signed checkpoint, verify it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateline.access import Permission
from gateline.kernel.limits import PAGE_ROWS_MAX
from gateline.server.security import Application, permission

router = APIRouter(prefix="/ledger", tags=["ledger"])


@router.get("", openapi_extra=permission(Permission.LEDGER_READ))
def list_entries(
    app: Application,
    start: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = 100,
    subject: str = "",
    kind: str = "",
) -> dict[str, Any]:
    """Return entries from position `start`, oldest first, optionally of one subject or kind; `next` continues, or is null."""
    entries = app.ledger.entries(start=start, subject=subject, kind=kind, limit=limit)
    following = entries[-1].seq + 1 if len(entries) == limit else None
    return {"entries": [entry.as_dict() for entry in entries], "size": app.ledger.size(), "next": following}


@router.get("/checkpoint", openapi_extra=permission(Permission.LEDGER_READ))
def take_checkpoint(app: Application) -> dict[str, Any]:
    """Return a signed statement of size and root of the ledger as it stands."""
    return {**app.ledger.checkpoint().as_dict(), "key": app.ledger.key.public.id}


@router.get("/{seq}/proof", openapi_extra=permission(Permission.LEDGER_READ))
def prove_entry(app: Application, seq: int) -> dict[str, Any]:
    """Return an entry with its inclusion proof (RFC 9162)."""
    return app.ledger.prove(seq)


@router.post("/verify", openapi_extra=permission(Permission.LEDGER_READ))
def verify_ledger(app: Application) -> dict[str, Any]:
    """Recompute every leaf, node, root and signature, and name what differs."""
    return app.ledger.verify().as_dict()
