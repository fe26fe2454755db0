"""Promotion, rollback, retirement, rejection and history."""

from __future__ import annotations

import threading

import pytest

from gateline.kernel.errors import Conflict, InvalidInput


def test_a_promotion_places_the_version_and_retires_the_one_before(shop):
    first, second = shop.approved(), shop.approved(weight=1.6)
    assert shop.promote(first.id) == ""
    assert shop.registry.champion("flight-delay").id == first.id
    assert shop.promote(second.id) == first.id
    assert shop.registry.champion("flight-delay").id == second.id
    assert shop.states() == {"flight-delay@1": "retired", "flight-delay@2": "production"}
    assert shop.registry.models()[0].environments == {"prod": "flight-delay@2"}


def test_promoting_again_changes_nothing(shop):
    version = shop.approved()
    shop.promote(version.id)
    before = shop.ledger.size()
    assert shop.promote(version.id) == version.id
    assert shop.ledger.size() == before


def test_a_rollback_restores_the_one_before_and_the_other_can_be_rejected(shop):
    first, second = shop.approved(), shop.approved(weight=1.6)
    shop.promote(first.id)
    shop.promote(second.id)
    with shop.ledger.transaction("rollout") as tx:
        shop.registry.promote(tx, first.id, "prod", "worse on late labels")
        shop.registry.reject(tx, second.id, "worse on late labels")
        assert shop.registry.champion("flight-delay", tx=tx).id == first.id
        assert shop.registry.get(second.id, tx=tx).state == "rejected"
    assert shop.states() == {"flight-delay@1": "production", "flight-delay@2": "rejected"}
    with pytest.raises(Conflict, match="rejected and cannot become production"):
        shop.promote(second.id)


def test_a_promotion_that_is_rolled_back_by_its_transaction_leaves_nothing(shop):
    version = shop.approved()
    before = shop.ledger.size()
    with pytest.raises(RuntimeError), shop.ledger.transaction("rollout") as tx:
        shop.registry.promote(tx, version.id, "prod")
        raise RuntimeError("the route could not be published")
    assert shop.registry.champion("flight-delay") is None
    assert shop.states() == {"flight-delay@1": "candidate"}
    assert shop.ledger.size() == before


def test_staging_and_production_are_kept_apart(shop):
    first, second = shop.approved(), shop.approved(weight=1.6)
    shop.promote(first.id, "staging")
    assert shop.states()[first.id] == "staging"
    shop.promote(first.id)
    assert shop.states()[first.id] == "production"
    shop.promote(second.id, "staging")
    assert shop.states() == {first.id: "production", second.id: "staging"}
    assert shop.registry.champion("flight-delay", "staging").id == second.id
    third = shop.approved(weight=1.7)
    shop.promote(third.id, "staging")
    assert shop.states()[second.id] == "candidate"


def test_two_production_environments_hold_one_version_each(shop):
    first, second = shop.approved(), shop.approved(weight=1.6)
    shop.promote(first.id, "europe")
    shop.promote(first.id, "america")
    shop.promote(second.id, "europe")
    assert shop.registry.models()[0].environments == {"america": first.id, "europe": second.id}
    assert shop.states() == {first.id: "production", second.id: "production"}


@pytest.mark.parametrize("kind", ["development", "candidate"])
def test_what_is_not_approved_is_not_promoted(shop, kind):
    version = shop.candidate() if kind == "candidate" else shop.registry.register("developer", "flight-delay", **shop.request())
    with pytest.raises(Conflict, match="no approval"):
        shop.promote(version.id)


def test_an_environment_has_a_name(shop):
    version = shop.approved()
    with pytest.raises(InvalidInput):
        shop.promote(version.id, "Pro Duction")


def test_retiring_takes_a_version_out_of_every_environment(shop):
    version = shop.approved()
    shop.promote(version.id, "europe")
    shop.promote(version.id, "america")
    with shop.ledger.transaction("rollout") as tx:
        assert shop.registry.retire(tx, version.id).state == "retired"
    assert shop.registry.models()[0].environments == {}
    with pytest.raises(Conflict, match="retired and cannot become retired"), shop.ledger.transaction("rollout") as tx:
        shop.registry.retire(tx, version.id)


def test_a_version_that_serves_is_not_turned_down(shop):
    version = shop.approved()
    shop.promote(version.id)
    with pytest.raises(Conflict, match="Roll it back first"):
        shop.registry.turn_down("validator", version.id, "no longer wanted")
    other = shop.candidate(weight=1.7)
    with pytest.raises(InvalidInput):
        shop.registry.turn_down("validator", other.id, " ")
    assert shop.registry.turn_down("validator", other.id, "out of scope").state == "rejected"


def test_the_history_says_who_moved_what_when_and_why(shop, clock):
    first = shop.approved()
    clock.advance(60)
    shop.promote(first.id)
    clock.advance(60)
    second = shop.approved(weight=1.6)
    shop.promote(second.id)
    lines = [(one.model_version, one.kind, one.from_state, one.to_state, one.actor) for one in shop.registry.history("flight-delay")]
    assert lines == [
        (first.id, "registered", "", "candidate", "developer"),
        (first.id, "approved", "candidate", "candidate", "validator"),
        (first.id, "state_changed", "candidate", "production", "rollout"),
        (first.id, "placed", "", "production", "rollout"),
        (second.id, "registered", "", "candidate", "developer"),
        (second.id, "approved", "candidate", "candidate", "validator"),
        (second.id, "state_changed", "candidate", "production", "rollout"),
        (second.id, "placed", "", "production", "rollout"),
        (first.id, "removed", "", "production", "rollout"),
        (first.id, "state_changed", "production", "retired", "rollout"),
    ]
    assert shop.registry.history("flight-delay")[-1].reason == "flight-delay@2 took its place in prod"
    assert [one.at for one in shop.registry.history("flight-delay")] == sorted(one.at for one in shop.registry.history("flight-delay"))
    assert shop.ledger.verify().sound


def test_promotions_at_once_leave_one_version_in_production(shop_on_both):
    shop, gate = shop_on_both, threading.Barrier(3)
    versions = [shop.approved(weight=weight).id for weight in (1.4, 1.5, 1.6)]

    def promote(version):
        gate.wait()
        shop.promote(version)

    threads = [threading.Thread(target=promote, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(shop.states().values()) == ["production", "retired", "retired"]
    assert shop.registry.champion("flight-delay").state == "production"
    assert shop.ledger.verify().sound
