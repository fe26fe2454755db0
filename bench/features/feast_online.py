"""Feast's SQLite online store through its SDK. Arguments: an empty folder."""

from __future__ import annotations

import sys
import time
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

from bench.features.online_case import ENTITIES, KEYS, NAMES, report_reads, values

warnings.filterwarnings("ignore")
folder = Path(sys.argv[1])
(folder / "feature_store.yaml").write_text(
    f"project: bench\nprovider: local\nregistry: {folder}/registry.db\nonline_store: {{type: sqlite, path: {folder}/online.db}}\n"
    "offline_store: {type: duckdb}\nentity_key_serialization_version: 3\n",
    encoding="utf-8",
)
now = datetime.now(UTC)
content = values()
frame = pd.DataFrame({
    "k": KEYS, "event_timestamp": [now - timedelta(hours=1)] * ENTITIES, **{name: content[:, at] for at, name in enumerate(NAMES)},
})  # fmt: skip
frame.to_parquet(folder / "rows.parquet", coerce_timestamps="us")
store = FeatureStore(repo_path=str(folder))
entity = Entity(name="k", join_keys=["k"], value_type=ValueType.STRING)
source = FileSource(path=str(folder / "rows.parquet"), timestamp_field="event_timestamp")
schema = [Field(name=name, dtype=Float64) for name in NAMES]
view = FeatureView(name="bench", entities=[entity], ttl=timedelta(days=1), schema=schema, source=source)
store.apply([entity, view])
started = time.perf_counter()
store.materialize(now - timedelta(days=2), now)
rate = ENTITIES / (time.perf_counter() - started)
wanted = [f"bench:{name}" for name in NAMES]

report_reads(
    {"rows_per_second": rate},
    lambda keys: store.get_online_features(features=wanted, entity_rows=[{"k": key} for key in keys]).to_dict(),
    one=500,
    hundred=60,
)
