"""Who may do what: principals, tokens and the Cedar policies that decide."""

from __future__ import annotations

from gateline.access.model import Decision, Permission, Principal, PrincipalKind, Role, Token, TokenGrant
from gateline.access.service import OWNER, Access
from gateline.access.tokens import hash_token, load_token_key

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
]
