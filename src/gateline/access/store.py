"""The tables of principals and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, ForeignKey, Index, Text, or_, select
from sqlalchemy.orm import Mapped, mapped_column

from gateline.access.model import Principal, PrincipalKind, Role, Token
from gateline.kernel.records import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from gateline.kernel.clock import Instant


class PrincipalRow(Row):
    __tablename__ = "principal"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    roles: Mapped[list[Any]]
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)


class TokenRow(Row):
    __tablename__ = "access_token"
    __table_args__ = (Index("access_token_principal", "principal"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    hash: Mapped[str] = mapped_column(Text, unique=True)
    principal: Mapped[str] = mapped_column(Text, ForeignKey("principal.name"))
    created_at: Mapped[int]
    created_by: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    revoked_at: Mapped[int | None] = mapped_column(BigInteger, default=None)


def to_principal(row: PrincipalRow) -> Principal:
    """Return the domain value of a row."""
    return Principal(name=row.name, kind=PrincipalKind(row.kind), roles=frozenset(Role(role) for role in row.roles))


def to_token(row: TokenRow) -> Token:
    """Return the domain value of a row, without the hash."""
    return Token(
        id=row.id,
        principal=row.principal,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


def principals(session: Session) -> list[Principal]:
    """Return every principal by name."""
    return [to_principal(row) for row in session.scalars(select(PrincipalRow).order_by(PrincipalRow.name))]


def tokens(session: Session, principal: str = "") -> list[Token]:
    """Return the tokens of one principal, or of all, oldest first."""
    query = select(TokenRow).order_by(TokenRow.created_at, TokenRow.id)
    if principal:
        query = query.where(TokenRow.principal == principal)
    return [to_token(row) for row in session.scalars(query)]


def by_hash(session: Session, hashed: str) -> tuple[TokenRow, PrincipalRow] | None:
    """Return the token with this keyed hash and its principal."""
    found = session.execute(
        select(TokenRow, PrincipalRow).join(PrincipalRow, PrincipalRow.name == TokenRow.principal).where(TokenRow.hash == hashed)
    ).one_or_none()
    return None if found is None else (found[0], found[1])


def valid_tokens(session: Session, now: Instant) -> Sequence[tuple[TokenRow, PrincipalRow]]:
    """Return tokens that are neither revoked nor expired, with their principals, in a stable order."""
    rows = session.execute(
        select(TokenRow, PrincipalRow)
        .join(PrincipalRow, PrincipalRow.name == TokenRow.principal)
        .where(TokenRow.revoked_at.is_(None), or_(TokenRow.expires_at.is_(None), TokenRow.expires_at > now))
        .order_by(TokenRow.id)
    )
    return [(token, principal) for token, principal in rows]
