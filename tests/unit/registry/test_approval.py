"""Who may sign what."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from gateline.access import Principal, PrincipalKind, Role
from gateline.features import Standardise
from gateline.gates import STATEMENT_TYPE
from gateline.kernel.errors import Conflict, Denied, IntegrityFailure, InvalidInput
from gateline.lineage import Node
from gateline.registry import APPROVAL_PREDICATE, Approval, Meaning
from gateline.registry import store as registry_store
from tests.unit.registry.conftest import person


def test_a_validator_approves_and_the_signature_is_bound_to_every_digest(shop):
    version = shop.candidate()
    approval = shop.registry.approve(person("validator", Role.VALIDATOR), version.id, "approval", "numbers checked")
    statement = shop.ledger.key.public.open(approval.envelope, STATEMENT_TYPE)
    assert statement["predicateType"] == APPROVAL_PREDICATE
    assert statement["predicate"] == approval.content()
    run = shop.gates.get(version.gate_run_id)
    assert approval.subjects == {
        "model_files": version.digest, "run": version.run_digest, "gate_run": run.statement_digest, "policy": run.policy_digest,
        "feature_set": shop.view.digest, "dataset_versions": {shop.dataset.id: shop.dataset.digest}, "training_frame": shop.training,
    }  # fmt: skip
    assert shop.registry.approvals(version.id) == [approval]
    assert shop.registry.approval(version.id) == approval
    assert Approval.from_dict(approval.as_dict()) == approval
    [entry] = shop.ledger.entries(kind="model.version.approved")
    assert (entry.actor, entry.subject) == ("validator", version.id)


@pytest.mark.parametrize("name", ["developer", "data-engineer", "feature-author", "trainer"], ids=["author", "data", "features", "run"])
def test_whoever_contributed_is_refused_and_the_refusal_is_recorded(shop, name):
    version = shop.candidate()
    assert name in shop.registry.contributors(version.id)
    with pytest.raises(Denied, match="may not approve it"):
        shop.registry.approve(person(name, Role.VALIDATOR), version.id, "approval", "looks good to me")
    assert shop.registry.approvals(version.id) == []
    [entry] = shop.ledger.entries(kind="model.approval.refused")
    assert (entry.actor, entry.subject, entry.payload["code"]) == (name, version.id, "denied")
    assert shop.registry.history("flight-delay")[-1].kind == "approval_refused"
    assert shop.ledger.verify().sound


def test_whoever_fitted_the_transforms_of_the_features_contributed(shop):
    fitted = shop.feature_sets.register("feature-author", replace(shop.view.definition, fitted=(Standardise("x"),)))
    fit = shop.feature_fits.fit("fitter", fitted.name, fitted.version)
    version = shop.candidate()
    with shop.ledger.transaction("somebody") as tx:
        shop.lineage.link(tx, Node(kind="feature_fit", id=fit.id), Node(kind="run", id="run-1"), "transformed_by")
    assert "fitter" in shop.registry.contributors(version.id)


def test_who_asked_for_the_gates_did_not_contribute(shop):
    run = shop.gates.run("validator", subject=shop.subject(), frame=shop.holdout, policy=shop.policy)
    version = shop.registry.register("developer", "flight-delay", **shop.request(gate_run_id=run.id))
    assert "validator" not in shop.registry.contributors(version.id)
    shop.registry.approve(person("validator", Role.VALIDATOR), version.id, "approval", "judged it myself")


@pytest.mark.parametrize(
    "principal",
    [
        Principal(name="robot", kind=PrincipalKind.SERVICE, roles=frozenset({Role.VALIDATOR})),
        person("owner", Role.ADMIN, Role.VALIDATOR),
        person("viewer", Role.VIEWER),
        person("other-developer", Role.DEVELOPER),
    ],
    ids=["service", "administrator", "viewer", "developer"],
)
def test_services_administrators_and_people_without_the_role_are_refused(shop, principal):
    version = shop.candidate()
    with pytest.raises(Denied):
        shop.registry.approve(principal, version.id, "approval", "please")
    assert len(shop.ledger.entries(kind="model.approval.refused")) == 1


def test_a_version_without_passed_gates_is_not_approved(shop):
    version = shop.registry.register("developer", "flight-delay", **shop.request())
    with pytest.raises(Denied, match="gates|candidate"):
        shop.registry.approve(person("validator", Role.VALIDATOR), version.id, "approval", "please")


def test_when_lineage_names_something_unknown_nobody_can_approve(shop):
    version = shop.candidate()
    with shop.ledger.transaction("somebody") as tx:
        shop.lineage.link(tx, Node(kind="run", id="never-frozen"), Node(kind="frame", id=shop.training), "wrote")
    assert shop.registry.contributors(version.id) is None
    with pytest.raises(Denied):
        shop.registry.approve(person("validator", Role.VALIDATOR), version.id, "approval", "please")


def test_the_same_person_does_not_sign_twice(shop):
    version = shop.candidate()
    validator = person("validator", Role.VALIDATOR)
    shop.registry.approve(validator, version.id, "review", "read it")
    with pytest.raises(Conflict, match="already signed"):
        shop.registry.approve(validator, version.id, "approval", "and now approve it")
    assert [entry.payload["code"] for entry in shop.ledger.entries(kind="model.approval.refused")] == ["conflict"]
    shop.registry.approve(person("second-validator", Role.VALIDATOR), version.id, "approval", "numbers checked")
    assert len(shop.registry.approvals(version.id)) == 2


def test_only_the_meaning_approval_authorises_a_release(shop):
    version = shop.candidate()
    for meaning in (Meaning.REVIEW, Meaning.RESPONSIBILITY, Meaning.AUTHORSHIP):
        shop.registry.approve(person(f"validator-{meaning}", Role.VALIDATOR), version.id, meaning, "noted")
        assert shop.registry.approval(version.id) is None
    shop.registry.approve(person("validator", Role.VALIDATOR), version.id, "approval", "numbers checked")
    assert shop.registry.approval(version.id).principal == "validator"


@pytest.mark.parametrize(("meaning", "comment"), [("like", "x"), ("approval", " "), ("approval", "x" * 10_001)])
def test_a_signature_needs_a_known_meaning_and_a_comment(shop, meaning, comment):
    version = shop.candidate()
    with pytest.raises(InvalidInput):
        shop.registry.approve(person("validator", Role.VALIDATOR), version.id, meaning, comment)
    assert shop.ledger.entries(kind="model.approval.refused") == []


def test_a_file_that_changed_since_registration_is_not_signed(shop):
    version = shop.candidate()
    path = shop.objects.path(version.files["model.txt"])
    path.chmod(0o644)
    path.write_bytes(b"other")
    with pytest.raises(IntegrityFailure, match="changed under its digest"):
        shop.registry.approve(person("validator", Role.VALIDATOR), version.id, "approval", "numbers checked")


def test_an_approval_of_other_files_does_not_count(shop):
    version = shop.approved()
    with shop.ledger.transaction("somebody") as tx:
        registry_store.version_row(tx.session, version.id).digest = "0" * 64
    assert shop.registry.approval(version.id) is None
    with pytest.raises(Conflict, match="it has no approval"):
        shop.promote(version.id)


def test_one_person_signing_at_once_signs_once(shop_on_both):
    shop, gate, outcomes = shop_on_both, threading.Barrier(4), []
    version = shop.candidate()

    def sign():
        gate.wait()
        try:
            shop.registry.approve(person("validator", Role.VALIDATOR), version.id, "approval", "numbers checked")
            outcomes.append("signed")
        except Conflict:
            outcomes.append("refused")

    threads = [threading.Thread(target=sign) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "refused", "refused", "signed"]
    assert len(shop.ledger.entries(kind="model.approval.refused")) == 3
