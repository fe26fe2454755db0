"""A small world to judge models in: rows of days, a logistic form, an object store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from gateline.data import ObjectStore
from gateline.gates import Gates, ModelSubject, Policy, parse_policy
from gateline.gates.forms import form_inputs
from gateline.gates.inputs import GateInputs
from gateline.kernel.clock import DAY, parse_iso
from gateline.lineage import Lineage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateline.ledger import Ledger

START = parse_iso("2013-01-01T00:00:00Z")


def make_rows(first_day: int, days: int, per_day: int = 200, seed: int = 1, strength: float = 1.5) -> pl.DataFrame:
    """Return rows whose label depends on `x`, with a shift of each day's own."""
    generator = np.random.default_rng([seed, first_day])
    day = np.repeat(np.arange(first_day, first_day + days), per_day)
    x = generator.normal(size=len(day))
    carrier = generator.choice(["AA", "B6", "UA"], size=len(day), p=[0.5, 0.4, 0.1])
    shift = generator.normal(scale=0.3, size=days)[day - first_day]
    label = (generator.random(len(day)) < 1 / (1 + np.exp(-(strength * x - 1 + shift)))).astype(np.int64)
    time = START + day * DAY + np.tile(np.arange(per_day), days) * 60_000_000
    rows = pl.DataFrame({"t": time, "x": x, "carrier": carrier, "label": label, "unit": day})
    return rows.with_columns(pl.col("t").cast(pl.Datetime("us", "UTC")))


def score_form(folder: Path, rows: pl.DataFrame) -> np.ndarray:
    """Score rows by a logistic form: the declared mapping, then intercept and weights."""
    form = json.loads((folder / "serving.json").read_text())
    model = json.loads((folder / "model.txt").read_text())
    total = np.full(rows.height, float(model["intercept"]))
    for one in form["inputs"]:
        if one["kind"] == "numeric":
            total += model["weights"][one["column"]] * (rows[one["feature"]].to_numpy() * one["scale"] + one["offset"])
    probability = 1 / (1 + np.exp(-total))
    return probability if form["positive"] else 1 - probability


def steady_probe(folder: Path, rows: pl.DataFrame) -> np.ndarray:
    """Answer each request in 2 to 6 ms."""
    return 2 + 4 * np.random.default_rng(0).random(rows.height)


def form_files(weight: float = 1.5, intercept: float = -1.0, scale: float = 1.0) -> dict[str, bytes]:
    form = {
        "format": "logistic", "positive": True,
        "inputs": [
            {"column": "x", "feature": "x", "kind": "numeric", "scale": scale, "offset": 0.0},
            {"column": "carrier", "feature": "carrier", "kind": "categorical", "categories": ["AA", "B6", "UA"]},
        ],
    }  # fmt: skip
    return {
        "serving.json": json.dumps(form).encode(),
        "model.txt": json.dumps({"intercept": intercept, "weights": {"x": weight}}).encode(),
    }


class World:
    """Everything a gate run needs, with short ways to store it."""

    def __init__(self, ledger: Ledger, home: Path) -> None:
        self.ledger = ledger
        self.objects = ObjectStore(home / "objects")
        self.lineage = Lineage(ledger.records)
        self.gates = self.with_ports()
        self.training = self.put_rows(make_rows(0, 60))
        self.holdout = self.put_rows(make_rows(60, 28))

    def with_ports(self, **changed: Any) -> Gates:
        return Gates(self.ledger, self.objects, self.lineage, **{"score": score_form, "probe": steady_probe, **changed})

    def put_rows(self, rows: pl.DataFrame) -> str:
        return self.objects.put_with(rows.write_parquet).sha256

    def subject(self, *, version: str = "", until_day: int = 60, training: str = "", **form: float) -> ModelSubject:
        files = {path: self.objects.put_bytes(content).sha256 for path, content in form_files(**form).items()}
        return ModelSubject(
            run_id="run-1", files=files, training_frame=training or self.training, trained_until=START + until_day * DAY, version=version
        )


@pytest.fixture
def world(sqlite_ledger: Ledger, home: Path) -> World:
    return World(sqlite_ledger, home)


@pytest.fixture
def policy() -> Policy:
    return parse_policy(
        {
            "resamples": 500, "unit_noun": "day", "holdout": {"improvement_min": 0.01},
            "slices": {"columns": ["carrier"], "improvement_min": 0.0, "rows_min": 100}, "latency": {"p99_ms_max": 20},
        }
    )  # fmt: skip


@pytest.fixture
def inputs(policy: Policy) -> Callable[..., GateInputs]:
    """Build inputs for one check; each argument replaces a part."""

    def build(
        frame: pl.DataFrame | None = None,
        *,
        scores: np.ndarray | None = None,
        champion_scores: np.ndarray | None = None,
        training: pl.DataFrame | None = None,
        policy: Policy = policy,
        probe: Callable[[pl.DataFrame], np.ndarray] | None = None,
        until_day: int = 60,
        champion_until_day: int = 60,
    ) -> GateInputs:
        rows = make_rows(60, 28) if frame is None else frame
        subject = ModelSubject(run_id="r", files={}, training_frame="", trained_until=START + until_day * DAY)
        champion = ModelSubject(run_id="c", files={}, training_frame="", trained_until=START + champion_until_day * DAY, version="m@1")
        usable = "x" in rows.columns and rows["x"].dtype.is_float()
        default = 1 / (1 + np.exp(-(1.5 * rows["x"].to_numpy() - 1))) if usable else np.zeros(rows.height)
        return GateInputs(
            frame=rows, training=make_rows(0, 60) if training is None else training, policy=policy, subject=subject,
            champion=None if champion_scores is None else champion,
            form_inputs=form_inputs(json.loads(form_files()["serving.json"])),
            score_subject=lambda: default if scores is None else scores,
            score_champion=None if champion_scores is None else lambda: champion_scores,
            probe=probe or (lambda requests: steady_probe(None, requests)),
        )  # fmt: skip

    return build
