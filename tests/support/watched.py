"""A watched endpoint on the real serving domain: predictions are written as workers write them and ingested from the log."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from gateline.data import ObjectStore
from gateline.kernel.clock import DAY, HOUR, SimulatedClock, parse_iso
from gateline.kernel.settings import Settings
from gateline.lineage import Lineage
from gateline.monitoring import Monitoring, MonitorPlan, ReferenceSource
from gateline.serving import FeatureKind, FeatureSpec, Serving
from gateline.serving.log import LogFrame, LogWriter

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.ledger import Ledger

WEEK = 7 * DAY
START = parse_iso("2013-04-01T00:00:00Z")
FEATURES = (FeatureSpec(name="x", kind=FeatureKind.NUMERIC), FeatureSpec(name="level", kind=FeatureKind.CATEGORICAL))


def week(number: int, rows: int = 400, *, shift: float = 0.0, bias: float = 0.0, seed: int = 0) -> pl.DataFrame:
    """A week of requests with outcomes: `shift` moves x without touching outcomes, `bias` adds to the chance of the outcome."""
    rng = np.random.default_rng([seed, 1000 + number])
    time = np.sort(START + number * WEEK + rng.integers(0, WEEK, rows))
    chance = rng.beta(2, 6, rows)
    return pl.DataFrame(
        {
            "request_id": [f"q{seed}-{number}-{at}" for at in range(rows)],
            "t": time,
            "x": rng.normal(shift, 1, rows),
            "level": rng.choice(["a", "b", "c"], rows),
            "prediction": chance,
            "label": (rng.random(rows) < np.clip(chance + bias, 0, 1)).astype(float),
        }
    )


class Watched:
    """One endpoint `delay` with monitoring on it."""

    name = "delay"

    def __init__(self, ledger: Ledger, home: Path, clock: SimulatedClock) -> None:
        self.ledger = ledger
        self.home = home
        self.clock = clock
        self.objects = ObjectStore(home / "objects")
        self.serving = Serving(ledger, self.objects, Lineage(ledger.records), Settings(home=home), tokens=lambda: ())
        self.serving.create_endpoint("owner", self.name, model="m", features=FEATURES, environment="prod", latency_ms_p99=50.0)
        self.monitoring = Monitoring(ledger, self.objects, self.serving)
        folder = self.serving.folder / "log" / self.name
        self.writer = LogWriter(folder, endpoint=self.name, worker="w0", features=["x", "level"], created_at=START)
        self._ids = 0

    def restart(self) -> None:
        """Forget everything that is only in memory."""
        self.monitoring = Monitoring(self.ledger, self.objects, self.serving)

    def store(self, frame: pl.DataFrame) -> str:
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        return self.objects.put_bytes(buffer.getvalue()).sha256

    def watch(self, plan: MonitorPlan | None = None, *, version: str = "m@1", weeks: int = 8) -> None:
        self.monitoring.set_plan("owner", self.name, plan or MonitorPlan())
        self.refer(version=version, weeks=weeks)

    def refer(self, *, version: str = "m@1", weeks: int = 8, seed: int = 0):
        frame = pl.concat([week(number - weeks, seed=seed) for number in range(weeks)])
        source = ReferenceSource(
            frame=self.store(frame.select("t", "x", "level")), scores=self.store(frame.select("t", "prediction", "label")), version=version
        )
        return self.monitoring.set_reference("owner", self.name, source)

    def serve(self, frame: pl.DataFrame, *, version: str = "m@1", arm: str = "champion", shadow: bool = False, ids=None) -> list[str]:
        """Write one log frame per row, as a worker does; returns the prediction ids."""
        names = []
        for at, row in enumerate(frame.iter_rows(named=True)):
            self._ids += 1
            names.append(f"prd_{self._ids:08d}" if ids is None else ids[at])
            self.writer.append(
                LogFrame(
                    request_id=row["request_id"], event_time=row["t"], replayed=True, received_at=self.clock.now(), entity="",
                    version=version, generation=1, arm=arm, weight=1.0, shadow=shadow, prediction_ids=[names[-1]], latencies_us=[50.0],
                    features=[[row["x"], row["level"]]], predictions=[row["prediction"]], errors=[""],
                )
            )  # fmt: skip
        return names

    def label(self, frame: pl.DataFrame, *, lag: int = HOUR // 2, value: pl.Expr | None = None):
        rows = frame.select("request_id", label=value if value is not None else pl.col("label"), event_time=pl.col("t") + lag)
        return self.monitoring.record_labels("owner", self.name, rows.to_dicts())

    def live(self, frame: pl.DataFrame, **served) -> None:
        """Serve a week, label it, and reconcile."""
        self.serve(frame, **served)
        self.serving.ingest()
        self.label(frame)
        self.monitoring.reconcile()

    def entries(self, kind: str) -> list:
        with self.ledger.records.read() as session:
            from gateline.ledger.store import entries

            return list(entries(session, kind=kind))

    def events(self, kind: str) -> list[dict]:
        from sqlalchemy import select

        from gateline.ledger.store import OutboxRow

        with self.ledger.records.read() as session:
            return [row.payload for row in session.scalars(select(OutboxRow).where(OutboxRow.kind == kind).order_by(OutboxRow.id))]
