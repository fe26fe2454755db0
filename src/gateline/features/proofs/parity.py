"""The replay proof: historical requests through the real online path give what the offline join gives, value by value.

Events are delivered in the order in which they became known, shuffled, some of them twice and some after newer ones, as far as lateness
allows, through an online store and in small batches; requests are read in between, at their own times.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from gateline.features.engine.derived import with_derived
from gateline.features.engine.expressions import scan, source_rows
from gateline.features.engine.point_in_time import compute
from gateline.features.online.rows import key_text, plain_rows
from gateline.features.online.sqlite import SqliteOnlineStore
from gateline.features.online.views import OnlineView, OnlineViews
from gateline.kernel.clock import DAY, SECOND, Instant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from gateline.features.declarations.plan import EventSource
    from gateline.features.engine.expressions import Table
    from gateline.features.engine.fitted import FittedTransforms
    from gateline.features.model import FeatureSet
    from gateline.features.online.store import OnlineStore

RELATIVE = 1e-9
_LATENESS_SECONDS = 4 * DAY // SECOND
_TWICE = 0.05
_EXAMPLES_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureParity:
    """How one feature agrees.

    Attributes:
        feature: Its name.
        compared: Requests.
        mismatch: Requests for which both sides have a value, and another one.
        missing: Requests for which only the offline join has a value.
        extra: Requests for which only the online store has a value.
        examples: Up to three of the requests that differ: row, time, offline and online value.
    """

    feature: str
    compared: int
    mismatch: int
    missing: int
    extra: int
    examples: tuple[dict[str, Any], ...]

    @property
    def agrees(self) -> bool:
        """Whether every value agrees."""
        return not (self.mismatch or self.missing or self.extra)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "feature": self.feature, "compared": self.compared, "mismatch": self.mismatch, "missing": self.missing, "extra": self.extra,
            "examples": list(self.examples),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """What a replay found.

    Attributes:
        feature_set: Name of the set.
        requests: How many requests were replayed.
        events: Rows delivered, with those delivered twice.
        repeated: How many were delivered twice.
        overtaken: How many were delivered after a row that became available later.
        seed: Seed of sample, order and repetitions.
        features: Each feature that comes from the online store or is computed from it.
    """

    feature_set: str
    requests: int
    events: int
    repeated: int
    overtaken: int
    seed: int
    features: tuple[FeatureParity, ...]

    @property
    def agrees(self) -> bool:
        """Whether every value of every feature agrees."""
        return all(one.agrees for one in self.features)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "feature_set": self.feature_set, "requests": self.requests, "events": self.events, "repeated": self.repeated,
            "overtaken": self.overtaken, "seed": self.seed, "agrees": self.agrees, "features": [one.as_dict() for one in self.features],
        }  # fmt: skip


def replay_parity(
    feature_set: FeatureSet,
    tables: Mapping[str, Table],
    requests: int | None = None,
    seed: int = 0,
    store: OnlineStore | None = None,
    *,
    fitted: FittedTransforms | None = None,
) -> ParityReport:
    """Replay requests of a set through the online path, and compare with the offline join.

    With fitted transforms, both sides are transformed first: the values that are compared are those that a model sees.

    Whole numbers, booleans and texts must be equal, fractions to 1e-9 of their size. Sources are replayed with a lateness of four days
    where they declare less: that lets more events be out of order, not fewer.

    Args:
        feature_set: A valid set; every source of its views names an event id.
        tables: Dataset name to the files of its table.
        requests: How many rows of the spine, drawn at random; all of them when it is None.
        seed: Seed of sample, order and repetitions.
        store: The online store; an SQLite file that is removed afterwards when it is None.
        fitted: What was learned for the set's transforms; None compares the features as they are before them.

    Raises:
        InvalidInput: a source names no event id, a row lacks it, or the transforms were fitted on other features.
        NotFound: a table is missing.
    """
    if store is not None:
        return _Replay(feature_set, tables, seed, store, fitted).run(requests)
    with tempfile.TemporaryDirectory() as folder:
        own = SqliteOnlineStore(Path(folder) / "online.db")
        try:
            return _Replay(feature_set, tables, seed, own, fitted).run(requests)
        finally:
            own.close()


@dataclass(frozen=True, slots=True)
class _Stream:
    """Rows of a source in order of delivery."""

    views: list[OnlineView]
    rows: pl.DataFrame
    delivered: npt.NDArray[np.int64]

    def between(self, start: Instant, end: Instant) -> pl.DataFrame:
        low, high = self.delivered.searchsorted([start, end], side="right").tolist()
        return self.rows[low:high]


class _Replay:
    """One replay: streams of events on one side, requests by time on the other."""

    def __init__(
        self, feature_set: FeatureSet, tables: Mapping[str, Table], seed: int, store: OnlineStore, fitted: FittedTransforms | None
    ) -> None:
        self._set = feature_set
        self._fitted = fitted
        self._tables = tables
        self._seed = seed
        self._random = np.random.default_rng(seed)
        self._online = OnlineViews(store)
        self._views = [OnlineView(view=_patient(view)) for view in feature_set.sourced_views]
        self._lateness = max((view.source.lateness_seconds for view in self._views), default=_LATENESS_SECONDS) * SECOND
        self._events = self._repeated = self._overtaken = 0

    def run(self, requests: int | None) -> ParityReport:
        offline = compute(self._set, self._tables)
        spine = source_rows(self._set.spine, scan(self._tables[self._set.spine.dataset])).collect()
        if requests is not None and requests < offline.height:
            chosen = np.sort(self._random.choice(offline.height, requests, replace=False))
            offline, spine = offline[chosen], spine[chosen]
        plain = plain_rows(spine)
        times = plain[self._set.time].to_numpy()
        keys = {view.fingerprint: _keys(plain, view) for view in self._views}
        found = {view.fingerprint: [view.state.empty().values] * spine.height for view in self._views}
        by_time = np.argsort(times, kind="stable")
        for low, high in self._steps(times[by_time]):
            places = by_time[low:high].tolist()
            for view in self._views:
                wanted = [place for place in places if keys[view.fingerprint][place] is not None]
                readings = self._online.read_each(
                    view, [keys[view.fingerprint][place] or "" for place in wanted], [int(times[place]) for place in wanted]
                )
                for place, reading in zip(wanted, readings, strict=True):
                    found[view.fingerprint][place] = reading.values
        return self._report(offline, self._joined(offline, spine, found))

    def _steps(self, times: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Deliver events half a lateness at a time, and yield the span of requests that all their events have reached."""
        if not len(times):
            return
        half = self._lateness // 2
        streams = self._streams(half)
        first = min([int(times[0]), *(int(stream.delivered[0]) for stream in streams if len(stream.delivered))])
        before, low = first - 1, 0
        while low < len(times):
            now = before + half
            for stream in streams:
                rows = stream.between(before, now)
                if rows.height:
                    self._online.take_in(stream.views, rows, now)
            high = int(times.searchsorted(now - half, side="right"))
            if high > low:
                yield low, high
            before, low = now, high

    def _streams(self, delay_max: int) -> list[_Stream]:
        by_source: dict[str, list[OnlineView]] = defaultdict(list)
        for view in self._views:
            by_source[repr(view.source.as_dict())].append(view)
        return [self._stream(views, views[0].source, delay_max) for views in by_source.values()]

    def _stream(self, views: list[OnlineView], source: EventSource, delay_max: int) -> _Stream:
        rows = source_rows(source, scan(self._tables[source.dataset])).collect()
        rows = rows.drop_nulls([source.event_time, source.available_at])
        twice = np.flatnonzero(self._random.random(rows.height) < _TWICE)
        rows = pl.concat([rows, rows[twice]])
        available = rows[source.available_at].dt.timestamp("us").to_numpy()
        delivered = available + self._random.integers(0, delay_max, len(available))
        order = np.lexsort((self._random.random(len(delivered)), delivered))
        overtaken = available[order] < np.maximum.accumulate(available[order]) if len(order) else np.empty(0, bool)
        self._events += rows.height
        self._repeated += len(twice)
        self._overtaken += int(overtaken.sum())
        return _Stream(views, rows[order], delivered[order])

    def _joined(self, offline: pl.DataFrame, spine: pl.DataFrame, found: Mapping[str, list[tuple[Any, ...]]]) -> pl.DataFrame:
        """Return every feature, typed as offline: from the store, computed from it, or as it came with the request."""
        columns = {
            name: pl.Series(name, values, dtype=offline.schema[name])
            for view in self._views
            for name, values in zip(view.state.features, zip(*found[view.fingerprint], strict=True), strict=False)
        }
        full = spine.with_columns(columns.values())
        plan = self._set.plan
        calendars = (name for part in plan.calendars for name in part.outputs)
        return with_derived(plan, full).select(*columns, *calendars, *(one.name for one in plan.on_demand), *plan.columns)

    def _report(self, offline: pl.DataFrame, online: pl.DataFrame) -> ParityReport:
        if self._fitted is not None:
            offline, online = self._fitted.apply(offline), self._fitted.apply(online)
        given = set(self._set.plan.columns)
        features = tuple(_compared(name, offline, online[name]) for name in online.columns if name not in given)
        return ParityReport(
            feature_set=self._set.name, requests=offline.height, events=self._events, repeated=self._repeated, overtaken=self._overtaken,
            seed=self._seed, features=features,
        )  # fmt: skip


def _patient(view: Any) -> Any:
    """Return the view over a source that waits at least four days for its events."""
    return replace(view, source=replace(view.source, lateness_seconds=max(view.source.lateness_seconds, _LATENESS_SECONDS)))


def _keys(plain: pl.DataFrame, view: OnlineView) -> list[str | None]:
    return [None if None in row else key_text(row) for row in plain.select(view.keys).rows()]


def _compared(name: str, offline: pl.DataFrame, online: pl.Series) -> FeatureParity:
    counts = {"mismatch": 0, "missing": 0, "extra": 0}
    examples: list[dict[str, Any]] = []
    for place, (one, other) in enumerate(zip(offline[name].to_list(), online.to_list(), strict=True)):
        if one is None and other is None:
            continue
        if one is not None and other is not None and _same(one, other):
            continue
        kind = "mismatch" if one is not None and other is not None else "missing" if other is None else "extra"
        counts[kind] += 1
        if len(examples) < _EXAMPLES_MAX:
            examples.append({"row": offline["row_id"][place], "t": str(offline["t"][place]), "offline": one, "online": other})
    return FeatureParity(feature=name, compared=offline.height, examples=tuple(examples), **counts)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=0.0)
    return bool(one == other)
