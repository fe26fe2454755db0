"""Where the files of tables lie: a folder of this machine, or a prefix of an object store such as `s3://bucket/tables`."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateline.kernel.canonical import sha256_file
from gateline.kernel.errors import NotFound
from gateline.kernel.files import fsync_directory, storage_errors, write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyarrow.fs import FileSystem

    from gateline.kernel.clock import Instant

_PIECE_BYTES = 1 << 20
_LOG = "_delta_log"


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

    def stored(self, folder: str) -> dict[str, Stored]:
        """Return path to size and age of every file in the folder but the Delta log's; unfinished files of writers that died included."""
        place, found = self._path / folder, {}
        for path in place.rglob("*"):
            relative = path.relative_to(place)
            if relative.parts[0] == _LOG or not path.is_file():
                continue
            facts = path.stat()
            found[relative.as_posix()] = Stored(size_bytes=facts.st_size, modified_at=facts.st_mtime_ns // 1000)
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
        self._options = dict(storage_options)
        self._cache = cache

    def uri(self, folder: str) -> str:
        """Return what Delta Lake calls the folder."""
        return f"{self._location}/{folder}"

    def put(self, folder: str, path: str, content: bytes) -> None:
        """Store a file, whole or not at all."""
        with self._files(folder).open_output_stream(path) as stream:
            stream.write(content)

    def settle(self, folder: str, path: str) -> None:
        """Do nothing: an object store acknowledges only what is durable."""

    def fetch(self, folder: str, path: str, sha256: str) -> Path:
        """Return a local copy of the file, loaded unless the cache holds it; the bytes of what is loaded are not checked.

        Raises:
            NotFound: there is no such file.
            StorageFull: the disk of the cache is full.
        """
        place = self._cache / f"{sha256}.parquet"
        if place.is_file() and sha256_file(place) == sha256:
            return place
        partial = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
        with storage_errors(self._cache):
            self._cache.mkdir(parents=True, exist_ok=True)
            try:
                with self._files(folder).open_input_stream(path) as content, partial.open("wb") as file:
                    shutil.copyfileobj(content, file, _PIECE_BYTES)
                partial.replace(place)
            except FileNotFoundError as error:
                raise NotFound(f"The table file {self.uri(folder)}/{path} is missing.", facts={"file": path}) from error
            finally:
                partial.unlink(missing_ok=True)
        return place

    def has(self, folder: str, path: str) -> bool:
        """Return whether the file is there."""
        return bool(self._files(folder).get_file_info(path).is_file)

    def stored(self, folder: str) -> dict[str, Stored]:
        """Return path to size and age of every file under the prefix but the Delta log's."""
        from pyarrow.fs import FileSelector

        listed = self._files(folder).get_file_info(FileSelector("", recursive=True, allow_not_found=True))
        return {
            one.path: Stored(size_bytes=one.size, modified_at=one.mtime_ns // 1000)
            for one in listed
            if one.is_file and one.path.split("/")[0] != _LOG
        }

    def remove(self, folder: str, path: str) -> None:
        """Remove a file; one that is gone already is left gone."""
        with suppress(FileNotFoundError):
            self._files(folder).delete_file(path)

    def _files(self, folder: str) -> FileSystem:
        from deltalake.fs import DeltaStorageHandler
        from pyarrow.fs import PyFileSystem

        return PyFileSystem(DeltaStorageHandler(self.uri(folder), self._options))
