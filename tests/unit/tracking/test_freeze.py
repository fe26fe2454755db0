"""Freezing runs: what is kept, what is refused, what is noticed later."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from gateline.kernel.errors import Conflict, IntegrityFailure, NotFound
from gateline.lineage import Lineage, Node
from gateline.tracking import ArtifactFile, DatasetUse, LoggedModel, RunFacts, RunPage, RunQuery, Tracking, frozen_runs
from gateline.tracking.model import run_digest, snapshot_from

FILE = ArtifactFile(sha256="aa" * 32, size_bytes=3)
FACTS = RunFacts(
    run_id="r1",
    experiment="flight-delay",
    name="january",
    status="FINISHED",
    user="developer",
    started_at=1,
    ended_at=2,
    params={"rounds": "100"},
    tags={"mlflow.source.git.commit": "c0ffee", "team": "delays"},
    metrics={"auc": 0.75, "loss": float("inf")},
    metric_points=4,
    metric_history_digest="bb" * 32,
    inputs=(DatasetUse(name="flights", digest="ab", sha256="cd" * 32, version="flights@1", context="training"),),
    models=(LoggedModel(model_id="m-1", name="model", files={"MLmodel": FILE}),),
    artifacts={"environment.json": FILE, "served/model.txt": FILE},
)


class Runs:
    """Runs in memory: the second implementation of the port."""

    def __init__(self, *runs: RunFacts) -> None:
        self.runs = {run.run_id: run for run in runs}
        self.held: list[str] = []

    @contextlib.contextmanager
    def hold(self, run_id):
        self.held.append(run_id)
        yield

    def read(self, run_id, *, with_files=True):
        if run_id not in self.runs:
            raise NotFound(f"no run {run_id}")
        run = self.runs[run_id]
        return run if with_files else replace(run, artifacts={}, models=())

    def search(self, query):
        found = [run for run in self.runs.values() if query.experiment in {"", run.experiment}]
        return RunPage(runs=tuple(found[: query.max_results]), next_page_token="")


def tracking(ledger, *runs, **more):
    return Tracking(ledger, Runs(*(runs or (FACTS,))), Lineage(ledger.records), **more)


def test_a_snapshot_keeps_every_fact_and_reads_back_as_it_was(ledger, clock):
    clock.advance(5)
    service = tracking(ledger)
    snapshot = service.freeze("validator", "r1")
    assert snapshot.digest == run_digest(FACTS)
    assert (snapshot.frozen_by, snapshot.frozen_at) == ("validator", clock.now())
    assert (snapshot.code_commit, snapshot.environment_digest) == ("c0ffee", "aa" * 32)
    assert service.get("r1") == snapshot
    assert snapshot_from(snapshot.facts(), recorded=snapshot.digest, frozen_at=snapshot.frozen_at, frozen_by="validator") == snapshot


def test_freezing_again_returns_the_first_snapshot_and_writes_nothing(ledger, clock):
    service = tracking(ledger)
    first = service.freeze("developer", "r1")
    size = ledger.size()
    clock.advance(60)
    assert service.freeze("validator", "r1") == first
    assert ledger.size() == size


def test_the_freeze_is_in_the_ledger_and_the_datasets_are_in_the_lineage(ledger):
    service = tracking(ledger)
    digest = service.freeze("developer", "r1").digest
    (entry,) = ledger.entries(kind="run.frozen")
    assert (entry.actor, entry.subject, entry.payload["digest"], entry.payload["files"]) == ("developer", "r1", digest, 3)
    found = Lineage(ledger.records).ancestors(Node(kind="run", id="r1"))
    assert {(one.source.id, one.target.id) for one in found.edges} == {("flights@1", "r1")}


def test_the_run_is_held_while_it_is_read(ledger):
    source = Runs(FACTS)
    Tracking(ledger, source, Lineage(ledger.records)).freeze("developer", "r1")
    assert source.held == ["r1"]


@pytest.mark.parametrize("status", ["RUNNING", "SCHEDULED", "FAILED", "KILLED"])
def test_only_a_finished_run_freezes(ledger, status):
    service = tracking(ledger, replace(FACTS, status=status))
    with pytest.raises(Conflict, match=status):
        service.freeze("developer", "r1")
    assert service.find("r1") is None
    assert ledger.size() == 0


def test_a_claim_on_another_dataset_digest_is_refused(ledger):
    for known in ({}, {"flights@1": "ee" * 32}):
        with pytest.raises(IntegrityFailure, match="flights@1"):
            tracking(ledger, dataset_digest=known.get).freeze("developer", "r1")
    assert tracking(ledger, dataset_digest={"flights@1": "cd" * 32}.get).freeze("developer", "r1")


def test_the_fit_that_a_run_was_trained_with_is_checked_and_in_its_lineage(ledger):
    claims = replace(FACTS, tags={"feature_fit": "flight_delay@1/fit@2", "feature_fit.digest": "ab" * 32})
    for known in ({}, {"flight_delay@1/fit@2": "ee" * 32}):
        with pytest.raises(IntegrityFailure, match="trained with fit flight_delay@1/fit@2"):
            tracking(ledger, claims, fit_digest=known.get).freeze("developer", "r1")
    tracking(ledger, claims, fit_digest={"flight_delay@1/fit@2": "ab" * 32}.get).freeze("developer", "r1")
    found = Lineage(ledger.records).ancestors(Node(kind="run", id="r1"))
    assert {(one.source.kind, one.source.id, one.relation) for one in found.edges} == {
        ("dataset_version", "flights@1", "read_by"), ("feature_fit", "flight_delay@1/fit@2", "transformed_by"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"artifacts": {**FACTS.artifacts, "served/model.txt": ArtifactFile(sha256="00" * 32, size_bytes=3)}}, "served/model.txt"),
        ({"artifacts": {"environment.json": FILE}}, "served/model.txt"),
        ({"artifacts": {**FACTS.artifacts, "added": FILE}}, "added"),
        ({"models": ()}, "models/m-1/MLmodel"),
    ],
)
def test_a_file_that_differs_is_named(ledger, change, path):
    tracking(ledger).freeze("developer", "r1")
    with pytest.raises(IntegrityFailure) as caught:
        tracking(ledger, replace(FACTS, **change)).verify("r1")
    assert caught.value.facts["path"] == path


def test_plain_tags_may_change_later(ledger):
    frozen = tracking(ledger).freeze("developer", "r1")
    assert tracking(ledger, replace(FACTS, tags={"note": "seen"})).verify("r1") == frozen


def test_every_fact_counts_in_the_digest():
    changes = {
        "params": {},
        "tags": {},
        "metrics": {},
        "artifacts": {},
        "inputs": (),
        "models": (),
        "user": "x",
        "name": "x",
        "ended_at": 3,
    }
    digests = {run_digest(replace(FACTS, **{name: value})) for name, value in changes.items()}
    assert len(digests | {run_digest(FACTS)}) == len(changes) + 1


def test_what_was_never_frozen_is_not_found(ledger):
    with pytest.raises(NotFound, match="freeze"):
        tracking(ledger).get("r1")
    assert tracking(ledger).read("r1").artifacts == {}
    with pytest.raises(NotFound):
        tracking(ledger).read("r2")


def test_frozen_runs_are_told_apart(ledger):
    service = tracking(ledger, FACTS, replace(FACTS, run_id="r2"))
    service.freeze("developer", "r1")
    assert service.frozen(["r1", "r2"]) == frozen_runs(ledger.records, ["r1", "r2"]) == {"r1"}
    assert [run.run_id for run in service.search(RunQuery()).runs] == ["r1", "r2"]
    assert service.search(RunQuery(experiment="other")).runs == ()
