"""The trial for leaks: take away, or alter, what became available after `t`, and compute again; no feature may move."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from gateline.features.declarations.plan import Lookup, Plan
from gateline.features.engine.point_in_time import Prepared, assemble
from gateline.features.model import Leak, LeakKind
from gateline.kernel.clock import SECOND, iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    import numpy.typing as npt

    from gateline.features.declarations.plan import Part

    Assemble = Callable[[Plan, Prepared], pl.DataFrame]

_TRIAL = "__trial"
_REL_TOLERANCE = 1e-9
_NEXT_ROWS = 1_000
_LATER_ROWS = 200


def tried_leaks(plan: Plan, prepared: Prepared, *, seed: int, rows: int, assemble_rows: Assemble = assemble) -> list[Leak]:
    """Return the features of sampled rows that move when what became available only after `t` is taken away or altered.

    All trials run in two computations: each trial gets the source rows of its keys under a trial number that joins every key. Left out are
    only rows too old for any part to use, and of the altered later rows all but the next 1,000 and 200 random ones.

    Args:
        plan: A valid set.
        prepared: Its spine and sources.
        seed: Seed of the sample.
        rows: Number of spine rows tried.
        assemble_rows: The computation under test.

    Returns:
        At most one leak for each feature.
    """
    generator = np.random.default_rng(seed)
    height = prepared.spine.height
    chosen = np.sort(generator.choice(height, size=min(rows, height), replace=False))
    expected = assemble_rows(plan, prepared).select("row_id", *plan.features)[chosen]
    spine = prepared.spine[chosen].with_columns((pl.col(plan.time).rank("dense") - 1).cast(pl.Int64).alias(_TRIAL))
    moments = spine.select(_TRIAL, pl.col(plan.time).dt.timestamp("us")).unique().sort(_TRIAL)[plan.time].to_numpy()
    past: dict[str, pl.DataFrame] = {}
    later: dict[str, pl.DataFrame] = {}
    for part in plan.parts:
        past[part.name], later[part.name] = _split(part, prepared.sources[part.source.name], spine, moments, generator)
    tried = _with_trials(plan)
    found: dict[str, Leak] = {}
    for change, frames in (
        ("taken away", past),
        ("altered", {name: pl.concat([frame, _altered(later[name])]) for name, frame in past.items()}),
    ):
        again = assemble_rows(tried, Prepared(spine=spine, sources=frames)).select("row_id", *plan.features)
        for place, moment in enumerate(spine[plan.time].to_list()):
            for leak in _moved(plan, expected.row(place, named=True), again.row(place, named=True), moment, change):
                found.setdefault(leak.feature, leak)
    return list(found.values())


def _with_trials(plan: Plan) -> Plan:
    """Return the set with the trial number in every key, and each part reading rows of its own."""
    parts = tuple(replace(part, key=(_TRIAL, *part.keys), source=replace(part.source, name=part.name)) for part in plan.parts)
    return replace(plan, parts=parts)


def _split(
    part: Part, frame: pl.DataFrame, spine: pl.DataFrame, moments: npt.NDArray[np.int64], generator: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return, under their trial numbers, the rows that were available to each trial and are not too old for the part, and later ones."""
    source, keys = part.source, list(part.keys)
    codes = frame.select(keys).drop_nulls().unique().with_row_index("__code")
    ordered = frame.join(codes, on=keys, how="inner").sort("__code", source.available_at, maintain_order=True)
    at = ordered[source.available_at].dt.timestamp("us").to_numpy()
    newest = np.maximum(at, ordered[source.event_time].dt.timestamp("us").to_numpy())
    bounds = np.searchsorted(ordered["__code"].to_numpy(), np.arange(codes.height + 1))
    reach = None if isinstance(part, Lookup) else part.reach_seconds
    picked: tuple[list[npt.NDArray[np.int64]], list[npt.NDArray[np.int64]]] = ([], [])
    trials: tuple[list[int], list[int]] = ([], [])
    for code, trial in spine.select(_TRIAL, *keys).unique().sort(_TRIAL, *keys).join(codes, on=keys).select("__code", _TRIAL).iter_rows():
        start, end, moment = bounds[code], bounds[code + 1], moments[trial]
        cut = start + np.searchsorted(at[start:end], moment, side="right")
        past = np.arange(start, cut)
        if reach is not None:
            past = past[newest[start:cut] >= moment - reach * SECOND]
        rest = np.arange(min(cut + _NEXT_ROWS, end), end)
        far = generator.choice(rest, size=min(_LATER_ROWS, len(rest)), replace=False)
        for place, rows in enumerate((past, np.concatenate([np.arange(cut, min(cut + _NEXT_ROWS, end)), far]))):
            picked[place].append(rows)
            trials[place].append(trial)
    return _numbered(ordered, picked[0], trials[0]), _numbered(ordered, picked[1], trials[1])


def _numbered(frame: pl.DataFrame, picked: list[npt.NDArray[np.int64]], trials: list[int]) -> pl.DataFrame:
    """Return the picked rows, each under the number of its trial."""
    rows = np.concatenate([np.empty(0, dtype=np.int64), *picked])
    numbers = np.repeat(np.array(trials, dtype=np.int64), [len(one) for one in picked])
    return frame[rows].drop("__code").with_columns(pl.Series(_TRIAL, numbers, dtype=pl.Int64))


def _altered(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with every number replaced by a far larger one."""
    numbers = [alias for alias, dtype in frame.schema.items() if dtype.is_numeric() and alias != _TRIAL]
    return frame.with_columns(pl.col(alias) * 3 + 1_000_003 for alias in numbers)


def _moved(plan: Plan, before: dict[str, Any], after: dict[str, Any], moment: datetime, change: str) -> Iterator[Leak]:
    t = round(moment.timestamp() * 1_000_000)
    for name in plan.features:
        old, new = before[name], after[name]
        if old == new or (isinstance(old, float) and isinstance(new, float) and math.isclose(old, new, rel_tol=_REL_TOLERANCE)):
            continue
        yield Leak(
            kind=LeakKind.FUTURE_ROW,
            feature=name,
            row=before["row_id"],
            t=t,
            detail=f"Feature '{name}' of row {before['row_id']} at {iso(t)} is {old}, but {new} when what became available later "
            f"is {change}.",
        )
