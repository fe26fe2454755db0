"""An endpoint that serves the features of a registered set: orders ask, readings of their shop arrive every ten minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from gateline.data import Datasets, ObjectStore, Tables
from gateline.features import Aggregation, EventSource, FeatureSet, FeatureSets, LatestView, WindowView, compute
from gateline.kernel.clock import DAY, HOUR, MINUTE, SimulatedClock, parse_iso
from gateline.kernel.settings import Settings
from gateline.lineage import Lineage
from gateline.monitoring import Monitoring, Parity, ParityPlan
from gateline.serving import FeatureKind, FeatureSpec, Serving
from gateline.serving.log import LogFrame, LogWriter

if TYPE_CHECKING:
    from pathlib import Path

    from gateline.ledger import Ledger

START = parse_iso("2013-04-01T00:00:00Z")
SHOPS = ("a", "b", "c")
NUMERIC = ("level", "mean_level_2h", "count_level_2h", "size")
FEATURES = (*(FeatureSpec(name=name, kind=FeatureKind.NUMERIC) for name in NUMERIC), FeatureSpec(name="shop", kind=FeatureKind.CATEGORICAL))
_INSTANT = pl.Datetime("us", "UTC")


def orders(days: int = 3, per_day: int = 300, seed: int = 0) -> pl.DataFrame:
    """Orders spread over days: id, shop, size and when they were asked about."""
    rng = np.random.default_rng([seed, 1])
    count = days * per_day
    asked = START + np.sort(rng.integers(0, days * DAY, count))
    return pl.DataFrame(
        {
            "id": [f"o{at}" for at in range(count)],
            "shop": rng.choice(SHOPS, count),
            "size": rng.integers(1, 50, count),
            "asked": pl.Series(asked).cast(_INSTANT),
        }
    )


def readings(days: int = 3, seed: int = 0) -> pl.DataFrame:
    """A reading of each shop every ten minutes, from a day before the first order on, known three minutes later."""
    rng = np.random.default_rng([seed, 2])
    times = np.arange(START - DAY, START + days * DAY, 10 * MINUTE)
    frames = [
        pl.DataFrame(
            {"shop": [shop] * len(times), "level": rng.normal(size=len(times)).cumsum(), "at": pl.Series(times).cast(_INSTANT)}
        ).with_columns(known=pl.col("at") + pl.duration(minutes=3))
        for shop in SHOPS
    ]  # fmt: skip
    return pl.concat(frames)


def feature_set(offset: str | int = 0, name: str = "order_risk") -> FeatureSet:
    """The set; with an offset, what a feature server would give that lags behind by so much."""
    spine = EventSource(
        name="orders", dataset="orders", columns={"id": "id", "shop": "shop", "size": "size", "asked": "asked"}, event_time="asked",
        available_at="asked",
    )  # fmt: skip
    source = EventSource(
        name="readings", dataset="readings", columns={"shop": "shop", "level": "level", "at": "at", "known": "known"}, event_time="at",
        available_at="known",
    )  # fmt: skip
    return FeatureSet(
        name=name, spine=spine, entity="id", time="asked", columns=("size", "shop"), categorical=("shop",),
        views=(
            LatestView(name="last", source=source, entity="shop", features={"level": "level"}, max_age="2h", offset=offset),
            WindowView(
                name="recent", source=source, entity="shop", windows=("2h",), offset=offset,
                aggregations=(
                    Aggregation("mean", "level", feature="mean_level_2h"), Aggregation("count", "level", feature="count_level_2h"),
                ),
            ),
        ),
    )  # fmt: skip


class Shop:
    """One endpoint `risk` whose features come from the set `order_risk`, with parity on it."""

    name = "risk"

    def __init__(self, ledger: Ledger, home: Path, clock: SimulatedClock, scratch: Path) -> None:
        self.ledger = ledger
        self.clock = clock
        self.home = home
        self.scratch = scratch
        self.objects = ObjectStore(home / "objects")
        self.lineage = Lineage(ledger.records)
        self.tables = Tables(str(home / "tables"), cache=home / "cache")
        self.datasets = Datasets(ledger, self.objects, self.lineage, self.tables)
        self.feature_sets = FeatureSets(ledger, self.lineage, self.datasets)
        self.serving = Serving(ledger, self.objects, self.lineage, Settings(home=home), tokens=lambda: ())
        self.serving.create_endpoint("owner", self.name, model="m", features=FEATURES, environment="prod", latency_ms_p99=50.0)
        self.monitoring = Monitoring(ledger, self.objects, self.serving)
        self.parity = self.make()
        self.writer = self.open_log(self.name)
        self.frames = {"orders": orders(), "readings": readings()}
        self._ids = 0

    def make(self) -> Parity:
        """Return the service anew, as after a restart."""
        return Parity(self.ledger, self.serving, self.monitoring, feature_sets=self.feature_sets, datasets=self.datasets)

    def open_log(self, endpoint: str) -> LogWriter:
        """Return the log of a worker."""
        folder = self.serving.folder / "log" / endpoint
        return LogWriter(folder, endpoint=endpoint, worker="w0", features=[one.name for one in FEATURES], created_at=START)

    def put(self, name: str, frame: pl.DataFrame | None = None) -> None:
        """Register the next version of a dataset."""
        if frame is not None:
            self.frames[name] = frame
        file = self.objects.put_with(self.frames[name].write_parquet).sha256
        self.datasets.register("owner", name, file=file, format="parquet", source="made for the test", licence="CC0-1.0")

    def open(self, **plan) -> None:
        """Register data and set, and declare the plan."""
        for name in self.frames:
            self.put(name)
        self.feature_sets.register("owner", feature_set())
        self.parity.set_plan("owner", self.name, ParityPlan(**{"feature_set": "order_risk", "sample_share": 1.0, **plan}))

    def requests(self, *, offset: str | int = 0) -> pl.DataFrame:
        """Return every order with its features as a feature server gives them, `offset` behind."""
        paths = {}
        for name, frame in self.frames.items():
            paths[name] = [self.scratch / f"{name}.parquet"]
            frame.write_parquet(paths[name][0])
        found = compute(feature_set(offset), paths)
        return found.select("row_id", pl.col("t").dt.timestamp("us"), *(one.name for one in FEATURES))

    def serve(
        self, rows: pl.DataFrame, *, version: str = "m@1", shadow: bool = False, entity: str | None = None, batch: bool = False
    ) -> None:
        """Write the rows to the log as a worker does, and take them in."""
        for number, row in enumerate(rows.iter_rows(named=True)):
            self._ids += 1
            values = [row[one.name] if isinstance(row[one.name], str | None) else float(row[one.name]) for one in FEATURES]
            count = 2 if batch else 1
            self.writer.append(
                LogFrame(
                    request_id=f"q{self._ids}-{number}", event_time=row["t"], replayed=True, received_at=self.clock.now(),
                    entity=row["row_id"] if entity is None else entity, version=version, generation=1, arm="champion", weight=1.0,
                    shadow=shadow, prediction_ids=[f"prd_{self._ids:08d}{part}" for part in range(count)], latencies_us=[50.0] * count,
                    features=[values] * count, predictions=[0.5] * count, errors=[""] * count,
                )
            )  # fmt: skip
        self.serving.ingest()

    def day(self, rows: pl.DataFrame, number: int) -> pl.DataFrame:
        """Return the requests of one day."""
        begin = START + number * DAY
        return rows.filter((pl.col("t") >= begin) & (pl.col("t") < begin + DAY))

    def close(self, number: int) -> None:
        """Let the watermark pass the end of a day: one request of an unknown order, two hours into the next."""
        row = {"row_id": "later", "t": START + (number + 1) * DAY + 2 * HOUR, **dict.fromkeys(NUMERIC, 0.0), "shop": "a"}
        self.serve(pl.DataFrame([row]))

    def entries(self, kind: str) -> list:
        """Return the ledger entries of a kind."""
        return list(self.ledger.entries(kind=kind))
