"""Environments of peers, each made from its own lock file: build/bench/environments/<name> holds what requirements/<name>.txt locks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class PeerMissing(Exception):
    """The environment of a peer could not be made; the message says why."""


def peer(name: str) -> Path:
    """Return the folder with the programs of a peer, installed when its lock file has changed or is new here.

    Raises:
        PeerMissing: the installer could not install what is locked.
    """
    folder, locked = ROOT / "build" / "bench" / "environments" / name, ROOT / "requirements" / f"{name}.txt"
    stamp = folder / "locked"
    if not stamp.exists() or stamp.read_bytes() != locked.read_bytes():
        uv, python = str(ROOT / ".tools" / "uv"), folder / "bin" / "python"
        _run([str(ROOT / "scripts" / "bootstrap")])
        _run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)])
        print(f"  installing the packages of {locked.relative_to(ROOT)}", flush=True)
        _run([uv, "pip", "sync", "-q", "--compile-bytecode", "--require-hashes", "--python", str(python), str(locked)])
        shutil.copy(locked, stamp)
    return folder / "bin"


def locked_version(name: str, package: str) -> str:
    """Return the version of a package that the lock file of a peer names."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return next(line.split("==")[1].split()[0] for line in lines if line.startswith(f"{package}=="))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerMissing(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-1000:]}")
