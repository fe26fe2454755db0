"""A registry over real datasets, feature sets, runs and gates; only the run source is a test's own."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from gateline.access import Access, Principal, PrincipalKind, Role
from gateline.data import Datasets, Tables
from gateline.features import EventSource, FeatureFits, FeatureSet, FeatureSets, Label
from gateline.gates import GateRun, Policy, parse_policy
from gateline.kernel.clock import DAY
from gateline.registry import ModelVersion, Registry
from gateline.tracking import DatasetUse, RunFacts, Tracking
from tests.unit.gates.conftest import START, World

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.ledger import Ledger

CSV = b"id,at,x,late\n1,2013-01-01T05:00:00Z,0.5,0\n2,2013-01-02T05:00:00Z,0.7,1\n"


class Runs:
    """A run source with the runs that a test puts in."""

    def __init__(self) -> None:
        self.known: dict[str, RunFacts] = {}

    def add(self, run_id: str, user: str, dataset: str) -> None:
        self.known[run_id] = RunFacts(
            run_id=run_id, experiment="delays", name=run_id, status="FINISHED", user=user, started_at=START, ended_at=START + DAY,
            params={}, tags={}, metrics={"auc": 0.7}, metric_points=1, metric_history_digest="", models=(), artifacts={},
            inputs=(DatasetUse(name="flights", digest="", sha256="", version=dataset, context="training"),),
        )  # fmt: skip

    def hold(self, run_id: str) -> nullcontext[None]:
        return nullcontext()

    def read(self, run_id: str, *, with_files: bool = True) -> RunFacts:
        return self.known[run_id]

    def recent(self, *, experiment: str = "", limit: int = 50) -> list[RunFacts]:
        return list(self.known.values())[:limit]


def view() -> FeatureSet:
    columns = {"id": "id", "t": "at", "x": "x", "day": "CAST(at AS DATE)"}
    spine = EventSource(name="flights", dataset="flights", columns=columns, event_time="t", available_at="t")
    label = Label(source=spine, sql="late", available_at="at")
    return FeatureSet(name="delay", spine=spine, entity="id", time="t", columns=("x",), label=label, unit="day")


class Shop(World):
    """A world with a registry in it."""

    def __init__(self, ledger: Ledger, home: Path) -> None:
        super().__init__(ledger, home)
        self.access = Access(ledger, home)
        self.datasets = Datasets(ledger, self.objects, self.lineage, Tables(str(home / "tables"), cache=home / "cache"))
        self.feature_sets = FeatureSets(ledger, self.lineage, self.datasets)
        self.feature_fits = FeatureFits(ledger, self.lineage, self.feature_sets, self.datasets)
        self.runs = Runs()
        self.tracking = Tracking(ledger, self.runs, self.lineage)
        self.registry = Registry(
            ledger, self.objects, self.lineage, access=self.access, gates=self.gates, tracking=self.tracking, datasets=self.datasets,
            feature_sets=self.feature_sets, feature_fits=self.feature_fits,
        )  # fmt: skip
        self.dataset = self.datasets.register(
            "data-engineer", "flights", file=self.objects.put_bytes(CSV).sha256, format="csv", source="made by a test", licence="CC0-1.0"
        )
        self.view = self.feature_sets.register("feature-author", view())
        self.policy: Policy = parse_policy({"suite": ["holdout"], "resamples": 200, "unit_noun": "day"})
        self.gates.record_policy("risk-officer", self.policy)
        self.train("run-1")

    def train(self, run_id: str, user: str = "trainer") -> None:
        self.runs.add(run_id, user, self.dataset.id)
        self.tracking.freeze("trainer", run_id)

    def judge(self, **form: float) -> GateRun:
        return self.gates.run("developer", subject=self.subject(**form), frame=self.holdout, policy=self.policy)

    def request(self, **changed: Any) -> dict[str, Any]:
        subject = self.subject(**{name: changed.pop(name) for name in ("weight", "intercept", "scale") if name in changed})
        return {
            "run_id": "run-1", "model_files": subject.files, "gate_run_id": "", "feature_set": self.view.id,
            "dataset_versions": [self.dataset.id], "training_frame": self.training, "metrics": {"auc": 0.7}, "owner": "flight-operations",
            "trained_from": START, "trained_until": subject.trained_until,
        } | changed  # fmt: skip

    def candidate(self, actor: str = "developer", name: str = "flight-delay", **form: float) -> ModelVersion:
        return self.registry.register(actor, name, **self.request(gate_run_id=self.judge(**form).id, **form))

    def approved(self, **form: float) -> ModelVersion:
        version = self.candidate(**form)
        self.registry.approve(person("validator", Role.VALIDATOR), version.id, "approval", "numbers checked")
        return self.registry.get(version.id)

    def promote(self, version: str, environment: str = "prod") -> str:
        with self.ledger.transaction("rollout") as tx:
            return self.registry.promote(tx, version, environment)

    def states(self) -> dict[str, str]:
        return {one.id: one.state.value for one in reversed(self.registry.versions("flight-delay"))}


def person(name: str, *roles: Role) -> Principal:
    return Principal(name=name, kind=PrincipalKind.PERSON, roles=frozenset(roles))


@pytest.fixture
def shop(sqlite_ledger: Ledger, home: Path) -> Shop:
    return Shop(sqlite_ledger, home)


@pytest.fixture
def shop_on_both(ledger: Ledger, home: Path) -> Shop:
    return Shop(ledger, home)
