from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from pathlib import Path

import pytest

from gateline.data import ObjectStore
from gateline.kernel.errors import IntegrityFailure, InvalidInput, NotFound, StorageFull, TooLarge


@pytest.fixture
def store(home: Path) -> ObjectStore:
    return ObjectStore(home / "a path with spaces")


def _files(store: ObjectStore) -> list[Path]:
    return [path for path in store._path.rglob("*") if path.is_file()]


def test_bytes_come_back_under_their_sha256(store):
    stored = store.put_bytes(b"hello")
    assert stored.sha256 == hashlib.sha256(b"hello").hexdigest()
    assert stored.size_bytes == 5
    with store.open_verified(stored.sha256) as file:
        assert file.read() == b"hello"


def test_the_same_bytes_are_stored_once(store, tmp_path):
    (tmp_path / "x").write_bytes(b"hello")
    assert store.put_file(tmp_path / "x") == store.put_bytes(b"hello")
    assert len(_files(store)) == 1


def test_a_changed_file_is_refused_with_both_digests_and_healed_by_the_right_bytes(store):
    stored = store.put_bytes(b"hello")
    path = store.path(stored.sha256)
    path.chmod(0o644)
    path.write_bytes(b"hellO")
    with pytest.raises(IntegrityFailure) as failure:
        store.verified_path(stored.sha256)
    assert str(path) in failure.value.message
    assert failure.value.facts["expected"] == stored.sha256
    assert failure.value.facts["found"] == hashlib.sha256(b"hellO").hexdigest()
    store.put_bytes(b"hello")
    assert store.verify(stored.sha256) == stored


def test_unknown_and_malformed_digests_are_told_apart(store):
    with pytest.raises(NotFound):
        store.path("0" * 64)
    with pytest.raises(InvalidInput):
        store.path("../../etc/passwd")
    with pytest.raises(NotFound):
        store.put_file(Path("/nowhere"))


def test_a_file_beyond_the_limit_is_refused(store, tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    with pytest.raises(TooLarge):
        store.put_file(tmp_path / "x", limit_bytes=4)
    assert _files(store) == []


def test_a_full_disk_leaves_nothing_behind(store, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        store.put_bytes(b"hello")
    assert _files(store) == []


def test_an_interrupted_writer_leaves_nothing_and_files_of_living_writers_stay(store):
    with pytest.raises(KeyboardInterrupt), store.receive() as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert _files(store) == []

    with store.receive() as file:
        dead = store._unfinished / "of-a-dead-writer"
        dead.write_bytes(b"half")
        ObjectStore(store._path)
        assert _files(store) == [Path(file.name)]


def test_a_writer_holds_a_lock_on_its_unfinished_file(store):
    with store.receive() as file, Path(file.name).open("rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
