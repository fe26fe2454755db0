"""From a feature set to a Feast repository that has the same values: each view as a table of every instant at which a value changes.

Feast looks up the newest row at or before the time of a request. A table with one row for each event keeps what a window has left behind;
so here each event also has a row at the instant at which it leaves, and the values are those that Gateline computes at these instants.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from gateline.features import EventSource, FeatureSet, Plan, compute
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TIME = "event_timestamp"
_BEGIN = 0  # 1970-01-01: from then on a key that is known at all has a row, so that empty windows count 0
_INSTANT = pl.Datetime("us", "UTC")
_FIELDS: Mapping[Any, str] = {pl.Int64: "Int64", pl.Float64: "Float64", pl.String: "String", pl.Boolean: "Bool"}
_VALUES: Mapping[Any, str] = {pl.Int64: "INT64", pl.String: "STRING"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written: rows of each view's table, and what Feast cannot hold."""

    rows: Mapping[str, int]
    notes: tuple[str, ...]


def export_repository(feature_set: FeatureSet, files: Mapping[str, Sequence[Path]], folder: Path) -> Exported:
    """Write a set as a Feast repository (for Feast 0.67) into a new folder: `feature_store.yaml`, `features.py` and `data/*.parquet`.

    Feast's `get_historical_features` on it gives the values of the set for every key that its sources know.

    Args:
        feature_set: A valid set.
        files: Dataset name to the Parquet files of its version.
        folder: Where to; it must not exist.

    Raises:
        InvalidInput: a view cannot be held by Feast; nothing is written.
    """
    plan = feature_set.plan
    tables = {}
    for view in feature_set.views:
        if view.parts:
            tables[view.name] = _changes(plan, view.name, view.parts, files)
    notes = [f"feature '{one.name}' is computed on demand and is left to the caller" for one in plan.on_demand]
    notes += [f"column '{name}' comes with the requests" for name in plan.columns]
    notes.append("a key that no source knows has no row in Feast: its features are missing there, where Gateline counts 0")
    code = _code(feature_set.name, tables)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as making:
        whole = Path(making) / folder.name
        (whole / "data").mkdir(parents=True)
        for name, (_, frame) in tables.items():
            frame.write_parquet(whole / "data" / f"{name}.parquet")
        (whole / "features.py").write_text(code, encoding="utf-8")
        (whole / "feature_store.yaml").write_text(_settings(feature_set.name), encoding="utf-8")
        whole.rename(folder)  # all or nothing
    return Exported(rows={name: frame.height for name, (_, frame) in tables.items()}, notes=tuple(notes))


def _changes(plan: Plan, name: str, parts: Sequence[Any], files: Mapping[str, Sequence[Path]]) -> tuple[tuple[str, ...], pl.DataFrame]:
    """Return keys and table of a view: its values at every instant at which one may change, computed by Gateline."""
    source: EventSource = parts[0].source
    keys: tuple[str, ...] = parts[0].keys
    rows = _times(source, keys, files)
    at = [pl.col("known")]
    for part in parts:
        at += _instants(part)
    instants = pl.concat([rows.select(*keys, one.alias(_TIME)) for one in at] + [rows.select(*keys, pl.lit(_BEGIN, pl.Int64).alias(_TIME))])
    spine = instants.drop_nulls().unique().sort(*keys, _TIME).with_columns(pl.col(_TIME).cast(_INSTANT))
    if unknown := [f"{key} is {spine.schema[key]}" for key in keys if spine.schema[key] not in _VALUES]:
        raise InvalidInput(f"Feast cannot join view '{name}': {', '.join(unknown)}.", next_step="Make its keys texts or whole numbers.")
    requests = EventSource(
        name="__changes", dataset="__changes", columns={key: key for key in (*keys, _TIME)}, event_time=_TIME, available_at=_TIME
    )
    return keys, _computed(plan, requests, keys, parts, spine, files)


def _computed(
    plan: Plan, requests: EventSource, keys: tuple[str, ...], parts: Sequence[Any], spine: pl.DataFrame, files: Mapping[str, Sequence[Path]]
) -> pl.DataFrame:
    changes = Plan(name=plan.name, spine=requests, entity=(*keys, _TIME), time=_TIME, parts=tuple(parts))
    with tempfile.TemporaryDirectory(prefix="gateline-feast-") as folder:
        path = Path(folder) / "changes.parquet"
        spine.write_parquet(path)
        return compute(changes, {**files, "__changes": [path]}).select(*keys, _TIME, *changes.features)


def _times(source: EventSource, keys: tuple[str, ...], files: Mapping[str, Sequence[Path]]) -> pl.DataFrame:
    """Return keys, event time and availability of a source's rows, the times in microseconds."""
    rows = pl.scan_parquet([str(path) for path in files[source.dataset]])
    if source.where is not None:
        rows = rows.filter(pl.sql_expr(source.where))
    wanted = [pl.sql_expr(source.columns[key]).alias(f"__{key}") for key in keys]
    times = {"happened": source.event_time, "known": source.available_at}
    wanted += [pl.sql_expr(source.columns[alias]).cast(_INSTANT).cast(pl.Int64).alias(f"__{name}") for name, alias in times.items()]
    frame = rows.with_columns(wanted).select(pl.col(f"__{name}").alias(name) for name in (*keys, *times)).collect()
    whole = [pl.col(key).cast(pl.Int64) for key in keys if frame.schema[key].is_integer()]
    return frame.with_columns(whole).drop_nulls()


def _instants(part: Any) -> list[pl.Expr]:
    """Return the instants at which a row enters and leaves a part, in microseconds."""
    fields = part.as_dict()
    offset = fields.get("offset_seconds", 0) * SECOND
    entering = pl.col("known") + offset
    if fields["kind"] == "latest":
        leaving = pl.col("happened") + offset + fields["max_age_seconds"] * SECOND + 1
        return [entering, pl.max_horizontal(entering, leaving)]
    if fields["kind"] == "lookup":
        return [entering]
    window, hop = fields["window_seconds"] * SECOND, fields["hop_seconds"] * SECOND
    if not hop:
        return [entering, entering + window]
    return [entering, ((pl.col("known") + hop - 1) // hop) * hop + offset + window]


def _code(project: str, tables: Mapping[str, tuple[tuple[str, ...], pl.DataFrame]]) -> str:
    keys = {key: _VALUES[frame.schema[key]] for names, frame in tables.values() for key in names}
    columns = [frame.schema[name] for names, frame in tables.values() for name in frame.columns if name not in (*names, _TIME)]
    types = sorted({_FIELDS[dtype] for dtype in columns})
    lines = [
        f'"""Feature set {project}, written by Gateline: a row for every instant at which a value changes."""',
        "",
        "from datetime import timedelta", "", "from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType",
        f"from feast.types import {', '.join(types)}", "",
        *(f"{key}_entity = Entity(name={key!r}, join_keys=[{key!r}], value_type=ValueType.{kind})" for key, kind in keys.items()),
    ]  # fmt: skip
    for name, (own, frame) in tables.items():
        fields = [f"Field(name={one!r}, dtype={_FIELDS[frame.schema[one]]})" for one in frame.columns if one not in (*own, _TIME)]
        lines += [
            f"{_variable(name)}_view = FeatureView(", f"    name={name!r},", f"    entities=[{', '.join(f'{key}_entity' for key in own)}],",
            "    ttl=timedelta(0),  # rows of their own say when a value expires", "    schema=[",
            *(f"        {one}," for one in fields), "    ],",
            f"    source=FileSource(name={f'{name}_changes'!r}, path={f'data/{name}.parquet'!r}, timestamp_field={_TIME!r}),", ")",
        ]  # fmt: skip
    views = ", ".join(f"{_variable(name)}_view" for name in tables)
    return "\n".join([*lines, f"service = FeatureService(name={project!r}, features=[{views}])", ""])


def _variable(name: str) -> str:
    """Return a name of Python for a view, and of a project for a set: Feast allows letters, digits and `_`."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def _settings(project: str) -> str:
    return (
        f"project: {_variable(project)}\nprovider: local\nregistry: data/registry.db\noffline_store:\n  type: duckdb\n"
        "online_store:\n  type: sqlite\n  path: data/online.db\nentity_key_serialization_version: 3\n"
    )
