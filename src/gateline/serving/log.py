"""The prediction log: frames in files of one worker, written before the answer, readable after any crash.

A file is `<worker>-<number>.seg`: eight magic bytes, a header frame, then one frame per scored request and arm. A frame is

    length u32 | crc32 u32 | sequence u64 | payload (MessagePack)      little-endian; the crc covers sequence and payload

Callers may rely on: when `append` returned, the frame survives the death of the process (it is in the kernel's page cache) and, once
`sync` returned, a power cut too; a frame is read whole or not at all; sequence numbers of a worker grow by one without gaps, over restarts.
"""

from __future__ import annotations

import errno
import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateline.kernel.errors import IntegrityFailure, StorageFull, Unavailable
from gateline.kernel.files import fsync_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC = b"GLPLOG01"
SEGMENT_BYTES_MAX = 64 << 20
FRAME_BYTES_MAX = 64 << 20
_RESYNCHRONISE_FRAMES = 64
_HEADER = struct.Struct("<IIQ")
_SEQUENCE = struct.Struct("<Q")
_NAME = re.compile(r"(?P<worker>.+)-(?P<number>\d{6,})\.seg")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class LogHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame of a file: whose it is, and how its frames are to be read."""

    endpoint: str
    worker: str
    number: int
    first_sequence: int
    features: tuple[str, ...]
    created_at: int


class LogFrame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The rows of one request, scored by one arm. Lists run over the rows; `features` holds values as sent, in the header's order."""

    request_id: str
    event_time: int
    replayed: bool
    received_at: int
    entity: str
    version: str
    generation: int
    arm: str
    weight: float
    shadow: bool
    prediction_ids: list[str]
    latencies_us: list[float]
    features: list[list[float | str | None]]
    predictions: list[float | None]
    errors: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameBatch:
    """What a reader found from an offset on.

    Attributes:
        header: The file's header; None while it is not complete.
        frames: Payloads in order.
        first_sequence: Sequence of the first frame; meaningless without frames.
        skipped_bytes: Unreadable bytes that were passed over before the first frame, because whole frames follow them.
        next_offset: Where the next read starts.
        remainder_bytes: Bytes after the last whole frame: a frame being written, a torn one, or damage that the next read passes over.
    """

    header: LogHeader | None
    frames: tuple[LogFrame, ...]
    first_sequence: int
    skipped_bytes: int
    next_offset: int
    remainder_bytes: int


def segment_name(worker: str, number: int) -> str:
    """Return the name of a worker's file.

    >>> segment_name("w0", 7)
    'w0-000007.seg'
    """
    return f"{worker}-{number:06d}.seg"


def split_segment_name(name: str) -> tuple[str, int] | None:
    """Return worker and number of a file name; None when it is no log file.

    >>> split_segment_name("w0-000007.seg")
    ('w0', 7)
    """
    found = _NAME.fullmatch(name)
    return None if found is None else (found["worker"], int(found["number"]))


def log_files(directory: Path) -> dict[str, list[tuple[int, Path]]]:
    """Return the log files of a folder by worker, in the order they were written."""
    found: dict[str, list[tuple[int, Path]]] = {}
    if directory.is_dir():
        for path in directory.iterdir():
            parts = split_segment_name(path.name)
            if parts is not None:
                found.setdefault(parts[0], []).append((parts[1], path))
    return {worker: sorted(files) for worker, files in sorted(found.items())}


def _frame(sequence: int, payload: bytes) -> bytes:
    order = _SEQUENCE.pack(sequence)
    return _HEADER.pack(len(payload), zlib.crc32(payload, zlib.crc32(order)), sequence) + payload


def _whole_frame(content: memoryview, offset: int) -> tuple[int, memoryview] | None:
    """Return sequence and payload of the frame at an offset; None when it is not whole or not intact."""
    start = offset + _HEADER.size
    if start > len(content):
        return None
    length, checksum, sequence = _HEADER.unpack_from(content, offset)
    payload = content[start : start + length]
    if length > FRAME_BYTES_MAX or len(payload) < length:
        return None
    if zlib.crc32(payload, zlib.crc32(content[start - _SEQUENCE.size : start])) != checksum:
        return None
    return sequence, payload


_decode_frame = msgspec.msgpack.Decoder(LogFrame).decode
_decode_header = msgspec.msgpack.Decoder(LogHeader).decode


def _parse_header(content: memoryview) -> tuple[LogHeader, int] | None:
    """Return the header and the offset behind it; None while it is not whole."""
    if bytes(content[: len(MAGIC)]) != MAGIC:
        return None
    found = _whole_frame(content, len(MAGIC))
    if found is None:
        return None
    return _decode_header(found[1]), len(MAGIC) + _HEADER.size + len(found[1])


def read_log(
    path: Path, offset: int = 0, *, expected: int = 0, bytes_max: int = SEGMENT_BYTES_MAX, rows_max: int = 1_000_000
) -> FrameBatch:
    """Return the whole frames of a file from an offset on, as long as their sequence numbers follow each other.

    An unfinished or torn end is left where it is. Damage inside the file ends the batch; the next read passes over it, and its first
    sequence number then says how many frames are missing.

    Args:
        path: The log file.
        offset: 0, or the `next_offset` of an earlier read.
        expected: Sequence that the next frame should have, when reading goes on.
        bytes_max: Most bytes read at once.
        rows_max: Stop after the frame that reaches this many rows.

    Raises:
        IntegrityFailure: an intact frame is not a record, or sequence numbers go backwards.
    """
    header_bytes = _read_bytes(path, 0, 1 << 20)
    parsed = _parse_header(memoryview(header_bytes))
    if parsed is None:
        return FrameBatch(header=None, frames=(), first_sequence=0, skipped_bytes=0, next_offset=0, remainder_bytes=len(header_bytes))
    header, start = parsed
    base = max(offset, start)
    expected = expected if offset else header.first_sequence
    content = memoryview(_read_bytes(path, base, bytes_max))
    place = skipped = _next_whole(content, expected)
    frames: list[LogFrame] = []
    first, rows = expected, 0
    while rows < rows_max and (found := _whole_frame(content, place)) is not None:
        sequence, payload = found
        if not frames:
            first = sequence
        if sequence != first + len(frames):
            break
        if sequence < expected:
            raise IntegrityFailure(f"The prediction log {path} goes back from frame {expected} to {sequence}.")
        try:
            frames.append(_decode_frame(payload))
        except msgspec.MsgspecError as error:
            raise IntegrityFailure(f"Frame {sequence} of the prediction log {path} is not a record: {error}.") from error
        rows += len(frames[-1].prediction_ids)
        place += _HEADER.size + len(payload)
    return FrameBatch(
        header=header, frames=tuple(frames), first_sequence=first, skipped_bytes=skipped if frames else 0,
        next_offset=base + (place if frames else 0), remainder_bytes=len(content) - (place if frames else 0),
    )  # fmt: skip


def _next_whole(content: memoryview, expected: int) -> int:
    """Return where the first whole frame starts: at 0, or behind damage when one of the next frames is found there."""
    if len(content) < _HEADER.size or _whole_frame(content, 0) is not None:
        return 0
    text = bytes(content)
    for sequence in range(expected, expected + _RESYNCHRONISE_FRAMES):
        place = text.find(_SEQUENCE.pack(sequence), _SEQUENCE.size + 1)
        while place >= 0:
            start = place - _SEQUENCE.size
            if _whole_frame(content, start) is not None:
                return start
            place = text.find(_SEQUENCE.pack(sequence), place + 1)
    return 0


def _read_bytes(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def last_sequence(path: Path) -> int | None:
    """Return the sequence of the last whole frame of a file, or what precedes its first one; None when its header is not whole.

    Damage inside the file is passed over, so that a worker never uses a number twice.
    """
    content = memoryview(path.read_bytes())
    parsed = _parse_header(content)
    if parsed is None:
        return None
    header, place = parsed
    last = header.first_sequence - 1
    while True:
        place += _next_whole(content[place:], last + 1)
        found = _whole_frame(content, place)
        if found is None:
            return last
        last, payload = found
        place += _HEADER.size + len(payload)


class LogWriter:
    """The one writer of a worker's log of one endpoint. It starts a new file and goes on with the sequence of the last one.

    Args:
        directory: The endpoint's folder of log files.
        endpoint: The endpoint's name.
        worker: The worker's name; nobody else may write under it.
        features: Names in the order of the rows' values.
        created_at: UTC microseconds.
        segment_bytes_max: A file is closed before it would grow beyond this.

    Raises:
        StorageFull: there is no space for a new file.
    """

    def __init__(
        self, directory: Path, *, endpoint: str, worker: str, features: Sequence[str], created_at: int,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
    ) -> None:  # fmt: skip
        self._directory = directory
        self._endpoint = endpoint
        self._worker = worker
        self.features = tuple(features)
        self._created_at = created_at
        self._segment_bytes_max = segment_bytes_max
        self._encode = msgspec.msgpack.Encoder().encode
        self._retired: list[int] = []
        self._damaged = False
        self.unsynced = False
        directory.mkdir(parents=True, exist_ok=True)
        files = log_files(directory).get(worker, [])
        self._number = files[-1][0] if files else 0
        self._sequence = next((last + 1 for _n, path in reversed(files) if (last := last_sequence(path)) is not None), 0)
        self._descriptor, self._size = self._open_next()

    @property
    def next_sequence(self) -> int:
        """The sequence number that the next frame gets."""
        return self._sequence

    def append(self, frame: LogFrame) -> None:
        """Write a frame; afterwards it survives the death of this process.

        Raises:
            StorageFull: the disk or quota is full; nothing of the frame stays.
            Unavailable: the file cannot be written for another reason; nothing of the frame counts.
        """
        payload = self._encode(frame)
        content = _frame(self._sequence, payload)
        if self._damaged or self._size + len(content) > self._segment_bytes_max:
            self._rotate()
        try:
            self._write(self._descriptor, content)
        except OSError as error:
            self._cut_back()
            raise self._problem(error) from error
        self._size += len(content)
        self._sequence += 1
        self.unsynced = True

    def sync(self) -> None:
        """Make every frame appended so far survive a power cut; called from one thread, beside appends.

        Raises:
            OSError: the device failed; `mark_damaged` then makes the next append start a new file.
        """
        self.unsynced = False
        while self._retired:
            descriptor = self._retired[0]
            os.fdatasync(descriptor)
            os.close(descriptor)
            del self._retired[0]
        os.fdatasync(self._descriptor)

    def mark_damaged(self) -> None:
        """Make the next append start a new file."""
        self._damaged = True

    def close(self) -> None:
        """Sync and close the files."""
        self.sync()
        os.close(self._descriptor)

    def _rotate(self) -> None:
        opened = self._open_next()
        self._retired.append(self._descriptor)
        self._descriptor, self._size = opened
        self._damaged = False

    def _open_next(self) -> tuple[int, int]:
        """Create the next file with its header; return its descriptor and size, or leave nothing behind."""
        path = self._directory / segment_name(self._worker, self._number + 1)
        header = LogHeader(
            endpoint=self._endpoint, worker=self._worker, number=self._number + 1, first_sequence=self._sequence,
            features=self.features, created_at=self._created_at,
        )  # fmt: skip
        content = MAGIC + _frame(self._sequence, self._encode(header))
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
            try:
                self._write(descriptor, content)
                fsync_directory(self._directory)
            except OSError:
                os.close(descriptor)
                path.unlink()
                raise
        except OSError as error:
            raise self._problem(error) from error
        self._number += 1
        return descriptor, len(content)

    @staticmethod
    def _write(descriptor: int, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]

    def _cut_back(self) -> None:
        """Remove what a failed write left behind the last whole frame."""
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            self._damaged = True

    def _problem(self, error: OSError) -> StorageFull | Unavailable:
        if error.errno in _FULL:
            return StorageFull(
                f"The prediction log of '{self._endpoint}' has no space left, so the prediction is refused.",
                next_step=f"Free space under {self._directory}; nothing that was acknowledged is lost.",
            )
        return Unavailable(f"The prediction log of '{self._endpoint}' cannot be written: {error.strerror}.")
