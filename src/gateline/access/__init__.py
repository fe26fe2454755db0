"""Who may do what: principals, tokens and the Cedar policies that decide.

`Access` is loaded when it is first used, so that naming a role or a permission loads no database and no policy engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.access.model import OWNER, Decision, Permission, Principal, PrincipalKind, Role, Token, TokenGrant
from gateline.access.tokens import hash_token, load_token_key

if TYPE_CHECKING:
    from gateline.access.service import Access, revoke

__all__ = [
    "OWNER",
    "Access",
    "Decision",
    "Permission",
    "Principal",
    "PrincipalKind",
    "Role",
    "Token",
    "TokenGrant",
    "hash_token",
    "load_token_key",
    "revoke",
]


def __getattr__(name: str) -> Any:
    """Load the service when it is first used."""
    if name not in {"Access", "revoke"}:
        raise AttributeError(f"module 'gateline.access' has no attribute '{name}'")
    from gateline.access import service

    return getattr(service, name)
