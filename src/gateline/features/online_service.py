"""Features online as users reach them: events by source, features by set or view, and how fresh all of it is."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from gateline.features.engine.derived import with_derived
from gateline.features.engine.expressions import roots, source_rows
from gateline.features.online.requests import typed_frame
from gateline.features.online.rows import check_event_id, key_text, plain_rows, usable_rows
from gateline.features.online.state import Taken
from gateline.features.online.views import OnlineView, OnlineViews, summary_of
from gateline.features.prepared import Prepared
from gateline.kernel.clock import SECOND, Instant, iso
from gateline.kernel.errors import Conflict, InvalidInput, NotFound, TooLarge
from gateline.kernel.limits import EVENT_ROWS_MAX, FEATURE_ROWS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateline.data import Datasets
    from gateline.features.catalogue import FeatureViews
    from gateline.features.declarations.plan import EventSource
    from gateline.features.model import FeatureSetVersion
    from gateline.features.online.store import OnlineStore
    from gateline.features.records.model import FeatureFit, FeatureViewVersion
    from gateline.features.service import FeatureSets
    from gateline.kernel.clock import Clock

    Values = Mapping[str, Any]

CLOCKS_APART_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedEvents:
    """Events of which every view can take every row.

    Attributes:
        source: Name of their source.
        rows: How many they are.
        groups: For each definition of the source that is online, its views, and the events as its rows.
    """

    source: str
    rows: int
    groups: Sequence[tuple[Sequence[tuple[FeatureViewVersion, OnlineView]], pl.DataFrame]]

    @property
    def sources(self) -> tuple[EventSource, ...]:
        """One definition of the source for each dataset that it reads: the newest."""
        return tuple({group[0][1].source.dataset: group[0][1].source for group, _ in self.groups}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineFeatures:
    """Taking in events and reading features online.

    Attributes:
        views: The catalogue.
        feature_sets: Definitions of sets.
        datasets: Where the types of rows are found.
        store: The online store.
        clock: Reads now; the time of a request that names none.
    """

    views: FeatureViews
    feature_sets: FeatureSets
    datasets: Datasets
    store: OnlineStore
    clock: Clock
    _prepared: Prepared = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_prepared", Prepared(self.feature_sets, self.datasets))

    def checked(self, source: str, rows: Sequence[Values]) -> CheckedEvents:
        """Return events of a source, ready to be taken in.

        Args:
            source: Name of the event source.
            rows: Rows of the source's dataset: column to value, every column that the source uses.

        Raises:
            NotFound: no online view reads the source.
            InvalidInput: rows do not fit the dataset, lack an event id, or say that they become available in the future.
            TooLarge: there are too many rows.
        """
        if len(rows) > EVENT_ROWS_MAX:
            raise TooLarge(f"{len(rows):,} events came at once; at most {EVENT_ROWS_MAX:,} may.", next_step="Send them in several batches.")
        reading = self.views.reading(source)
        if not reading:
            raise NotFound(
                f"No view that is kept online reads a source '{source}'.",
                next_step="Materialise one first: gateline feature materialise VIEW.",
            )
        grouped: dict[str, list[tuple[FeatureViewVersion, OnlineView]]] = defaultdict(list)
        for version in reading:
            view = self.views.definition(version)
            grouped[repr(view.source.as_dict())].append((version, view))
        frames = [(group, self._frame(*group[0], rows)) for group in grouped.values()]
        for group, frame in frames:
            for _, view in group:
                usable_rows(view.source, frame, view.keys)
        return CheckedEvents(source=source, rows=len(rows), groups=frames)

    def try_in(self, events: CheckedEvents) -> None:
        """Raise what `take_in` would raise of checked events, and write nothing.

        Raises:
            Conflict: values have another type than what is kept of their entities; the columns are named.
        """
        for group, frame in events.groups:
            OnlineViews(self.store).try_in([view for _, view in group], frame, self.clock.now())

    def take_in(self, events: CheckedEvents) -> dict[str, Any]:
        """Take in checked events; when it returns, they are durable in every online view of the source.

        Taking in the same events again changes nothing, so a caller that got no answer sends them again.

        Returns:
            `rows`, and for each view version what became of them (see `Taken`).

        Raises:
            Conflict: as `try_in`; views before may have taken the events.
            StorageFull: there is no room; likewise.
            Unavailable: the store does not answer; likewise.
        """
        result: dict[str, Any] = {}
        for group, frame in events.groups:
            taken = OnlineViews(self.store).take_in([view for _, view in group], frame, self.clock.now())
            result |= {version.id: taken.get(view.fingerprint, Taken())._asdict() for version, view in group}
        return {"source": events.source, "rows": events.rows, "views": result}

    def read_views(self, wanted: Sequence[str], entities: Sequence[Values], t: Instant | None = None) -> dict[str, Any]:
        """Return the features of views for entities, as they are at `t`.

        Args:
            wanted: Views by id, or by name for the promoted versions.
            entities: For each, alias to value of every entity key.
            t: UTC microseconds; None for now.

        Raises:
            NotFound: a view does not exist.
            Conflict: the values of a version are not kept online.
            InvalidInput: keys are missing or of another type, or `t` is earlier than the store answers for.
        """
        versions, warnings = self.views.chosen(wanted)
        return self._read(versions, entities, t) | {"warnings": warnings}

    def read_set(
        self, version: FeatureSetVersion, entities: Sequence[Values], t: Instant | None = None, *, fitted: FeatureFit | None = None
    ) -> dict[str, Any]:
        """Return all features of a set for requests, as the model gets them: from views, from the request, and computed on demand.

        Args:
            version: The set; its views are read as it declares them, whichever are promoted.
            entities: For each request, spine alias to value: the entity keys of the views, and what other features are made of.
            t: UTC microseconds; None for now.
            fitted: A fit of the set's transforms, to return the features transformed.

        Raises:
            Conflict: a view of the set is not kept online.
            InvalidInput: aliases are missing or of another type, `t` is earlier than the store answers for, or the fit is of another set.
        """
        versions, warnings = self.views.of_set(version)
        answer = self._read(versions, entities, t)
        request = self._prepared.request(version.id)
        plan = request.plan
        frame = typed_frame(f"the spine of {version.id}", request.schema, _only(entities, request.schema), [*request.schema])
        found = pl.DataFrame({
            name: pl.Series([row["features"][name] for row in answer["rows"]], dtype=dtype) for name, dtype in request.known.items()
        })  # fmt: skip
        full = pl.concat([frame, found], how="horizontal") if frame.width and found.width else frame if frame.width else found
        full = with_derived(plan, full) if full.height else full
        full = full if fitted is None or not full.height else fitted.apply(full, version.id)
        features = full.select(version.definition.features).to_dicts() if full.height else []
        rows = [row | {"features": values} for row, values in zip(answer["rows"], features, strict=True)]
        used = {} if fitted is None else {"fitted": fitted.id}
        return answer | {"rows": rows, "feature_set": version.id, **used, "warnings": warnings}

    def freshness(self) -> list[dict[str, Any]]:
        """Return, for each view version kept online, up to when its events are known, and how long ago that was."""
        now, result = self.clock.now(), []
        for version in self.views.online():
            mark = self.store.mark(version.fingerprint)
            lag = None if mark.watermark is None else (now - mark.watermark) / SECOND
            result.append({
                "view": version.id, "source": version.source, "watermark": mark.watermark, "lag_seconds": lag, "horizon": mark.horizon,
            })  # fmt: skip
        return result

    def prune(self) -> int:
        """Drop what no time can need any more, in all views; return how many states became smaller."""
        return sum(OnlineViews(self.store).prune(self.views.definition(one), self.clock.now()) for one in self.views.online())

    def _read(self, versions: Sequence[FeatureViewVersion], entities: Sequence[Values], t: Instant | None) -> dict[str, Any]:
        if len(entities) > FEATURE_ROWS_MAX:
            raise TooLarge(f"{len(entities):,} entities were asked for at once; at most {FEATURE_ROWS_MAX:,} may.")
        at = self.clock.now() if t is None else t
        rows: list[dict[str, Any]] = [{"features": {}, "views": {}} for _ in entities]
        online = OnlineViews(self.store)
        for version in versions:
            if not version.online:
                raise Conflict(
                    f"The values of {version.id} are not kept online.", next_step=f"First: gateline feature materialise {version.id}."
                )
            view = self.views.definition(version)
            keys = self._keys(version, view, entities)
            present = [place for place, key in enumerate(keys) if key is not None]
            readings = iter(online.read(view, [key for key in keys if key is not None], at))
            found = dict(zip(present, readings, strict=True))
            for place, row in enumerate(rows):
                reading = found.get(place, view.state.empty())
                row["features"] |= dict(zip(view.state.features, reading.values, strict=True))
                row["views"][version.name] = summary_of(reading, at)
        return {"t": iso(at), "rows": rows, "views": {one.name: one.id for one in versions}}

    def _keys(self, version: FeatureViewVersion, view: OnlineView, entities: Sequence[Values]) -> list[str | None]:
        """Return the key of each entity as text; None where a part of it is missing, which matches nothing."""
        own = self._prepared.keys(version.feature_set, version.name)
        frame = plain_rows(typed_frame(f"the key of view '{version.name}'", own, _only(entities, own), view.keys))
        return [None if None in row else key_text(row) for row in frame.rows()]

    def _frame(self, version: FeatureViewVersion, view: OnlineView, rows: Sequence[Values]) -> pl.DataFrame:
        """Return rows of a dataset as rows of the source.

        Raises:
            InvalidInput: they do not fit, or become available in the future.
        """
        source = view.source
        check_event_id(source)
        schema = self._prepared.rows(version.feature_set, source.dataset)
        used = {name for sql in [*source.columns.values(), *([source.where] if source.where else [])] for name in roots(sql)}
        raw = typed_frame(f"dataset '{source.dataset}'", schema, rows, sorted(used))
        frame = source_rows(source, raw.lazy()).collect()
        newest = frame[source.available_at].dt.timestamp("us").max()
        limit = self.clock.now() + CLOCKS_APART_SECONDS * SECOND
        if isinstance(newest, int) and newest > limit:
            raise InvalidInput(
                f"Events of source '{source.name}' say that they become available at {iso(newest)}, which is in the future.",
                next_step="Correct the clock of the sender, or send events when they are available.",
            )
        return frame


def _only(rows: Sequence[Values], schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows with what the schema knows: a request may carry the keys of other views too."""
    return [{name: value for name, value in row.items() if name in schema} for row in rows]
