import errno
import os
import resource
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateline.kernel.errors import IntegrityFailure, StorageFull, Unavailable
from gateline.serving.log import LogFrame, LogWriter, last_sequence, log_files, read_log, segment_name


def frame(number: int, text: str = "") -> LogFrame:
    return LogFrame(
        f"req_{number}", 1000 + number, False, 2000 + number, text, "m@1", 3, "champion", 1.0, False,
        [f"prd_{number}"], [4.5], [[1.0, "UA", None]], [0.25], [""],
    )  # fmt: skip


def writer(directory, **options) -> LogWriter:
    return LogWriter(directory, endpoint="flights", worker="w0", features=["a", "b", "c"], created_at=1, **options)


def files(directory):
    return [path for _number, path in log_files(directory).get("w0", [])]


def requests(path, **options):
    return [one.request_id for one in read_log(path, **options).frames]


def test_what_was_appended_is_read_back_without_closing(tmp_path):
    log = writer(tmp_path)
    for number in range(5):
        log.append(frame(number))
    batch = read_log(files(tmp_path)[0])
    assert batch.frames == tuple(frame(number) for number in range(5))
    assert batch.header.features == ("a", "b", "c")
    assert (batch.first_sequence, batch.remainder_bytes) == (0, 0)
    log.append(frame(5))
    assert requests(files(tmp_path)[0], offset=batch.next_offset) == ["req_5"]
    log.close()


def test_a_new_writer_starts_a_new_file_and_goes_on_with_the_sequence(tmp_path):
    for start in (0, 3, 6):
        log = writer(tmp_path)
        assert log.next_sequence == start
        for number in range(3):
            log.append(frame(start + number))
        log.close()
    assert [path.name for path in files(tmp_path)] == [segment_name("w0", number) for number in (1, 2, 3)]
    assert [read_log(path).first_sequence for path in files(tmp_path)] == [0, 3, 6]


def test_a_writer_that_never_wrote_leaves_the_sequence_as_it_was(tmp_path):
    log = writer(tmp_path)
    log.append(frame(0))
    log.close()
    writer(tmp_path).close()
    assert writer(tmp_path).next_sequence == 1


@given(some.data())
def test_a_log_cut_anywhere_loses_only_the_frame_that_was_cut(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("log")
    log = writer(directory)
    ends = []
    for number in range(4):
        log.append(frame(number))
        ends.append(files(directory)[0].stat().st_size)
    log.close()
    path = files(directory)[0]
    length = data.draw(some.integers(0, ends[-1]))
    os.truncate(path, length)
    whole = sum(end <= length for end in ends)
    assert requests(path) == [f"req_{number}" for number in range(whole)]
    assert writer(directory).next_sequence == whole


@given(some.data())
def test_a_flipped_bit_costs_only_the_frame_it_is_in(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("log")
    log = writer(directory)
    start = files(directory)[0].stat().st_size
    for number in range(3):
        log.append(frame(number))
    log.close()
    path = files(directory)[0]
    content = bytearray(path.read_bytes())
    place = data.draw(some.integers(start, len(content) - 1))
    content[place] ^= 1 << data.draw(some.integers(0, 7))
    path.write_bytes(content)
    size = (len(content) - start) // 3
    first = read_log(path)
    rest = read_log(path, first.next_offset, expected=first.first_sequence + len(first.frames))
    damaged = (place - start) // size
    assert [one.request_id for one in (*first.frames, *rest.frames)] == [f"req_{number}" for number in range(3) if number != damaged]


def test_files_are_rotated_by_size_and_no_frame_is_lost_or_split(tmp_path):
    log = writer(tmp_path, segment_bytes_max=1000)
    for number in range(40):
        log.append(frame(number))
    log.sync()
    log.close()
    found = files(tmp_path)
    assert len(found) > 3
    assert all(path.stat().st_size <= 1000 for path in found)
    assert [name for path in found for name in requests(path)] == [f"req_{number}" for number in range(40)]
    assert [last_sequence(path) + 1 for path in found[:-1]] == [read_log(path).header.first_sequence for path in found[1:]]


def test_a_frame_longer_than_a_file_may_be_gets_a_file_of_its_own(tmp_path):
    log = writer(tmp_path, segment_bytes_max=500)
    log.append(frame(0))
    log.append(frame(1, "x" * 2000))
    log.append(frame(2))
    assert [requests(path) for path in files(tmp_path)] == [["req_0"], ["req_1"], ["req_2"]]
    log.close()


@dataclass
class FileSizeLimit:
    """A quota that the kernel enforces, torn writes included."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes

    def __enter__(self) -> None:
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit_bytes, self.before[1]))

    def __exit__(self, *_trouble: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


def test_a_full_disk_refuses_the_frame_leaves_no_torn_one_and_heals(tmp_path):
    log = writer(tmp_path)
    log.append(frame(0))
    path = files(tmp_path)[0]
    size = path.stat().st_size
    with FileSizeLimit(size + 20):
        with pytest.raises(StorageFull, match="nothing that was acknowledged is lost"):
            log.append(frame(1))
        assert path.stat().st_size == size
    log.append(frame(2))
    batch = read_log(path)
    assert [one.request_id for one in batch.frames] == ["req_0", "req_2"]
    assert batch.remainder_bytes == 0
    log.close()


def test_when_even_cutting_back_fails_the_log_goes_on_in_a_new_file(tmp_path, monkeypatch):
    log = writer(tmp_path)
    log.append(frame(0))

    def refuse(*_arguments):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken, FileSizeLimit(files(tmp_path)[0].stat().st_size + 20):
        broken.setattr(os, "ftruncate", refuse)
        with pytest.raises(StorageFull):
            log.append(frame(1))
    log.append(frame(2))
    first, second = files(tmp_path)
    assert (requests(first), requests(second)) == (["req_0"], ["req_2"])
    assert read_log(first).remainder_bytes == 20
    assert read_log(second).header.first_sequence == 1
    log.close()


def test_a_new_file_that_cannot_be_made_leaves_nothing_behind(tmp_path):
    log = writer(tmp_path, segment_bytes_max=400)
    log.append(frame(0))
    with FileSizeLimit(50), pytest.raises(StorageFull):
        log.append(frame(1))
    assert len(files(tmp_path)) == 1
    log.append(frame(2))
    assert [name for path in files(tmp_path) for name in requests(path)] == ["req_0", "req_2"]
    log.close()


def test_another_failure_of_the_device_is_no_full_disk(tmp_path, monkeypatch):
    log = writer(tmp_path)

    def refuse(*_arguments):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", refuse)
        with pytest.raises(Unavailable, match="Input/output error"):
            log.append(frame(0))
    log.append(frame(1))
    log.close()
    assert requests(files(tmp_path)[0]) == ["req_1"]


def test_after_a_failed_sync_the_log_goes_on_in_a_new_file(tmp_path):
    log = writer(tmp_path)
    log.append(frame(0))
    log.mark_damaged()
    log.append(frame(1))
    log.close()
    assert [requests(path) for path in files(tmp_path)] == [["req_0"], ["req_1"]]


def damaged_log(directory, damage):
    """A log of five frames whose third went through `damage`."""
    log = writer(directory)
    path = files(directory)[0]
    ends = [path.stat().st_size]
    for number in range(5):
        log.append(frame(number))
        ends.append(path.stat().st_size)
    log.close()
    content = path.read_bytes()
    path.write_bytes(content[: ends[2]] + damage(content[ends[2] : ends[3]]) + content[ends[3] :])
    return path


@pytest.mark.parametrize(
    "damage",
    [
        lambda _frame: b"",
        lambda frame: frame[:1],
        lambda frame: frame[:9],
        lambda frame: frame[:-5] + b"?????",
        lambda frame: b"\xff" * len(frame),
    ],
    ids=["cut out", "one byte left", "cut short", "changed", "overwritten"],
)
def test_damage_inside_a_file_costs_only_the_damaged_frame_and_shows(tmp_path, damage):
    path = damaged_log(tmp_path, damage)
    before = read_log(path)
    assert [one.request_id for one in before.frames] == ["req_0", "req_1"]
    after = read_log(path, before.next_offset, expected=2)
    assert [one.request_id for one in after.frames] == ["req_3", "req_4"]
    assert after.first_sequence == 3
    assert after.remainder_bytes == 0
    assert writer(tmp_path).next_sequence == 5


def test_sequence_numbers_that_go_back_are_an_integrity_failure(tmp_path):
    path = damaged_log(tmp_path, lambda frame: frame)
    with pytest.raises(IntegrityFailure, match="goes back from frame 9 to 0"):
        read_log(path, 1, expected=9)


def test_a_foreign_or_unfinished_file_has_no_frames(tmp_path):
    path = tmp_path / segment_name("w0", 1)
    for content in (b"", b"GLPL", b"something else entirely", b"GLPLOG01" + bytes(30)):
        path.write_bytes(content)
        assert read_log(path).header is None
        assert writer(tmp_path).next_sequence == 0
