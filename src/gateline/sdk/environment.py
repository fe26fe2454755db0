"""What a run ran in: interpreter, packages, lock files, code, seed, hardware and thread counts. No host or user names."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
from importlib.metadata import distributions
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import digest, sha256_file
from gateline.sdk.machine import describe_cpu, describe_distributions, describe_libraries, describe_python, describe_threads, search_path

if TYPE_CHECKING:
    from pathlib import Path

LOCK_FILES = ("gateline.lock", "uv.lock", "requirements.txt", "requirements.lock", "pylock.toml", "poetry.lock", "conda-lock.yml")
_GIT_SECONDS_MAX = 10


def describe_environment(folder: Path, *, seed: int | None = None) -> dict[str, Any]:
    """Return a JSON-able description of where a run happens.

    Args:
        folder: The project folder; its lock files and its git checkout are described.
        seed: The seed of the run, when it has one.

    Returns:
        `packages_sha256` is the digest of every installed distribution with its version; `locks` maps each lock file of the folder to
        its SHA-256; `code` holds commit, whether the checkout is dirty, and the SHA-256 of what differs from the commit.
    """
    packages = installed_packages()
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "packages": packages,
        "packages_sha256": digest("packages/1", packages),
        "distributions": describe_distributions(),
        "python_build": describe_python(),
        "locks": {name: sha256_file(folder / name) for name in LOCK_FILES if (folder / name).is_file()},
        "code": describe_code(folder),
        "seed": seed,
        "hardware": {
            "machine": platform.machine(),
            "cpu": platform.processor(),
            **describe_cpu(),
            "cpus": os.cpu_count(),
            "memory_bytes": _memory_bytes(),
        },
        "threads": describe_threads(),
        "libraries": describe_libraries(),
    }


def describe_code(folder: Path) -> dict[str, Any]:
    """Return commit, dirty and diff_sha256 of the git checkout that holds the folder, and the folder in it; empty when there is none."""
    told = _git(folder, "rev-parse", "HEAD", "--show-prefix")
    if told is None:
        return {}
    commit, _, prefix = told.decode().partition("\n")
    changes = uncommitted_changes(folder)
    return {
        "commit": commit.strip(),
        "folder": prefix.strip(),
        "dirty": bool(changes),
        "diff_sha256": hashlib.sha256(changes).hexdigest() if changes else "",
    }


def uncommitted_changes(folder: Path) -> bytes:
    """Return what differs from the commit: the names of changed and untracked files, then the difference of the tracked ones."""
    names = _git(folder, "status", "--porcelain=v1", "-z") or b""
    return names + (_git(folder, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv") or b"")


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Return what git answers about the checkout that holds the folder; None when it fails or there is no git."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run([git, "-C", str(folder), *arguments], capture_output=True, timeout=_GIT_SECONDS_MAX, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def installed_packages() -> dict[str, str]:
    """Return name to version of every installed distribution, by name; read again only when something was installed or removed."""
    return dict(_packages(search_path()))


@functools.lru_cache(maxsize=1)
def _packages(_state: tuple[tuple[str, int], ...]) -> dict[str, str]:
    found = {one.name.lower().replace("_", "-"): one.version for one in distributions() if one.name}
    return dict(sorted(found.items()))


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
