"""Backfills: the rows of a dataset into the online store, interval by interval, as often as one likes.

An interval that is done is a row. A backfill that was killed goes on where it stopped; the interval it died in is taken in again, which
changes nothing, because events carry ids and a state never goes back in time. So an old interval never overwrites newer values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
from sqlalchemy.exc import IntegrityError

from gateline.features.declarations.views import WindowView
from gateline.features.engine.expressions import scan, source_rows
from gateline.features.online.rows import check_event_id
from gateline.features.online.state import EVERYTHING, Taken
from gateline.features.online.store import Mark
from gateline.features.online.views import OnlineViews
from gateline.features.records import views as store
from gateline.kernel.clock import DAY, SECOND, Instant, iso
from gateline.kernel.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateline.data import Datasets, DatasetVersion
    from gateline.features.catalogue import FeatureViews
    from gateline.features.online.store import OnlineStore
    from gateline.features.online.views import OnlineView
    from gateline.features.records.model import FeatureViewVersion
    from gateline.ledger import Ledger

INTERVAL_SECONDS = 7 * DAY // SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a backfill has come.

    Attributes:
        view: The view version.
        dataset_version: Where the rows come from.
        intervals: How many intervals there are, and of them `done`, which counts those of earlier runs.
        rows: Rows of this run.
        taken: What became of them.
        start: Availability after which rows were wanted, in UTC microseconds.
        end: Availability up to which everything is in the store now.
    """

    view: str
    dataset_version: str
    intervals: int
    done: int
    rows: int
    taken: Taken
    start: Instant
    end: Instant

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "view": self.view, "dataset_version": self.dataset_version, "intervals": self.intervals, "done": self.done, "rows": self.rows,
            "taken": self.taken._asdict(), "start": self.start, "end": self.end,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Materialisation:
    """Brings views online from their datasets."""

    ledger: Ledger
    views: FeatureViews
    datasets: Datasets
    store: OnlineStore

    def run(
        self,
        actor: str,
        wanted: str,
        *,
        start: Instant | None = None,
        end: Instant | None = None,
        dataset_version: int | None = None,
        interval_seconds: int = INTERVAL_SECONDS,
        intervals_max: int | None = None,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> Progress:
        """Take the rows of a view's dataset into the online store.

        Without `start`, a view that was materialised before goes on where it stopped, less the lateness of its source, so that rows which
        came late are found. Rows of every interval that was not done yet with the same dataset version are taken in.

        Args:
            actor: Name of the principal.
            wanted: Version id of the view, or its name for the promoted version.
            start: Availability after which rows are wanted, in UTC microseconds.
            end: Availability up to which rows are wanted; the newest row of the dataset when it is not given.
            dataset_version: Number of the dataset version; the newest when it is not given.
            interval_seconds: Length of an interval. Memory grows with its rows.
            intervals_max: How many intervals are taken in at most; the rest is left to the next run. None takes all.
            progress: Called after each interval.

        Raises:
            NotFound: there is no such view or dataset version.
            InvalidInput: the source names no event id, a row lacks it, or the dataset's schema has changed.
            Conflict: the interval begins before tiles that are closed already.
            StorageFull: there is no room; run it again when there is.
        """
        version = self.views.get(wanted)
        view = self.views.definition(version)
        check_event_id(view.source)
        if interval_seconds <= 0:
            raise InvalidInput(f"An interval must be longer than {interval_seconds} s.")
        dataset = self.datasets.get(version.dataset, dataset_version)
        rows = source_rows(view.source, scan(self.datasets.table_paths(dataset)))
        first, newest = _extremes(rows, view)
        with self.ledger.records.read() as session:
            done = {(row.start, row.end): row for row in store.backfilled(session, version.id)}
            here = {span for span, row in done.items() if row.dataset_version == dataset.id}
        begin = self._begin(version, view, start, first, [*done])
        finish = newest if end is None else min(end, newest)
        self.views.put_online(actor, version)
        spans = _intervals(begin, finish, interval_seconds * SECOND)
        state = Progress(
            view=version.id, dataset_version=dataset.id, intervals=len(spans), done=sum(span in here for span in spans), rows=0,
            taken=Taken(), start=begin, end=begin,
        )  # fmt: skip
        for span in [span for span in spans if span not in here][:intervals_max]:
            state = self._interval(actor, version, view, dataset, rows, span, state)
            progress(state)
        if finish == newest and state.done == len(spans):
            self.store.commit([], {view.fingerprint: Mark(covered=EVERYTHING)})
        return state

    def _interval(
        self,
        actor: str,
        version: FeatureViewVersion,
        view: OnlineView,
        dataset: DatasetVersion,
        rows: pl.LazyFrame,
        span: tuple[Instant, Instant],
        state: Progress,
    ) -> Progress:
        available = pl.col(view.source.available_at).dt.timestamp("us")
        frame = rows.filter((available > span[0]) & (available <= span[1])).collect()
        found = OnlineViews(self.store).take_in([view], frame, self.ledger.clock.now(), covered=span[1])[view.fingerprint]
        try:
            with self.ledger.transaction(actor) as tx:
                tx.session.add(
                    store.FeatureBackfillRow(
                        view=version.id, dataset_version=dataset.id, start=span[0], end=span[1], rows=frame.height, done_at=tx.now
                    )
                )
                tx.session.flush()
                summary = {"dataset_version": dataset.id, "start": span[0], "end": span[1], "rows": frame.height}
                tx.record("feature_view.interval.materialised", version.id, summary)
        except IntegrityError:
            pass  # another run did the same interval meanwhile, with the same outcome
        return Progress(
            view=state.view, dataset_version=state.dataset_version, intervals=state.intervals, done=state.done + 1,
            rows=state.rows + frame.height, taken=Taken.total([state.taken, found]), start=state.start, end=span[1],
        )  # fmt: skip

    def _begin(
        self, version: FeatureViewVersion, view: OnlineView, start: Instant | None, first: Instant, done: list[tuple[Instant, Instant]]
    ) -> Instant:
        """Return the availability after which rows are wanted."""
        if start is None:
            return max(end for _, end in done) - view.source.lateness_seconds * SECOND if done else first - 1
        covered = min((begin for begin, _ in done), default=None)
        if covered is not None and start < covered and isinstance(view.view, WindowView) and view.view.hop:
            raise Conflict(
                f"{version.id} has a hop, and its tiles are closed from {iso(covered)} on: earlier rows cannot be added to them.",
                next_step=f"Remove it and materialise it anew: gateline feature remove {version.id}.",
            )
        return start


def _extremes(rows: pl.LazyFrame, view: OnlineView) -> tuple[Instant, Instant]:
    available = pl.col(view.source.available_at).dt.timestamp("us")
    first, newest = rows.select(available.min().alias("first"), available.max().alias("newest")).collect().row(0)
    return (0, 0) if first is None else (first, newest)


def _intervals(begin: Instant, finish: Instant, length: int) -> list[tuple[Instant, Instant]]:
    """Return `(start, end]` on a fixed grid, so that a later run names the same intervals; only the last one ends early."""
    starts = range(begin // length * length, finish, length)
    return [(start, min(start + length, finish)) for start in starts]
