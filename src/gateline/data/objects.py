"""Files kept under their own SHA-256: what a digest names can be read back, or is refused; it is never something else."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gateline.data.model import StoredFile
from gateline.kernel.canonical import sha256_bytes, sha256_file
from gateline.kernel.errors import IntegrityFailure, InvalidInput, NotFound, TooLarge
from gateline.kernel.files import fsync_directory, storage_errors
from gateline.kernel.limits import UPLOAD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_WRITERS_MAX = 8
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ObjectStore:
    """Content-addressed files in a folder, shared by any number of processes.

    Callers may rely on: a file appears whole or not at all, also after a crash or on a full disk; a stored file is never changed; putting
    the same bytes again changes nothing, except that a damaged copy is replaced by the right bytes.

    Args:
        path: The folder; it is made when missing. Left-overs of writers that died are removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path / "unfinished"
        with storage_errors(path):
            self._unfinished.mkdir(parents=True, exist_ok=True)
            self._make_places()
        self._remove_leftovers()

    def put_bytes(self, content: bytes) -> StoredFile:
        """Store bytes.

        Raises:
            StorageFull: the disk is full.
        """
        stored = StoredFile(sha256=sha256_bytes(content), size_bytes=len(content))
        target = self._place(stored.sha256)
        if target.is_file() and target.read_bytes() == content:
            return stored
        return self.put_with(lambda file: file.write(content))

    def put_all(self, contents: Sequence[bytes]) -> None:
        """Store several at once, which takes the disk hardly longer than one; raises as `put_bytes` does."""
        if len(contents) < 2:
            for content in contents:
                self.put_bytes(content)
            return
        with ThreadPoolExecutor(min(_WRITERS_MAX, len(contents)), thread_name_prefix="gateline-objects") as pool:
            list(pool.map(self.put_bytes, contents))

    def put_file(self, path: Path, *, limit_bytes: int = UPLOAD_BYTES_MAX) -> StoredFile:
        """Store a copy of the file.

        Raises:
            NotFound: there is no such file.
            TooLarge: it is larger than `limit_bytes`.
            StorageFull: the disk is full.
        """
        if not path.is_file():
            raise NotFound(f"There is no file {path}.", next_step="Check the path.")
        if path.stat().st_size > limit_bytes:
            raise TooLarge(f"{path} has {path.stat().st_size:,} bytes; the limit is {limit_bytes:,}.", next_step="Split the file.")
        with path.open("rb") as content:
            return self.put_with(lambda file: shutil.copyfileobj(content, file, 1 << 20))

    def put_with(self, write: Callable[[IO[bytes]], object]) -> StoredFile:
        """Store what `write` writes into the binary file that it is given."""
        with self.receive() as file:
            write(file)
            return self.keep(file)

    @contextmanager
    def receive(self) -> Iterator[IO[bytes]]:
        """Open an unfinished file for writing; hand it to `keep` before the block ends, or it is removed."""
        with storage_errors(self._path):
            file = self._new_file()
            try:
                yield file
            finally:
                Path(file.name).unlink(missing_ok=True)
                file.close()

    def keep(self, file: IO[bytes]) -> StoredFile:
        """Make the file that `receive` opened durable under its digest."""
        file.flush()
        os.fsync(file.fileno())
        path = Path(file.name)
        stored = StoredFile(sha256=sha256_file(path), size_bytes=path.stat().st_size)
        target = self._place(stored.sha256)
        if target.is_file() and sha256_file(target) == stored.sha256:
            return stored
        path.chmod(0o444)
        path.replace(target)
        fsync_directory(target.parent)
        return stored

    def path(self, sha256: str) -> Path:
        """Return where the file lies; its bytes are not checked.

        Raises:
            InvalidInput: the text is no SHA-256.
            NotFound: no such file is stored.
        """
        if _SHA256.fullmatch(sha256) is None:
            raise InvalidInput(f"'{sha256[:100]}' is not a SHA-256.", next_step="Give 64 lower-case hexadecimal digits.")
        place = self._place(sha256)
        if not place.is_file():
            raise NotFound(f"No file with SHA-256 {sha256} is stored.", next_step="Upload it first.", facts={"sha256": sha256})
        return place

    def verify(self, sha256: str) -> StoredFile:
        """Hash the file again.

        Raises:
            NotFound: no such file is stored.
            IntegrityFailure: its bytes changed; the error names file, expected and found digest.
        """
        place = self.path(sha256)
        found = sha256_file(place)
        if found != sha256:
            raise IntegrityFailure(
                f"The file {place} changed under its digest: expected SHA-256 {sha256}, found {found}.",
                next_step="Upload the original bytes again, which replaces the damaged copy, and find out who changed it.",
                facts={"file": str(place), "expected": sha256, "found": found},
            )
        return StoredFile(sha256=sha256, size_bytes=place.stat().st_size)

    def verified_path(self, sha256: str) -> Path:
        """Return where the file lies after hashing it again; raises as `verify` does."""
        self.verify(sha256)
        return self._place(sha256)

    @contextmanager
    def open_verified(self, sha256: str) -> Iterator[IO[bytes]]:
        """Open the file for reading after hashing it again; raises as `verify` does."""
        with self.verified_path(sha256).open("rb") as file:
            yield file

    def _place(self, sha256: str) -> Path:
        return self._path / sha256[:2] / sha256

    def _new_file(self) -> IO[bytes]:
        """Open a fresh file and lock it, so that only files of dead writers look abandoned."""
        while True:
            path = self._unfinished / secrets.token_hex(16)
            file = path.open("xb")
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            if path.exists():
                return file
            file.close()

    def _make_places(self) -> None:
        """Make the folders of all first two digits durable, so that storing a file has to do that for its own folder alone."""
        present = {entry.name for entry in os.scandir(self._path)}
        for number in range(256):
            if (name := f"{number:02x}") not in present:
                (self._path / name).mkdir(exist_ok=True)
        fsync_directory(self._path)

    def _remove_leftovers(self) -> None:
        for path in self._unfinished.iterdir():
            try:
                with path.open("rb") as file:
                    fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
            except (BlockingIOError, FileNotFoundError):
                continue
