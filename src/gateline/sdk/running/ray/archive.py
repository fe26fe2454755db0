"""The files of a project, as one archive of always the same bytes, kept on the server under its digest."""

from __future__ import annotations

import io
import json
import os
import threading
import zipfile
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from gateline.kernel.errors import InvalidInput, TooLarge
from gateline.sdk.environment import installed_packages
from gateline.sdk.loading import file_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateline.sdk.client import Client
    from gateline.sdk.project import Project

ARCHIVE_BYTES_MAX = 64 << 20
ARCHIVE_FILES_MAX = 10_000
PACKAGES = ".gateline-packages.json"
"""The member that says which packages the runner had; no file of a project is named so, hidden ones are left out."""

_LEFT_OUT = {"__pycache__", "node_modules", "mlruns"}
_DATE = (1980, 1, 1, 0, 0, 0)


class Archives:
    """Keeps the archive of a project on the server, and makes another when files have changed. Safe to use from several threads.

    Args:
        client: Where it is kept.
        project: Whose files they are.
    """

    def __init__(self, client: Client, project: Project) -> None:
        self._client = client
        self._project = project
        self._lock = threading.Lock()
        self._kept: tuple[list[tuple[str, list[int]]], str] | None = None

    def digest(self, exclude: Sequence[str]) -> str:
        """Return the SHA-256 of the archive of the files as they are now.

        Raises:
            TooLarge: they have more than 64 MiB together, or there are more than 10,000.
        """
        with self._lock:
            paths = list(project_files(self._project.folder, exclude))
            state = [(str(path), file_state(path)) for path in paths]
            if self._kept is None or self._kept[0] != state:
                self._kept = state, self._client.upload(pack(self._project.folder, paths))
            return self._kept[1]


def project_files(folder: Path, exclude: Sequence[str] = ()) -> Iterator[Path]:
    """Yield the files of a project in a fixed order: no hidden ones, no virtual environments, no links to folders, nothing excluded."""
    for place, folders, names in os.walk(folder):
        here = folder / os.path.relpath(place, folder)
        folders[:] = sorted(name for name in folders if not _is_left_out(here / name))
        for name in sorted(names):
            path = here / name
            relative = path.relative_to(folder).as_posix()
            if not name.startswith(".") and path.is_file() and not any(fnmatch(relative, pattern) for pattern in exclude):
                yield path


def pack(folder: Path, paths: Sequence[Path]) -> bytes:
    """Return files of a folder as an archive: equal files give equal bytes."""
    size = sum(path.stat().st_size for path in paths)
    if size > ARCHIVE_BYTES_MAX or len(paths) > ARCHIVE_FILES_MAX:
        large = sorted(paths, key=lambda path: -path.stat().st_size)[:3]
        raise TooLarge(
            f"The project has {len(paths):,} files of {size:,} bytes; {ARCHIVE_FILES_MAX:,} of {ARCHIVE_BYTES_MAX:,} can be sent to Ray. "
            f"The largest are {', '.join(path.relative_to(folder).as_posix() for path in large)}.",
            next_step='Leave out what steps do not read: [ray] exclude = ["data/*"] in gateline.toml.',
        )
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        archive.writestr(zipfile.ZipInfo(PACKAGES, _DATE), json.dumps(installed_packages(), sort_keys=True))
        for path in paths:
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _DATE)
            member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(member, path.read_bytes())
    return written.getvalue()


def unpack(archive: Path, folder: Path) -> dict[str, str]:
    """Write the files of an archive into a folder, and return the packages that the runner had.

    Raises:
        InvalidInput: it is none, or has more than can be sent.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            if sum(member.file_size for member in opened.infolist()) > ARCHIVE_BYTES_MAX + (1 << 20):
                raise InvalidInput(f"The archive of the project holds more than {ARCHIVE_BYTES_MAX:,} bytes.")
            opened.extractall(folder)
            found: dict[str, str] = json.loads(opened.read(PACKAGES))
            return found
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise InvalidInput(f"{archive.name} is no archive of a project: {error}.") from error


def _is_left_out(folder: Path) -> bool:
    return folder.name in _LEFT_OUT or folder.name.startswith(".") or (folder / "pyvenv.cfg").is_file()
