"""Environments of their own under `build/`, each made from its lock file when that changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def locked_python(name: str) -> Path:
    """The interpreter of an environment that has what `requirements/<name>.txt` says."""
    lock = ROOT / "requirements" / f"{name}.txt"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    folder = _place() / f"{name}-{wanted[:12]}"
    if not (folder / "ready").exists():
        _run(ROOT / "scripts" / "bootstrap")
        uv = ROOT / ".tools" / "uv"
        making = folder.with_name(f"{folder.name}-{os.getpid()}")
        _run(uv, "venv", "-q", "--python", "3.11", making)
        _run(
            uv,
            "pip",
            "install",
            "-q",
            "--compile-bytecode",
            "--python",
            making / "bin" / "python",
            "--require-hashes",
            "--no-deps",
            "-r",
            lock,
        )
        (making / "ready").touch()
        try:
            making.rename(folder)
        except OSError:  # another test process was faster
            shutil.rmtree(making)
    return folder / "bin" / "python"


def _place() -> Path:
    """The folder of the environments: one without a space in its path, where Ray starts no worker."""
    inside = ROOT / "build"
    return inside if " " not in str(inside) else Path(tempfile.gettempdir()) / f"gateline-{hashlib.sha256(bytes(ROOT)).hexdigest()[:12]}"


def _run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
