"""Principals and tokens keep their promises on SQLite and on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateline.access import Access, Permission, PrincipalKind, Role
from gateline.kernel.clock import SECOND, SimulatedClock
from gateline.kernel.errors import Conflict, Unauthenticated
from gateline.ledger import Ledger


@pytest.fixture
def access(ledger: Ledger, home: Path) -> Access:
    return Access(ledger, home)


def test_principals_and_tokens_read_back_as_they_were_written(access: Access, ledger: Ledger, clock: SimulatedClock) -> None:
    created = access.create_principal("owner", "replayer", ["replayer", "worker"], "service")
    assert created == access.principal("replayer")
    assert (created.kind, created.roles) == (PrincipalKind.SERVICE, {Role.REPLAYER, Role.WORKER})
    with pytest.raises(Conflict):
        access.create_principal("owner", "replayer", ["replayer"], "service")

    lasting, ending = access.create_token("owner", "replayer"), access.create_token("owner", "replayer", clock.now() + SECOND)
    assert access.authenticate(lasting) == access.authenticate(ending) == created
    assert {grant.permissions for grant in access.prediction_tokens()} == {
        frozenset({Permission.PREDICTION_REQUEST, Permission.PREDICTION_REPLAY})
    }
    assert len(access.prediction_tokens()) == 2
    clock.advance(1)
    assert len(access.prediction_tokens()) == 1

    token = access.find_token(lasting)
    assert {one.id for one in access.tokens("replayer")} == {one.id for one in access.tokens()} >= {token.id}
    access.revoke_token("owner", token.id)
    assert access.prediction_tokens() == []
    with pytest.raises(Unauthenticated):
        access.authenticate(lasting)
    assert [entry.kind for entry in ledger.entries()] == [
        "access.principal.created",
        "access.token.created",
        "access.token.created",
        "access.token.revoked",
    ]
    assert ledger.verify().sound


def test_the_owner_is_made_once(access: Access) -> None:
    assert access.ensure_owner() == access.ensure_owner()
    assert [token.principal for token in access.tokens()] == ["owner"]
