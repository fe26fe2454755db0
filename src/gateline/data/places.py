"""Where the files of tables lie: a folder of this machine, or a prefix of an object store such as `s3://bucket/tables`."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

from gateline.data.apart import StoreProcess
from gateline.data.delta import NO_SPACE, store_trouble
from gateline.kernel.canonical import sha256_bytes, sha256_file
from gateline.kernel.errors import NotFound, StorageFull, Unavailable
from gateline.kernel.files import fsync_directory, storage_errors, write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.kernel.clock import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file that lies in a folder: size, and when it was written by the clock of its disk, in UTC microseconds."""

    size_bytes: int
    modified_at: Instant


class LocalPlace:
    """Files in a folder of this machine.

    Args:
        location: The folder; it is made when a file is first put there.
    """

    def __init__(self, location: str) -> None:
        self._path = Path(location).absolute()

    def uri(self, folder: str) -> str:
        """Return what Delta Lake calls the folder."""
        return str(self._path / folder)

    def put(self, folder: str, path: str, content: bytes) -> None:
        """Store a file, durably and whole or not at all.

        Raises:
            StorageFull: the disk is full.
        """
        write_atomic(self._path / folder / path, content)

    def settle(self, folder: str, path: str) -> None:
        """Make a file that another library wrote survive a power cut."""
        place = self._path / folder / path
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fsync_directory(place.parent)

    def fetch(self, folder: str, path: str, sha256: str) -> Path:  # noqa: ARG002 - the other place needs the digest
        """Return a local path of the file; its bytes are not checked.

        Raises:
            NotFound: there is no such file.
        """
        place = self._path / folder / path
        if not place.is_file():
            raise NotFound(f"The table file {place} is missing.", facts={"file": str(place)})
        return place

    def has(self, folder: str, path: str) -> bool:
        """Return whether the file is there."""
        return (self._path / folder / path).is_file()

    def listed(self, folder: str) -> dict[str, Stored]:
        """Return path to size and age of every file in the folder; unfinished files of writers that died included."""
        place, found = self._path / folder, {}
        for path in place.rglob("*"):
            try:
                facts = path.stat()
            except FileNotFoundError:
                continue  # renamed or removed since it was listed
            if S_ISREG(facts.st_mode):
                found[path.relative_to(place).as_posix()] = Stored(size_bytes=facts.st_size, modified_at=facts.st_mtime_ns // 1000)
        return found

    def remove(self, folder: str, path: str) -> None:
        """Remove a file; one that is gone already is left gone."""
        (self._path / folder / path).unlink(missing_ok=True)


class RemotePlace:
    """Files under a URL that `deltalake` can write to.

    Args:
        location: The URL, such as `s3://bucket/tables`.
        storage_options: What `deltalake` needs to reach it; credentials may also come from the environment.
        cache: Folder of local copies, named by their SHA-256.
    """

    def __init__(self, location: str, storage_options: Mapping[str, str], cache: Path) -> None:
        self._location = location.rstrip("/")
        self._cache = cache
        self._process = StoreProcess(storage_options)

    def uri(self, folder: str) -> str:
        """Return what Delta Lake calls the folder."""
        return f"{self._location}/{folder}"

    def put(self, folder: str, path: str, content: bytes) -> None:
        """Store a file, whole or not at all."""
        self._call("put", folder, path, content=content)

    def settle(self, folder: str, path: str) -> None:
        """Do nothing: an object store acknowledges only what is durable."""

    def fetch(self, folder: str, path: str, sha256: str) -> Path:
        """Return a local copy of the file, loaded unless the cache holds it under its digest; the bytes of what is loaded are not checked.

        Raises:
            NotFound: there is no such file.
            StorageFull: the disk of the cache is full.
        """
        known = sha256 or sha256_bytes(f"{self.uri(folder)}/{path}".encode())  # without a digest, a copy for each path
        place = self._cache / f"{known}.parquet"
        if place.is_file() and sha256_file(place) == sha256:
            return place
        partial = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
        with storage_errors(self._cache):
            self._cache.mkdir(parents=True, exist_ok=True)
            try:
                self._call("fetch", folder, path, to=str(partial))
                partial.replace(place)
            except FileNotFoundError as error:
                raise NotFound(f"The table file {self.uri(folder)}/{path} is missing.", facts={"file": path}) from error
            finally:
                partial.unlink(missing_ok=True)
        return place

    def has(self, folder: str, path: str) -> bool:
        """Return whether the file is there."""
        return bool(self._call("has", folder, path))

    def listed(self, folder: str) -> dict[str, Stored]:
        """Return path to size and age of every file under the prefix."""
        return {path: Stored(size_bytes=size, modified_at=at) for path, size, at in self._call("stored", folder)}

    def remove(self, folder: str, path: str) -> None:
        """Remove a file; one that is gone already is left gone."""
        with suppress(FileNotFoundError):
            self._call("remove", folder, path)

    def _call(self, operation: str, folder: str, path: str = "", *, to: str = "", content: bytes = b"") -> Any:
        """Let the other process do it; what the store says becomes an error of the tree."""
        try:
            return self._process.call(operation, self.uri(folder), path, to=to, content=content)
        except FileNotFoundError:
            raise
        except OSError as error:
            what = f"the table {self.uri(folder)}"
            if any(sign in str(error).lower() for sign in NO_SPACE):
                raise StorageFull(f"No space is left for {what}.", next_step="Free space and run the command again.") from None
            raise (
                store_trouble(error, what) or Unavailable(f"The files of {what} cannot be reached.", next_step="See the server's log.")
            ) from None
