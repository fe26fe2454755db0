"""Principals and tokens."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from gateline.access import OWNER, Access, Permission, PrincipalKind, Role, hash_token, load_token_key
from gateline.access.service import CACHE_SECONDS
from gateline.kernel.clock import SECOND, SimulatedClock
from gateline.kernel.errors import ConfigurationError, Conflict, Denied, InvalidInput, NotFound, Unauthenticated
from gateline.ledger import Ledger


@pytest.fixture
def ledger(sqlite_ledger: Ledger) -> Ledger:
    """Most promises are not about the database."""
    return sqlite_ledger


@pytest.fixture
def access(ledger: Ledger, home: Path) -> Access:
    return Access(ledger, home)


def test_a_token_leads_to_its_principal(access: Access) -> None:
    created = access.create_principal("owner", "validator", [Role.VALIDATOR])
    secret = access.create_token("owner", "validator")
    assert secret.startswith("gl_")
    assert access.authenticate(secret) == created == access.principal("validator")


@pytest.mark.parametrize("token", ["", "gl_", "gl_" + "a" * 43, "xx_" + "a" * 43, "gl_" + "é" * 43, "gl_" + "a" * 10_000, "Bearer"])
def test_an_unknown_or_malformed_token_is_refused(access: Access, token: str) -> None:
    with pytest.raises(Unauthenticated):
        access.authenticate(token)


def test_a_token_ends_when_it_said_it_would(access: Access, clock: SimulatedClock) -> None:
    access.create_principal("owner", "developer", ["developer"])
    secret = access.create_token("owner", "developer", clock.now() + 10 * SECOND)
    clock.advance(9)
    access.authenticate(secret)
    clock.advance(1)
    with pytest.raises(Unauthenticated, match="expired"):
        access.authenticate(secret)


def test_a_token_that_is_born_expired_is_refused(access: Access, clock: SimulatedClock) -> None:
    access.create_principal("owner", "developer", ["developer"])
    with pytest.raises(InvalidInput):
        access.create_token("owner", "developer", clock.now())


def test_a_revoked_token_stops_at_once_here_and_soon_elsewhere(access: Access, ledger: Ledger, home: Path, clock: SimulatedClock) -> None:
    elsewhere = Access(ledger, home)
    access.create_principal("owner", "developer", ["developer"])
    secret = access.create_token("owner", "developer")
    assert access.authenticate(secret) == elsewhere.authenticate(secret)
    revoked = access.revoke_token("owner", access.find_token(secret).id)
    assert revoked.revoked_at == clock.now()
    with pytest.raises(Unauthenticated, match="revoked"):
        access.authenticate(secret)
    assert access.recognise(secret) is None
    assert elsewhere.recognise(secret) is not None
    clock.advance(CACHE_SECONDS)
    assert elsewhere.recognise(secret) is None
    with pytest.raises(Unauthenticated, match="revoked"):
        elsewhere.authenticate(secret)


def test_a_clock_that_went_back_does_not_keep_a_revoked_token_alive(
    access: Access, ledger: Ledger, home: Path, clock: SimulatedClock
) -> None:
    elsewhere = Access(ledger, home)
    access.create_principal("owner", "developer", ["developer"])
    secret = access.create_token("owner", "developer")
    elsewhere.authenticate(secret)
    access.revoke_token("owner", access.find_token(secret).id)
    clock.advance(-3600)
    assert elsewhere.recognise(secret) is None
    with pytest.raises(Unauthenticated):
        elsewhere.authenticate(secret)


def test_revoking_twice_records_once(access: Access, ledger: Ledger) -> None:
    access.create_principal("owner", "developer", ["developer"])
    token = access.find_token(access.create_token("owner", "developer"))
    access.revoke_token("owner", token.id)
    access.revoke_token("owner", token.id)
    assert len(ledger.entries(kind="access.token.revoked")) == 1
    with pytest.raises(NotFound):
        access.revoke_token("owner", "tok_none")


def test_no_secret_and_no_hash_reaches_the_ledger_or_the_listing(access: Access, ledger: Ledger) -> None:
    access.create_principal("owner", "developer", ["developer"])
    secret = access.create_token("owner", "developer")
    hashed = hash_token(access.key, secret)
    seen = json.dumps([entry.as_dict() for entry in ledger.entries()]) + json.dumps([token.as_dict() for token in access.tokens()])
    assert secret not in seen
    assert hashed not in seen
    assert [entry.kind for entry in ledger.entries()] == ["access.principal.created", "access.token.created"]


def test_the_stored_hash_is_worthless_under_another_key(access: Access, ledger: Ledger, tmp_path: Path) -> None:
    access.create_principal("owner", "developer", ["developer"])
    secret = access.create_token("owner", "developer")
    with pytest.raises(Unauthenticated):
        Access(ledger, tmp_path / "another").authenticate(secret)


def test_all_mistakes_in_the_roles_are_named_at_once(access: Access) -> None:
    with pytest.raises(InvalidInput) as caught:
        access.create_principal("owner", "somebody", ["pilot", "cook", "runner"])
    assert "'cook' is no role; 'pilot' is no role; the role runner is made for services" in caught.value.message


@pytest.mark.parametrize(
    ("name", "roles", "kind"),
    [
        ("Somebody", ["viewer"], "person"),
        ("", ["viewer"], "person"),
        ("a", [], "person"),
        ("a", ["viewer"], "robot"),
        ("a", ["validator"], "service"),
    ],
)
def test_a_wrong_principal_is_refused(access: Access, name: str, roles: list[str], kind: str) -> None:
    with pytest.raises(InvalidInput):
        access.create_principal("owner", name, roles, kind)
    assert access.principals() == []


def test_creating_the_same_principal_again_changes_nothing_and_another_of_that_name_is_refused(access: Access, ledger: Ledger) -> None:
    first = access.create_principal("owner", "runner", ["runner"], PrincipalKind.SERVICE)
    assert access.create_principal("owner", "runner", [Role.RUNNER], "service") == first
    assert len(ledger.entries()) == 1
    with pytest.raises(Conflict):
        access.create_principal("owner", "runner", ["developer"])


def test_a_token_needs_a_principal(access: Access) -> None:
    with pytest.raises(NotFound):
        access.create_token("owner", "nobody")
    with pytest.raises(NotFound):
        access.principal("nobody")


def test_the_owner_is_made_once_with_a_private_file(access: Access, home: Path) -> None:
    token = access.ensure_owner()
    path = home / "credentials.json"
    assert json.loads(path.read_text()) == {"principal": OWNER, "token": token}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert access.ensure_owner() == token
    assert len(access.tokens()) == 1
    owner = access.authenticate(token)
    assert access.admits(owner, Permission.ACCESS_ADMIN).allowed
    assert access.admits(owner, Permission.DATASET_WRITE).allowed
    assert not access.admits(owner, Permission.MODEL_APPROVE).allowed


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"token": 1}', '{"token": "gl_old"}'])
def test_lost_credentials_are_made_anew(access: Access, home: Path, damage: str) -> None:
    access.ensure_owner()
    (home / "credentials.json").write_text(damage)
    assert access.authenticate(access.ensure_owner()).name == OWNER


def test_a_denial_is_raised_with_its_policies(access: Access) -> None:
    viewer = access.create_principal("owner", "viewer", ["viewer"])
    with pytest.raises(Denied) as caught:
        access.require(viewer, Permission.MODEL_APPROVE, resource="flight-delay@1", facts={})
    assert caught.value.facts["policies"] == ["approval-needs-a-candidate", "approval-needs-passed-gates", "separation-of-duties"]
    with pytest.raises(Denied):
        access.require_at_door(viewer, Permission.DATASET_WRITE)
    assert access.require_at_door(viewer, Permission.DATASET_READ).allowed


def test_workers_learn_valid_tokens_of_those_who_may_predict(access: Access, clock: SimulatedClock) -> None:
    access.create_principal("owner", "replayer", ["replayer"], "service")
    access.create_principal("owner", "operator", ["operator"])
    access.create_principal("owner", "viewer", ["viewer"])
    replaying, operating = access.create_token("owner", "replayer", clock.now() + SECOND), access.create_token("owner", "operator")
    access.create_token("owner", "viewer")
    gone = access.create_token("owner", "operator")
    access.revoke_token("owner", access.find_token(gone).id)

    grants = {grant.principal: grant for grant in access.prediction_tokens()}

    assert set(grants) == {"replayer", "operator"}
    assert grants["replayer"].permissions == {Permission.PREDICTION_REQUEST, Permission.PREDICTION_REPLAY}
    assert grants["replayer"].hash == hash_token(access.key, replaying)
    assert grants["replayer"].expires_at == clock.now() + SECOND
    assert grants["operator"].permissions == {Permission.PREDICTION_REQUEST}
    assert grants["operator"].hash == hash_token(access.key, operating)
    clock.advance(1)
    assert {grant.principal for grant in access.prediction_tokens()} == {"operator"}


def test_the_token_key_is_private_and_stays(home: Path) -> None:
    key = load_token_key(home / "keys")
    assert len(key) == 32
    assert load_token_key(home / "keys") == key
    assert stat.S_IMODE((home / "keys" / "token.key").stat().st_mode) == 0o600
    assert [path.name for path in (home / "keys").iterdir()] == ["token.key"]


def test_a_damaged_token_key_is_named(home: Path) -> None:
    (home / "keys").mkdir()
    (home / "keys" / "token.key").write_bytes(b"short")
    with pytest.raises(ConfigurationError, match=r"token\.key holds 5 bytes"):
        load_token_key(home / "keys")
