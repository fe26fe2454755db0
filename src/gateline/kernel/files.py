"""Files that are either whole or absent."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateline.kernel.errors import StorageFull

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or quota under `path` into `StorageFull`, which says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(
                f"No space is left for {path}.", next_step="Free space on that disk and run the command again; nothing half-written stays."
            ) from error
        raise


def fsync_directory(path: Path) -> None:
    """Make renames and creations inside the directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace the file by `content` so that readers see the old bytes or the new ones, also after a crash.

    Raises:
        StorageFull: the disk is full; the old file stays.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(mode)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        fsync_directory(path.parent)
