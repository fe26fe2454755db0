"""Registering versions."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from gateline.gates import parse_policy
from gateline.kernel.errors import Conflict, InvalidInput, NotFound
from gateline.lineage import Node
from gateline.registry import ModelVersion, State
from tests.unit.gates.conftest import START


def test_a_version_with_passed_gates_is_a_candidate(shop):
    version = shop.candidate()
    assert (version.id, version.state, version.created_by) == ("flight-delay@1", State.CANDIDATE, "developer")
    assert version.dataset_versions == {shop.dataset.id: shop.dataset.digest}
    assert version.run_digest == shop.tracking.get("run-1").digest
    assert shop.registry.get(version.id) == version
    assert ModelVersion.from_dict(version.as_dict()) == version


def test_lineage_reaches_the_raw_file(shop):
    version = shop.candidate()
    found = {(node.kind, node.id) for node in shop.lineage.ancestors(Node(kind="model_version", id=version.id)).nodes}
    expected = {
        ("run", "run-1"), ("feature_set_version", shop.view.id), ("dataset_version", shop.dataset.id),
        ("raw_file", shop.dataset.raw_sha256), ("frame", shop.training), ("gate_run", version.gate_run_id),
    }  # fmt: skip
    assert expected <= found


def test_registration_is_recorded_and_announced(shop):
    version = shop.candidate()
    [entry] = shop.ledger.entries(kind="model.version.registered")
    assert (entry.subject, entry.actor, entry.payload["digest"]) == (version.id, "developer", version.digest)
    [line] = shop.registry.history("flight-delay")
    assert (line.kind, line.actor, line.to_state) == ("registered", "developer", "candidate")


def test_everything_that_is_missing_is_named_at_once(shop):
    with pytest.raises(InvalidInput) as caught:
        shop.registry.register(
            "developer", "flight-delay", run_id="run-9", model_files={"model.txt": "0" * 64}, gate_run_id="gate_9", feature_set="delay@9",
            dataset_versions=[], training_frame="1" * 64, metrics={}, owner=" ", trained_from=2, trained_until=1,
        )  # fmt: skip
    words = (
        "no serving.json", "no metrics", "no owner", "no dataset versions", "ends before it begins", "snapshot of run 'run-9'",
        "feature set version 'delay@9'", "training frame", "model file 'model.txt'", "gate run 'gate_9'",
    )  # fmt: skip
    for one in words:
        assert one in str(caught.value)
    assert len(caught.value.facts["mistakes"]) == len(words)
    assert shop.registry.models() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"owner": ""}, "no owner"),
        ({"metrics": {"auc": float("nan")}}, "'auc' is no finite number"),
        ({"run_id": "run-2"}, "run 'run-2' is not recorded"),
        ({"feature_set": "delay"}, "'delay' is not recorded"),
        ({"dataset_versions": ["weather@1"]}, "'flights@1', which the feature set reads, is not named"),
        ({"training_frame": "0" * 64}, "is not recorded"),
        ({"gate_run_id": "gate_x"}, "gate run 'gate_x' is not recorded"),
        ({"trained_from": START * 2}, "ends before it begins"),
    ],
)
def test_each_missing_piece_alone_is_refused(shop, change, words):
    with pytest.raises(InvalidInput, match=words):
        shop.registry.register("developer", "flight-delay", **shop.request(**change))


def test_a_file_that_changed_under_its_digest_is_refused_with_both_digests(shop):
    request = shop.request()
    path = shop.objects.path(request["model_files"]["model.txt"])
    path.chmod(0o644)
    path.write_bytes(b"other")
    with pytest.raises(InvalidInput, match="changed under its digest: expected SHA-256"):
        shop.registry.register("developer", "flight-delay", **request)


def test_a_name_that_is_no_name_is_refused(shop):
    with pytest.raises(InvalidInput, match="not allowed"):
        shop.registry.register("developer", "Flight Delay", **shop.request())


def test_without_a_gate_run_it_stays_in_development(shop):
    version = shop.registry.register("developer", "flight-delay", **shop.request())
    assert version.state is State.DEVELOPMENT
    assert version.gates_reason == "no gate run was given"


def test_a_gate_run_that_failed_does_not_make_a_candidate(shop):
    version = shop.candidate(weight=-1.5)
    assert version.state is State.DEVELOPMENT
    assert "ended with fail" in version.gates_reason


@pytest.mark.parametrize(
    ("change", "words"),
    [({"weight": 1.4}, "its files differ"), ({"trained_until": START + 50 * 86_400_000_000}, "its end of the training period")],
)
def test_a_gate_run_on_another_model_does_not_make_a_candidate(shop, change, words):
    version = shop.registry.register("developer", "flight-delay", **shop.request(gate_run_id=shop.judge().id, **change))
    assert version.state is State.DEVELOPMENT
    assert words in version.gates_reason


def test_a_gate_run_of_another_training_run_does_not_make_a_candidate(shop):
    shop.train("run-2")
    version = shop.registry.register("developer", "flight-delay", **shop.request(gate_run_id=shop.judge().id, run_id="run-2"))
    assert "its run differ" in version.gates_reason


def test_a_later_gate_run_makes_a_candidate(shop):
    version = shop.registry.register("developer", "flight-delay", **shop.request())
    failed = shop.gates.run("developer", subject=dataclasses.replace(shop.subject()), frame=shop.holdout, policy=strict(shop))
    with pytest.raises(Conflict, match="ended with fail"):
        shop.registry.attach_gate_run("developer", version.id, failed.id)
    passed = shop.judge()
    assert shop.registry.attach_gate_run("developer", version.id, passed.id).state is State.CANDIDATE
    with pytest.raises(Conflict, match="candidate and cannot become candidate"):
        shop.registry.attach_gate_run("developer", version.id, passed.id)


def strict(shop):
    policy = parse_policy({"suite": ["holdout"], "resamples": 200, "holdout": {"improvement_min": 5.0}})
    shop.gates.record_policy("risk-officer", policy)
    return policy


def test_an_equal_registration_returns_the_earlier_version(shop):
    assert shop.candidate() == shop.candidate()
    assert shop.registry.models()[0].versions == 1


def test_unknown_models_and_versions_are_not_found(shop):
    for look in (lambda: shop.registry.get("flight-delay@1"), lambda: shop.registry.versions("x"), lambda: shop.registry.history("x")):
        with pytest.raises(NotFound):
            look()
    assert shop.registry.champion("flight-delay") is None


def test_registrations_at_once_get_distinct_numbers(shop_on_both):
    shop, count = shop_on_both, 6
    requests = [shop.request(weight=1 + number / 10) for number in range(count)]
    numbers, gate = [], threading.Barrier(count)

    def register(request):
        gate.wait()
        numbers.append(shop.registry.register("developer", "flight-delay", **request).version)

    threads = [threading.Thread(target=register, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, count + 1))
    assert shop.ledger.verify().sound


def test_equal_registrations_at_once_make_one_version(shop_on_both):
    shop, found, gate = shop_on_both, [], threading.Barrier(4)
    request = shop.request()

    def register():
        gate.wait()
        found.append(shop.registry.register("developer", "flight-delay", **request).id)

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["flight-delay@1"] * 4
