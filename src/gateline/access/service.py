"""Principals, tokens and decisions."""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING, Any

from gateline.access import store
from gateline.access.model import (
    OWNER,
    OWNER_ROLES,
    SERVICE_ROLES,
    Decision,
    Permission,
    Principal,
    PrincipalKind,
    Role,
    Token,
    TokenGrant,
)
from gateline.access.policy import NO_PERMIT, Policies
from gateline.access.tokens import PREFIX, SECRET_LENGTH, hash_token, load_token_key, new_secret
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import Conflict, Denied, InvalidInput, NotFound, Unauthenticated
from gateline.kernel.files import write_atomic
from gateline.kernel.ids import new_id
from gateline.kernel.names import valid_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gateline.kernel.clock import Instant
    from gateline.ledger import Ledger, Transaction

CACHE_SECONDS = 3.0
_CACHE_ENTRIES_MAX = 4096
_PREDICTION_PERMISSIONS = (Permission.PREDICTION_REQUEST, Permission.PREDICTION_REPLAY)


class Access:
    """Who is asking, and may they?

    Callers may rely on: a decision that cannot be evaluated is a denial; a revoked token stops working at once in the process that
    revoked it and within `CACHE_SECONDS` in every other; no secret is ever stored or logged.

    Args:
        ledger: Where principals and tokens are recorded.
        home: The installation's folder; the token key lies in `keys/token.key`, the owner's token in `credentials.json`.
    """

    def __init__(self, ledger: Ledger, home: Path) -> None:
        self._ledger = ledger
        self._clock = ledger.clock
        self._credentials = home / "credentials.json"
        self.key = load_token_key(home / "keys")
        self.policies = Policies.shipped()
        self._cache: dict[str, tuple[Principal, Instant | None, Instant]] = {}

    def authenticate(self, token: str) -> Principal:
        """Return the principal whose token this is.

        Raises:
            Unauthenticated: the token is missing, malformed, unknown, expired or revoked.
        """
        if not _is_possible(token):
            raise _unauthenticated("No valid API token was given.")
        known = self.recognise(token)
        if known is not None:
            return known
        hashed, now = hash_token(self.key, token), self._clock.now()
        principal, expires_at = self._look_up(hashed)
        if len(self._cache) >= _CACHE_ENTRIES_MAX:
            self._cache.clear()
        self._cache[hashed] = (principal, expires_at, now)
        if expires_at is not None and expires_at <= now:
            raise _unauthenticated("The API token has expired.")
        return principal

    def recognise(self, token: str) -> Principal | None:
        """Return the principal of a token that was authenticated within the last `CACHE_SECONDS`, without asking the database.

        None says nothing about the token: `authenticate` does.
        """
        cached = self._cache.get(hash_token(self.key, token)) if _is_possible(token) else None
        if cached is None:
            return None
        (principal, expires_at, since), now = cached, self._clock.now()
        fresh = 0 <= now - since < CACHE_SECONDS * SECOND
        return principal if fresh and (expires_at is None or expires_at > now) else None

    def _look_up(self, hashed: str) -> tuple[Principal, Instant | None]:
        with self._ledger.records.read() as session:
            found = store.by_hash(session, hashed)
        if found is None or not hmac.compare_digest(found[0].hash, hashed):
            raise _unauthenticated("The API token is not known here.")
        token, principal = found
        if token.revoked_at is not None:
            raise _unauthenticated("The API token was revoked.")
        return store.to_principal(principal), token.expires_at

    def admits(self, principal: Principal, permission: Permission) -> Decision:
        """Decide at the door: whether a role of the principal carries the permission at all."""
        return self.policies.at_door(principal, permission)

    def decide(
        self, principal: Principal, permission: Permission, *, resource: str = "", facts: Mapping[str, Any] | None = None
    ) -> Decision:
        """Decide about one record.

        Args:
            principal: Who asks.
            permission: What for.
            resource: Id of the record, for the message.
            facts: What the policies may look at. For `model:approve`: author (str), contributors (names), gatesPassed (bool) and state
                (str). For `model:release`: approved (bool) and gatesPassed (bool). For `contract:review`: author (str).
                For `pipeline:approve`: author (str), contributors (names) and namedRole (bool). A missing fact
                counts as the worst one; a fact that no policy knows is a denial, since somebody believed it would be looked at.
        """
        return self.policies.about(principal, permission, resource, facts or {})

    def require(
        self, principal: Principal, permission: Permission, *, resource: str = "", facts: Mapping[str, Any] | None = None
    ) -> Decision:
        """Return the decision when it is an allowance.

        Raises:
            Denied: it is not; the message names the policy and its reason in plain words.
        """
        return self._enforce(principal, permission, self.decide(principal, permission, resource=resource, facts=facts))

    def require_at_door(self, principal: Principal, permission: Permission) -> Decision:
        """Return the decision at the door when it is an allowance.

        Raises:
            Denied: no role of the principal carries the permission.
        """
        return self._enforce(principal, permission, self.admits(principal, permission))

    def _enforce(self, principal: Principal, permission: Permission, decision: Decision) -> Decision:
        if decision.allowed:
            return decision
        facts = {"principal": principal.name, "permission": permission.value, "policies": list(decision.reasons)}
        next_step = "An administrator can create a principal with such a role." if decision.reasons == (NO_PERMIT,) else ""
        raise Denied(decision.sentence, next_step=next_step, facts=facts)

    def create_principal(self, actor: str, name: str, roles: Iterable[str], kind: PrincipalKind | str = PrincipalKind.PERSON) -> Principal:
        """Create a person or a service.

        Raises:
            InvalidInput: the name, a role or the kind is not allowed; all mistakes are named.
            Conflict: the name is taken by a principal of other roles or kind. The same call again changes nothing.
        """
        principal = Principal(name=valid_name("principal", name), kind=_kind(kind), roles=_roles(roles, _kind(kind)))
        with self._ledger.transaction(actor) as tx:
            existing = tx.session.get(store.PrincipalRow, name)
            if existing is not None:
                if store.to_principal(existing) == principal:
                    return principal
                raise Conflict(f"The principal '{name}' exists with roles {', '.join(existing.roles)}.", next_step="Choose another name.")
            tx.session.add(
                store.PrincipalRow(name=name, kind=principal.kind.value, roles=sorted(principal.roles), created_at=tx.now, created_by=actor)
            )
            tx.record("access.principal.created", name, principal.as_dict())
        return principal

    def principal(self, name: str) -> Principal:
        """Return the principal of that name; raises NotFound."""
        with self._ledger.records.read() as session:
            row = session.get(store.PrincipalRow, name)
        if row is None:
            raise NotFound(f"There is no principal '{name}'.", next_step="Create it with: gateline principal create NAME --role ROLE")
        return store.to_principal(row)

    def principals(self) -> list[Principal]:
        """Return every principal by name."""
        with self._ledger.records.read() as session:
            return store.principals(session)

    def create_token(self, actor: str, principal: str, expires: Instant | None = None) -> str:
        """Create a token and return its secret, which cannot be shown again.

        Args:
            actor: Who creates it.
            principal: Whose token it is.
            expires: UTC microseconds after which it no longer works; None for no end.

        Raises:
            NotFound: there is no such principal.
            InvalidInput: the end is not in the future.
        """
        with self._ledger.transaction(actor) as tx:
            return self.add_token(tx, principal, expires)[0]

    def add_token(self, tx: Transaction, principal: str, expires: Instant | None = None) -> tuple[str, str]:
        """Create a token within a transaction and return its secret and its id; raises as `create_token`."""
        secret, token_id = new_secret(), new_id("tok")
        if tx.session.get(store.PrincipalRow, principal) is None:
            raise NotFound(f"There is no principal '{principal}'.", next_step="Create it with: gateline principal create NAME")
        if expires is not None and expires <= tx.now:
            raise InvalidInput("The token would have expired before its creation.", next_step="Give a time in the future.")
        tx.session.add(
            store.TokenRow(
                id=token_id,
                hash=hash_token(self.key, secret),
                principal=principal,
                created_at=tx.now,
                created_by=tx.actor,
                expires_at=expires,
            )
        )
        tx.record("access.token.created", token_id, {"principal": principal, "expires_at": expires})
        tx.publish("access.token.created", {"token": token_id, "principal": principal})
        return secret, token_id

    def find_token(self, secret: str) -> Token:
        """Return the record of a token from its secret; raises NotFound."""
        with self._ledger.records.read() as session:
            found = store.by_hash(session, hash_token(self.key, secret))
        if found is None:
            raise NotFound("There is no token with that secret.")
        return store.to_token(found[0])

    def tokens(self, principal: str = "") -> list[Token]:
        """Return the tokens of one principal, or of all, oldest first; secrets are not known."""
        with self._ledger.records.read() as session:
            return store.tokens(session, principal)

    def revoke_token(self, actor: str, token_id: str) -> Token:
        """Make a token worthless, for good; a second call changes nothing.

        Raises:
            NotFound: there is no such token.
        """
        with self._ledger.transaction(actor) as tx:
            row = tx.session.get(store.TokenRow, token_id)
            if row is None:
                raise NotFound(f"There is no token '{token_id}'.", next_step="List them with: gateline token list")
            revoke(tx, token_id)
        self._cache.clear()
        return store.to_token(row)

    def prediction_tokens(self) -> list[TokenGrant]:
        """Return what inference workers need to recognise valid tokens of principals that may request or replay predictions."""
        with self._ledger.records.read() as session:
            rows = store.valid_tokens(session, self._clock.now())
        known: dict[str, frozenset[Permission]] = {}
        grants = []
        for token, row in rows:
            if row.name not in known:
                principal = store.to_principal(row)
                known[row.name] = frozenset(one for one in _PREDICTION_PERMISSIONS if self.admits(principal, one).allowed)
            if known[row.name]:
                grants.append(TokenGrant(hash=token.hash, principal=row.name, permissions=known[row.name], expires_at=token.expires_at))
        return grants

    def ensure_owner(self) -> str:
        """Return the owner's token, creating principal and `credentials.json` (mode 0600) at the first start.

        Who can read the home folder owns the installation: when the file is lost, a new token is made.
        """
        token = self._stored_token()
        if token:
            return token
        self.create_principal("system", OWNER, OWNER_ROLES)
        token = self.create_token("system", OWNER)
        write_atomic(self._credentials, json.dumps({"principal": OWNER, "token": token}).encode() + b"\n", mode=0o600)
        return token

    def _stored_token(self) -> str:
        """Return the token of `credentials.json` when it still works, else nothing."""
        try:
            token = json.loads(self._credentials.read_text(encoding="utf-8"))["token"]
            self.authenticate(token)
        except (FileNotFoundError, ValueError, KeyError, TypeError, Unauthenticated):
            return ""
        return str(token)


def revoke(tx: Transaction, token_id: str) -> None:
    """Make a token worthless within a transaction: everywhere `CACHE_SECONDS` after it. One that is not there, or was revoked, stays so."""
    row = tx.session.get(store.TokenRow, token_id)
    if row is not None and row.revoked_at is None:
        row.revoked_at = tx.now
        tx.record("access.token.revoked", token_id, {"principal": row.principal})
        tx.publish("access.token.revoked", {"token": token_id, "principal": row.principal})


def _is_possible(token: str) -> bool:
    """Return whether a text has the form of a token."""
    return len(token) == SECRET_LENGTH and token.startswith(PREFIX) and token.isascii()


def _unauthenticated(message: str) -> Unauthenticated:
    return Unauthenticated(
        message,
        next_step="Send 'Authorization: Bearer gl_…'; GATELINE_TOKEN sets it, and credentials.json in the home folder holds the owner's.",
    )


def _kind(kind: str) -> PrincipalKind:
    try:
        return PrincipalKind(kind)
    except ValueError as error:
        raise InvalidInput(f"'{kind}' is no kind of principal.", next_step="Use person or service.") from error


def _roles(roles: Iterable[str], kind: PrincipalKind) -> frozenset[Role]:
    """Return the roles, or name every mistake at once."""
    given = set(roles)
    mistakes = [f"'{role}' is no role" for role in sorted(given - set(Role))]
    found = frozenset(Role(role) for role in given & set(Role))
    if kind is PrincipalKind.PERSON:
        mistakes += [f"the role {role} is made for services" for role in sorted(found & SERVICE_ROLES)]
    elif Role.VALIDATOR in found:
        mistakes.append("a service can never validate; approval is the act of a person")
    if not given:
        mistakes.append("a principal needs at least one role")
    if mistakes:
        raise InvalidInput(f"The roles are wrong: {'; '.join(mistakes)}.", next_step=f"Roles are: {', '.join(Role)}.")
    return found
