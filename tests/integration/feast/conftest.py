"""Feast in an environment of its own under `build/`, made from its lock file when that changes. It needs pandas 2 and 77 packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "requirements" / "feast.txt"


def run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"


@pytest.fixture(scope="session")
def feast_python() -> Path:
    """The interpreter of Feast's environment."""
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    folder = ROOT / "build" / f"feast-{wanted[:12]}"
    ready = folder / "ready"
    if not ready.exists():
        run(ROOT / "scripts" / "bootstrap")
        uv = ROOT / ".tools" / "uv"
        making = folder.with_name(f"{folder.name}-{os.getpid()}")
        run(uv, "venv", "-q", "--python", "3.11", making)
        run(uv, "pip", "install", "-q", "--python", making / "bin" / "python", "--require-hashes", "--no-deps", "-r", LOCK)
        (making / "ready").touch()
        try:
            making.rename(folder)
        except OSError:  # another test process was faster
            shutil.rmtree(making)
    return folder / "bin" / "python"
