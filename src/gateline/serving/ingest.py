"""From worker logs to Parquet segments, each record exactly once.

Where reading stopped is a row; it moves in the transaction that adds the segment. A crash before that transaction leaves a Parquet file
that no row names (removed later) and positions that have not moved; a crash after it leaves both. Nothing is read twice, nothing is lost.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import polars as pl
import structlog

from gateline.kernel.canonical import sha256_file
from gateline.kernel.files import fsync_directory, storage_errors
from gateline.kernel.ids import new_id
from gateline.serving.log import FrameBatch, LogFrame, log_files, read_log
from gateline.serving.model import EventTimeSource, FeatureKind
from gateline.serving.rules import used_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from gateline.serving.model import FeatureSpec, FormInput, Route
    from gateline.serving.store import LogPositionRow

FEATURE_PREFIX = "feature."
ROWS_MAX = 200_000

_log = structlog.get_logger(__name__)


def schema(features: Sequence[FeatureSpec]) -> dict[str, pl.DataType]:
    """Return the columns of predictions and their types, in order.

    | column | type | meaning |
    |---|---|---|
    | prediction_id | String | id of the row; the shadow rows of a request share it |
    | request_id | String | id of the request |
    | event_time | Int64 | UTC microseconds: the server's clock, or what a replay set |
    | event_time_source | String | `server` or `replay` |
    | received_at | Int64 | UTC microseconds by the worker's clock |
    | entity | String | the sticky id; empty when none was sent |
    | version | String | model version that scored |
    | generation | Int64 | generation of the route |
    | arm | String | name of the arm |
    | weight | Float64 | the arm's share of traffic when it scored |
    | shadow | Boolean | whether nobody saw this score |
    | latency_us | Float64 | microseconds of turning the row into model columns and predicting |
    | prediction | Float64 | the score; null when there is an error |
    | error | String | why there is no prediction; empty when there is one |
    | feature.<name> | Float64 or String | the value as the model used it: after scale and offset, by the column of that name |
    """
    fixed: dict[str, pl.DataType] = {
        "prediction_id": pl.String(), "request_id": pl.String(), "event_time": pl.Int64(), "event_time_source": pl.String(),
        "received_at": pl.Int64(), "entity": pl.String(), "version": pl.String(), "generation": pl.Int64(), "arm": pl.String(),
        "weight": pl.Float64(), "shadow": pl.Boolean(), "latency_us": pl.Float64(), "prediction": pl.Float64(), "error": pl.String(),
    }  # fmt: skip
    kinds = {FeatureKind.NUMERIC: pl.Float64(), FeatureKind.CATEGORICAL: pl.String()}
    return fixed | {FEATURE_PREFIX + one.name: kinds[one.kind] for one in features}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read of one log file, and where reading goes on.

    Attributes:
        file: Name of the file.
        start: Offset before.
        end: Offset after.
        next_sequence: Sequence that the next frame must have.
        finished: Whether the file gets no more frames: its worker writes a later one.
        unreadable_bytes: Bytes of a torn frame at the end of a finished file, or of damage inside it.
        missing_frames: Frames that should have come before these; 0 but after damage.
        frames: The frames.
    """

    file: str
    start: int
    end: int
    next_sequence: int
    finished: bool
    unreadable_bytes: int
    missing_frames: int
    frames: tuple[LogFrame, ...] = field(repr=False)


def read_new(directory: Path, positions: Mapping[str, LogPositionRow], *, rows_max: int = ROWS_MAX) -> list[Reading]:
    """Return what the log files of an endpoint hold beyond the recorded positions.

    Raises:
        IntegrityFailure: a file goes back in its sequence, or an intact frame is no record.
    """
    found: list[Reading] = []
    rows = 0
    for files in log_files(directory).values():
        expected: int | None = None
        for place, (_number, path) in enumerate(files):
            position = positions.get(path.name)
            if position is not None and (position.finished or rows >= rows_max):
                expected = position.next_sequence
                if rows >= rows_max:
                    break
                continue
            reading = _read_file(path, position, expected, has_successor=place < len(files) - 1, rows_max=rows_max - rows)
            if reading is None:
                continue
            found.append(reading)
            expected = reading.next_sequence
            rows += sum(len(frame.prediction_ids) for frame in reading.frames)
            if not reading.finished:
                break  # its later files wait until this one is read to its end
    return found


def _read_file(path: Path, position: LogPositionRow | None, expected: int | None, *, has_successor: bool, rows_max: int) -> Reading | None:
    """Read one file; None when there is nothing new to say of it."""
    start = 0 if position is None else position.offset
    batch = read_log(path, start, expected=0 if position is None else position.next_sequence, rows_max=rows_max)
    if batch.header is None:
        if not has_successor:
            return None  # its header is being written, or its worker died at once
        return Reading(
            file=path.name, start=0, end=0, next_sequence=expected or 0, finished=True, unreadable_bytes=batch.remainder_bytes,
            missing_frames=0, frames=(),
        )  # fmt: skip
    due = position.next_sequence if position is not None else batch.header.first_sequence if expected is None else expected
    finished = has_successor and _is_read_to_the_end(path, batch, rows_max)
    if not batch.frames and not finished:
        return None
    return Reading(
        file=path.name, start=start, end=batch.next_offset, next_sequence=batch.first_sequence + len(batch.frames), finished=finished,
        unreadable_bytes=batch.skipped_bytes + (batch.remainder_bytes if finished else 0),
        missing_frames=max(0, batch.first_sequence - due), frames=batch.frames,
    )  # fmt: skip


def _is_read_to_the_end(path: Path, batch: FrameBatch, rows_max: int) -> bool:
    """Whether what is left of a file holds no whole frame."""
    if sum(len(frame.prediction_ids) for frame in batch.frames) >= rows_max:
        return False
    if batch.next_offset + batch.remainder_bytes < path.stat().st_size:
        return False
    following = read_log(path, batch.next_offset, expected=batch.first_sequence + len(batch.frames), rows_max=1)
    return not batch.remainder_bytes or not following.frames


def to_frame(
    frames: Iterable[LogFrame], features: Sequence[FeatureSpec], inputs_of: Callable[[int, str, str], Sequence[FormInput] | None]
) -> pl.DataFrame:
    """Return frames as a table of predictions, one row per scored row.

    Args:
        frames: The frames, in order.
        features: The endpoint's features, in the order of the frames' values.
        inputs_of: Tells the inputs of the form that scored, by generation, arm and version; None when it is not known, so that
            values count as sent.
    """
    frames = list(frames)
    counts = [len(frame.prediction_ids) for frame in frames]

    def each(values: Iterable[Any]) -> list[Any]:
        """Repeat a frame's value for each of its rows."""
        return [value for value, count in zip(values, counts, strict=True) for _row in range(count)]

    replayed = {True: EventTimeSource.REPLAY.value, False: EventTimeSource.SERVER.value}
    columns: dict[str, Sequence[Any]] = {
        "prediction_id": list(chain.from_iterable(frame.prediction_ids for frame in frames)),
        "request_id": each(frame.request_id for frame in frames),
        "event_time": each(frame.event_time for frame in frames),
        "event_time_source": each(replayed[frame.replayed] for frame in frames),
        "received_at": each(frame.received_at for frame in frames),
        "entity": each(frame.entity for frame in frames),
        "version": each(frame.version for frame in frames),
        "generation": each(frame.generation for frame in frames),
        "arm": each(frame.arm for frame in frames),
        "weight": each(frame.weight for frame in frames),
        "shadow": each(frame.shadow for frame in frames),
        "latency_us": list(chain.from_iterable(frame.latencies_us for frame in frames)),
        "prediction": list(chain.from_iterable(frame.predictions for frame in frames)),
        "error": list(chain.from_iterable(frame.errors for frame in frames)),
    }
    values = list(zip(*chain.from_iterable(frame.features for frame in frames), strict=True))
    for place, feature in enumerate(features):
        columns[FEATURE_PREFIX + feature.name] = values[place] if values else ()
    table = pl.DataFrame(columns, schema=schema(features))
    return _as_used(table, features, inputs_of)


def _as_used(
    table: pl.DataFrame, features: Sequence[FeatureSpec], inputs_of: Callable[[int, str, str], Sequence[FormInput] | None]
) -> pl.DataFrame:
    """Replace values as sent by values as the scoring form used them."""
    for generation, arm, version in table.select("generation", "arm", "version").unique().sort("generation", "arm", "version").rows():
        inputs = inputs_of(generation, arm, version)
        if inputs is None:
            _log.warning("route of a record is not known; its features count as sent", generation=generation, arm=arm, version=version)
            continue
        changed = [one for one in used_values(features, inputs) if not one.is_as_sent]
        if not changed:
            continue
        scored = (pl.col("generation") == generation) & (pl.col("arm") == arm) & (pl.col("version") == version)
        table = table.with_columns(
            pl.when(scored).then(_value(one.source, one.scale, one.offset)).otherwise(pl.col(FEATURE_PREFIX + one.feature))
            .alias(FEATURE_PREFIX + one.feature)
            for one in changed
        )  # fmt: skip
    return table


def _value(source: str, scale: float, offset: float) -> pl.Expr:
    column = pl.col(FEATURE_PREFIX + source)
    return column if scale == 1.0 and offset == 0.0 else column * scale + offset


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile:
    """A Parquet file that is whole and durable, but that no row names yet."""

    path: Path
    sha256: str
    size_bytes: int


def write_segment(directory: Path, table: pl.DataFrame) -> WrittenFile:
    """Write a table as a Parquet file under a fresh name.

    Raises:
        StorageFull: the disk is full; nothing stays.
    """
    name = new_id("seg")
    path, unfinished = directory / f"{name}.parquet", directory / f".{name}.unfinished"
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("wb") as file:
                table.write_parquet(file, compression="zstd", compression_level=1, statistics=True)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        fsync_directory(directory)
    return WrittenFile(path=path, sha256=sha256_file(path), size_bytes=path.stat().st_size)


def remove_unnamed(directory: Path, named: set[str]) -> int:
    """Remove the files that a crash left between writing and recording; returns how many."""
    removed = 0
    if directory.is_dir():
        for path in directory.iterdir():
            if path.name not in named:
                path.unlink()
                removed += 1
    return removed


def arms_of(routes: Sequence[Route]) -> dict[tuple[int, str, str], Mapping[str, str]]:
    """Return the files of the form behind every generation, arm and version."""
    return {(route.generation, arm.name, arm.version): arm.form for route in routes for arm in (*route.arms, *route.shadow)}
