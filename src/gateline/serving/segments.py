"""The predictions of an installation: taken from worker logs into segments, and read back."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl
import structlog
from sqlalchemy import func, select

from gateline.kernel.canonical import sha256_file
from gateline.kernel.errors import Conflict, IntegrityFailure, NotFound
from gateline.kernel.files import storage_errors
from gateline.lineage import Node
from gateline.serving import store
from gateline.serving.ingest import (
    FEATURE_PREFIX,
    Reading,
    WrittenFile,
    arms_of,
    read_new,
    remove_unnamed,
    schema,
    to_frame,
    write_segment,
)  # fmt: skip
from gateline.serving.model import SERVING_DOCUMENT, EventTimeSource, Prediction, PredictionId
from gateline.serving.publish import stored_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateline.data import ObjectStore
    from gateline.ledger import Ledger, Transaction
    from gateline.lineage import Lineage
    from gateline.serving.model import Endpoint, FormInput, PredictionSegment, Route

ACTOR = "gateline"

_log = structlog.get_logger(__name__)


class Segments:
    """Predictions in Parquet files, each acknowledged record exactly once.

    Args:
        ledger: Records every segment.
        objects: Holds the forms that scored.
        lineage: Learns which version made which segment.
        folder: The serving folder.
    """

    def __init__(self, ledger: Ledger, objects: ObjectStore, lineage: Lineage, folder: Path) -> None:
        self._ledger = ledger
        self._objects = objects
        self._lineage = lineage
        self._folder = folder
        self._lock = threading.Lock()
        self._inputs: dict[str, tuple[FormInput, ...]] = {}
        self._cleaned: set[str] = set()

    def ingest(self, endpoint: Endpoint) -> int:
        """Move what is new in the worker logs of an endpoint into one segment; returns its number of records.

        Raises:
            IntegrityFailure: a log holds what no worker writes.
            StorageFull: the disk is full; the records stay in the logs and are taken later.
        """
        with self._exclusive():
            self._clean(endpoint.name)
            with self._ledger.records.read() as session:
                positions = store.positions(session, endpoint.name)
                readings = read_new(self._folder / "log" / endpoint.name, positions)
                routes = store.routes(session, endpoint.name) if readings else []
            if not readings:
                return 0
            frames = [frame for reading in readings for frame in reading.frames]
            if not frames:
                self._record(endpoint, readings, None, None)
                return 0
            table = to_frame(frames, endpoint.features, self._inputs_of(routes))
            written = write_segment(self._folder / "predictions" / endpoint.name, table)
            try:
                self._record(endpoint, readings, table, written)
            except BaseException:
                self._cleaned.discard(endpoint.name)  # whether the commit happened may be unknown: the rows tell, next time
                raise
            return table.height

    def _record(self, endpoint: Endpoint, readings: Sequence[Reading], table: pl.DataFrame | None, written: WrittenFile | None) -> None:
        """Add the segment and move the positions in one transaction."""
        with self._ledger.transaction(ACTOR) as tx:
            for reading in readings:
                self._move(tx, endpoint.name, reading)
            if table is None or written is None:
                return
            facts = table.select(
                pl.col("event_time").min().alias("min_event_time"), pl.col("event_time").max().alias("max_event_time"),
                pl.col("prediction_id").min().alias("min_prediction_id"), pl.col("prediction_id").max().alias("max_prediction_id"),
            ).row(0, named=True)  # fmt: skip
            sources = [{"file": one.file, "start": one.start, "end": one.end} for one in readings if one.frames]
            row = store.SegmentRow(
                endpoint=endpoint.name, path=str(written.path.relative_to(self._folder)), sha256=written.sha256,
                size_bytes=written.size_bytes, record_count=table.height, sources=sources, created_at=tx.now, **facts,
            )  # fmt: skip
            tx.session.add(row)
            tx.session.flush()
            node = Node(kind="prediction_segment", id=str(row.id), label=row.path)
            for version in table["version"].unique().sort().to_list():
                self._lineage.link(tx, Node(kind="model_version", id=version), node, "predicted")
            tx.record(
                "prediction.segment.closed", f"{endpoint.name}/{row.id}",
                {"sha256": row.sha256, "records": row.record_count, "path": row.path, "sources": sources, **facts},
            )  # fmt: skip

    @staticmethod
    def _move(tx: Transaction, endpoint: str, reading: Reading) -> None:
        """Move a position forward from exactly where it was read."""
        row = tx.session.get(store.LogPositionRow, (endpoint, reading.file), with_for_update=True)
        if (0 if row is None else row.offset) != reading.start:
            raise Conflict(f"Another process read the prediction log {reading.file} of '{endpoint}' at the same time.")
        if row is None:
            row = store.LogPositionRow(endpoint=endpoint, file=reading.file, offset=0, next_sequence=0, finished=False)
            tx.session.add(row)
        row.offset, row.next_sequence, row.finished = reading.end, reading.next_sequence, reading.finished
        tx.session.flush()
        if reading.unreadable_bytes or reading.missing_frames:
            facts = {"file": reading.file, "unreadable_bytes": reading.unreadable_bytes, "missing_frames": reading.missing_frames}
            _log.error("prediction log irregular", endpoint=endpoint, **facts)
            tx.record("prediction.log.irregularity.found", endpoint, facts)

    def _inputs_of(self, routes: Sequence[Route]) -> Callable[[int, str, str], Sequence[FormInput] | None]:
        """Return what tells the inputs of the form behind a record."""
        forms = arms_of(routes)

        def inputs(generation: int, arm: str, version: str) -> Sequence[FormInput] | None:
            files: Mapping[str, str] | None = forms.get((generation, arm, version))
            if files is None:
                return None
            digest = files[SERVING_DOCUMENT]
            if digest not in self._inputs:
                self._inputs[digest] = stored_form(self._objects, files).inputs
            return self._inputs[digest]

        return inputs

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One ingest at a time on this machine."""
        with self._lock, storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / "ingest.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def _clean(self, endpoint: str) -> None:
        """Remove, once per process and after every failure, files that were written but never recorded."""
        if endpoint in self._cleaned:
            return
        with self._ledger.records.read() as session:
            named = store.segment_files(session, endpoint)
        removed = remove_unnamed(self._folder / "predictions" / endpoint, named)
        if removed:
            _log.info("unrecorded segment files removed", endpoint=endpoint, files=removed)
        self._cleaned.add(endpoint)

    def select(self, endpoint: str, **bounds: int | None) -> list[PredictionSegment]:
        """Return segments in order; `bounds` are those of `store.segments`."""
        with self._ledger.records.read() as session:
            return store.segments(session, endpoint, **bounds)

    def last(self, endpoint: str) -> int:
        """Return the id of the newest segment; 0 when there is none."""
        with self._ledger.records.read() as session:
            return session.scalar(select(func.max(store.SegmentRow.id)).where(store.SegmentRow.endpoint == endpoint)) or 0

    def read(
        self,
        endpoint: Endpoint,
        segments: Sequence[PredictionSegment],
        *,
        start: int | None,
        end: int | None,
        columns: Sequence[str] | None,
    ) -> pl.DataFrame:
        """Return the records of segments with event times in [start, end), in the order they were logged."""
        types = schema(endpoint.features)
        if not segments:
            empty = pl.DataFrame(schema=types)
            return empty if columns is None else empty.select(columns)
        table = pl.scan_parquet([self._folder / one.path for one in segments])
        if start is not None:
            table = table.filter(pl.col("event_time") >= start)
        if end is not None:
            table = table.filter(pl.col("event_time") < end)
        return table.select(list(types) if columns is None else columns).collect()

    def verify(self, endpoint: str) -> int:
        """Hash every segment file of an endpoint again; returns how many are intact.

        Raises:
            IntegrityFailure: names every file that is missing or differs from its digest.
        """
        segments = self.select(endpoint)
        problems = []
        for one in segments:
            path = self._folder / one.path
            found = sha256_file(path) if path.is_file() else "no file"
            if found != one.sha256:
                problems.append(f"{path}: expected {one.sha256}, found {found}")
        if problems:
            raise IntegrityFailure(f"{len(problems)} prediction segments of '{endpoint}' were changed: {'; '.join(problems[:10])}.")
        return len(segments)

    def find(self, prediction_id: str, endpoint: Callable[[str], Endpoint]) -> Prediction:
        """Return the answer that carries this id; raises NotFound."""
        with self._ledger.records.read() as session:
            candidates = store.segments_with(session, prediction_id)
        for segment in candidates:
            table = self.read(endpoint(segment.endpoint), [segment], start=None, end=None, columns=None)
            found = table.filter((pl.col("prediction_id") == prediction_id) & ~pl.col("shadow"))
            if found.height:
                return _to_prediction(found.row(0, named=True), segment)
        raise NotFound(f"No prediction '{prediction_id[:100]}' is recorded.")


def _to_prediction(row: dict[str, Any], segment: PredictionSegment) -> Prediction:
    features = {name.removeprefix(FEATURE_PREFIX): row.pop(name) for name in list(row) if name.startswith(FEATURE_PREFIX)}
    row["prediction_id"] = PredictionId(row["prediction_id"])
    row["event_time_source"] = EventTimeSource(row["event_time_source"])
    return Prediction(endpoint=segment.endpoint, segment=segment.id, features=features, **row)
