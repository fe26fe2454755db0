"""Rollouts over the real registry and serving; requests and labels come from the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import polars as pl
import pytest

from gateline.access import Role
from gateline.gates import ModelSubject
from gateline.kernel.clock import DAY
from gateline.kernel.errors import Conflict, Denied, NotFound
from gateline.kernel.settings import Settings
from gateline.rollout import PROMOTED, Rollout, RolloutPlan, Rollouts, RolloutState
from gateline.serving import FeatureKind, FeatureSpec, Serving, compile_served_form, score_matrix
from tests.unit.gates.conftest import START, make_rows
from tests.unit.registry.conftest import Shop, person

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.ledger import Ledger

OPERATOR = person("operator", Role.OPERATOR)
PLAN = RolloutPlan.from_dict({"steps": [0.2, 0.5], "step_requests_min": 100, "step_labels_min": 50, "probation_days": 20})


class Seen:
    """Requests and labels as the test wants them."""

    def __init__(self) -> None:
        self.frames: list[pl.DataFrame] = []
        self.now = START

    def mark(self, endpoint: str) -> tuple[int, ...]:
        return (len(self.frames),)

    def watermark(self, endpoint: str) -> int:
        return self.now

    def rows(self, endpoint: str, start: int, end: int | None = None) -> pl.DataFrame:
        return pl.concat(self.frames).filter(pl.col("event_time") >= start)


class Floor(Shop):
    """A shop with an endpoint in front."""

    def __init__(self, ledger: Ledger, home: Path) -> None:
        super().__init__(ledger, home)
        self.gates = self.with_ports(score=score_matrix)
        self.registry._gates = self.gates
        settings = Settings(home=home)
        self.serving = Serving(ledger, self.objects, self.lineage, settings, tokens=self.access.prediction_tokens)
        kinds = (("x", FeatureKind.NUMERIC), ("carrier", FeatureKind.CATEGORICAL))
        features = tuple(FeatureSpec(name=name, kind=kind) for name, kind in kinds)
        self.serving.create_endpoint("operator", "delay", model="flight-delay", features=features, environment="prod", latency_ms_p99=50)
        self.seen = Seen()
        self.rollouts = Rollouts(ledger, self.access, self.registry, self.serving, self.seen)
        self.rng = np.random.default_rng(3)
        self.sent = 0

    def subject(self, *, seed: float = 1, **_: Any) -> ModelSubject:
        """A real served form; each seed trains another."""
        rows, carriers = make_rows(0, 60, seed=int(seed)), ["AA", "B6", "UA"]
        columns = np.column_stack([rows["x"].to_numpy(), [carriers.index(one) for one in rows["carrier"]]])
        data = lightgbm.Dataset(columns, rows["label"].to_numpy(), feature_name=["x", "carrier"], categorical_feature=["carrier"])
        booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 4, "seed": int(seed)}, data, 20)
        inputs = [
            {"column": "x", "feature": "x", "kind": "numeric"},
            {"column": "carrier", "feature": "carrier", "kind": "categorical", "categories": carriers},
        ]
        files = compile_served_form(booster.model_to_string(), inputs)
        stored = {name: self.objects.put_bytes(content).sha256 for name, content in files.items()}
        return ModelSubject(run_id="run-1", files=stored, training_frame=self.training, trained_until=START + 60 * DAY)

    def request(self, **changed: Any) -> dict[str, Any]:
        subject = self.subject(seed=changed.pop("seed", 1))
        return super().request(**changed) | {"model_files": subject.files} | changed

    def release(self, seed: int, plan: RolloutPlan = PLAN) -> Rollout:
        """Approve a version and start its rollout."""
        version = self.approved(seed=seed)
        return self.rollouts.get(self.rollouts.release(OPERATOR, version.id, "delay", plan).rollout_id)

    def traffic(self, count: int, *, harm: float = 0.0, days: float = 2.0, labels: bool = True) -> None:
        """Serve requests by the present route; `harm` flips that share of the newest version's predictions."""
        route = self.serving.route("delay")
        share = sum(arm.weight for arm in route.arms if arm.name == "canary")
        canary = self.rng.random(count) < share
        chance = self.rng.beta(2, 4, count)
        newest = canary if share else np.full(count, bool(route.shadow))
        flipped = np.where(newest & (self.rng.random(count) < harm), 1 - chance, chance)
        versions = {arm.name: arm.version for arm in (*route.arms, *route.shadow)}
        ids = [f"p{self.sent + number}" for number in range(count)]
        self.sent += count
        arms = np.where(canary, "canary", "champion")
        known = (self.rng.random(count) < chance).astype(float) if labels else np.full(count, np.nan)
        rows = {
            "prediction_id": ids,
            "event_time": self.seen.now + (np.arange(count) * days * DAY / count).astype(np.int64),
            "version": [versions[arm] for arm in arms],
            "generation": np.full(count, route.generation),
            "arm": arms,
            "weight": np.where(canary, float(share), 1.0 - share),
            "shadow": np.zeros(count, dtype=bool),
            "latency_us": self.rng.gamma(4, 10, count),
            "prediction": flipped,
            "error": [""] * count,
            "feature.x": self.rng.normal(size=count),
            "label": known,
        }
        frame = pl.DataFrame(rows).with_columns(pl.col("label").fill_nan(None))
        self.seen.frames.append(frame)
        if route.shadow:
            told = {"arm": pl.lit("predecessor"), "shadow": pl.lit(True), "prediction": pl.Series(chance)}
            self.seen.frames.append(frame.with_columns(version=pl.lit(versions["predecessor"]), **told))
        self.seen.now += round(days * DAY)

    def served(self) -> dict[str, str]:
        """Arm and version of the wanted route."""
        route = self.serving.route("delay")
        return {arm.name: arm.version for arm in (*route.arms, *route.shadow)}


@pytest.fixture
def floor(sqlite_ledger: Ledger, home: Path) -> Floor:
    return Floor(sqlite_ledger, home)


@pytest.fixture
def busy(floor: Floor) -> Floor:
    """A champion in production with two weeks of requests behind it."""
    floor.release(1)
    for _ in range(4):
        floor.traffic(400)
    return floor


def test_the_first_release_skips_the_canary_on_record(floor: Floor) -> None:
    first = floor.release(1)
    assert first.state is RolloutState.COMPLETED
    assert "no champion to compare with" in first.canary_skipped_reason
    assert floor.served() == {"champion": "flight-delay@1"}
    assert floor.states() == {"flight-delay@1": "production"}
    assert [entry.subject for entry in floor.ledger.entries(kind="rollout.canary.skipped")] == [first.id]


def test_a_version_without_approval_is_not_released(floor: Floor) -> None:
    version = floor.candidate(seed=1)
    with pytest.raises(Denied, match="approv"):
        floor.rollouts.release(OPERATOR, version.id, "delay", PLAN)
    assert floor.rollouts.list() == []


def test_a_validator_may_not_release(floor: Floor) -> None:
    version = floor.approved(seed=1)
    with pytest.raises(Denied):
        floor.rollouts.release(person("validator", Role.VALIDATOR), version.id, "delay", PLAN)


def test_a_harmless_canary_widens_is_promoted_and_keeps_its_place(busy: Floor) -> None:
    started = busy.release(2)
    assert busy.served() == {"champion": "flight-delay@1", "canary": "flight-delay@2"}
    assert busy.states()["flight-delay@2"] == "candidate"
    for _ in range(6):
        busy.traffic(600, days=1)
        busy.rollouts.reconcile()
    promoted = busy.rollouts.get(started.id)
    assert promoted.state is RolloutState.PROBATION
    assert busy.served() == {"champion": "flight-delay@2", "predecessor": "flight-delay@1"}
    assert busy.states() == {"flight-delay@1": "retired", "flight-delay@2": "production"}
    for _ in range(12):
        busy.traffic(200, days=2)
        busy.rollouts.reconcile()
    done = busy.rollouts.get(started.id)
    assert (done.state, done.looks_done) == (RolloutState.COMPLETED, 1)
    assert busy.served() == {"champion": "flight-delay@2"}


def test_a_damaged_canary_is_taken_back_with_its_cost_on_record(busy: Floor) -> None:
    started = busy.release(2)
    busy.traffic(900, harm=1.0, days=1)
    busy.rollouts.reconcile()
    over = busy.rollouts.get(started.id)
    assert over.state is RolloutState.ROLLED_BACK
    assert "rollback at E = 500" in over.reason
    assert over.decided_after["requests"] == 900
    assert busy.served() == {"champion": "flight-delay@1"}
    assert busy.states() == {"flight-delay@1": "production", "flight-delay@2": "rejected"}
    assert busy.ledger.verify().sound


def test_a_promoted_version_that_labels_show_worse_is_taken_back_for_its_predecessor(busy: Floor) -> None:
    started = busy.release(2)
    for _ in range(6):
        busy.traffic(600, days=1)
        busy.rollouts.reconcile()
    assert busy.rollouts.get(started.id).state is RolloutState.PROBATION
    for _ in range(9):
        busy.traffic(200, harm=0.5, days=2)
        busy.rollouts.reconcile()
    over = busy.rollouts.get(started.id)
    assert over.state is RolloutState.ROLLED_BACK
    assert "predecessor is shown better" in over.reason
    assert busy.served() == {"champion": "flight-delay@1"}
    assert busy.states() == {"flight-delay@1": "production", "flight-delay@2": "rejected"}


def test_without_labels_nothing_is_promoted(busy: Floor) -> None:
    started = busy.release(2)
    for _ in range(5):
        busy.traffic(800, days=1, labels=False)
        busy.rollouts.reconcile()
    waiting = busy.rollouts.get(started.id)
    assert (waiting.state, waiting.step) == (RolloutState.CANARY, 0)
    assert "labelled canary requests" in waiting.reason


def test_a_champion_without_history_is_watched_first(floor: Floor) -> None:
    floor.release(1)
    floor.traffic(20)
    started = floor.release(2)
    floor.traffic(100, days=1)
    floor.rollouts.reconcile()
    assert floor.rollouts.get(started.id).baseline is None
    floor.traffic(800, days=1)
    floor.rollouts.reconcile()
    assert floor.rollouts.get(started.id).baseline is not None


def test_one_canary_at_a_time(busy: Floor) -> None:
    started = busy.release(2)
    with pytest.raises(Conflict, match=started.id):
        busy.release(3)
    assert len(busy.rollouts.list("delay")) == 2


def test_a_paused_canary_moves_only_when_resumed(busy: Floor) -> None:
    started = busy.release(2)
    busy.rollouts.pause(OPERATOR, started.id, "looking at it")
    busy.traffic(900, harm=1.0, days=1)
    busy.rollouts.reconcile()
    assert busy.rollouts.get(started.id).state is RolloutState.PAUSED
    busy.rollouts.resume(OPERATOR, started.id, "seen enough")
    busy.traffic(10, days=0.1)
    busy.rollouts.reconcile()
    assert busy.rollouts.get(started.id).state is RolloutState.ROLLED_BACK


def test_a_person_may_take_a_version_back(busy: Floor) -> None:
    started = busy.release(2)
    assert busy.rollouts.roll_back(OPERATOR, started.id, "customers call").state is RolloutState.ROLLED_BACK
    assert busy.served() == {"champion": "flight-delay@1"}
    with pytest.raises(Conflict, match="customers call"):
        busy.rollouts.roll_back(OPERATOR, started.id, "again")


def test_a_crash_before_the_commit_leaves_route_registry_and_rollout_as_they_were(busy: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Route, lifecycle and rollout change together or not at all; the next pass finishes the work."""
    started = busy.release(2)
    busy.traffic(900, harm=1.0, days=1)
    before = busy.served(), busy.states(), busy.ledger.size()

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(busy.registry, "reject", crash)
        with pytest.raises(KeyboardInterrupt):
            busy.rollouts.reconcile()
    assert (busy.served(), busy.states(), busy.ledger.size()) == before
    Rollouts(busy.ledger, busy.access, busy.registry, busy.serving, busy.seen).reconcile()
    assert busy.rollouts.get(started.id).state is RolloutState.ROLLED_BACK


def test_each_change_of_production_is_announced_once(busy: Floor) -> None:
    """So that MLflow's alias follows."""
    from sqlalchemy import select

    from gateline.ledger.store import OutboxRow

    busy.release(2)
    busy.traffic(900, harm=1.0, days=1)
    busy.rollouts.reconcile()
    busy.rollouts.reconcile()
    with busy.ledger.records.read() as session:
        events = [row.payload for row in session.scalars(select(OutboxRow).where(OutboxRow.kind == PROMOTED))]
    assert [event["version"] for event in events] == ["flight-delay@1"]


def test_an_unknown_rollout_says_where_to_look(floor: Floor) -> None:
    with pytest.raises(NotFound, match="gateline rollout list"):
        floor.rollouts.get("roll_none")
