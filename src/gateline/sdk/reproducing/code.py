"""The code that trained a version, in a folder of its own: the recorded commit with the recorded changes, or the folder as it is."""

from __future__ import annotations

import base64
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import sha256_bytes
from gateline.kernel.errors import StepFailed
from gateline.sdk.project import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SECONDS_MAX = 600
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".gateline*", "__pycache__", "node_modules", ".ipynb_checkpoints", "mlruns")


def rebuild_code(recipe: Mapping[str, Any], project: Path, target: Path) -> tuple[Path, str]:
    """Lay the code of a recipe into a folder; return the project folder in it, and in words what it is.

    Args:
        recipe: As the server gives it.
        project: The project folder here; its git repository has to hold the commit.
        target: A folder that does not exist yet.

    Raises:
        StepFailed: the commit is not there, or the recorded changes do not apply to it.
    """
    code = recipe["environment"].get("code") or {}
    if not code:
        shutil.copytree(project, target, ignore=_LEFT_OUT, symlinks=True)
        return (
            target,
            "No commit is recorded: the project folder as it is now was copied. The digests of the steps say whether it is equal.",
        )
    commit = str(code["commit"])
    repository = _git(project, "rev-parse", "--show-toplevel", why=f"{project} lies in no git repository, and commit {commit} is recorded")
    _git(project, "cat-file", "-e", f"{commit}^{{commit}}", why=f"The repository of {project} does not hold commit {commit}; fetch it")
    _git(project, "clone", "--quiet", "--shared", "--no-checkout", repository, str(target), why="The repository cannot be cloned")
    _git(target, "checkout", "--quiet", "--detach", commit, why=f"Commit {commit} cannot be checked out")
    told = f"Commit {commit}"
    if code.get("dirty"):
        told += _apply(base64.b64decode(recipe.get("code_diff", "")), str(code.get("diff_sha256", "")), target)
    folder = target / str(code.get("folder", ""))
    if not (folder / FILE_NAME).is_file():
        raise StepFailed(f"Commit {commit} holds no {FILE_NAME} in its folder '{code.get('folder', '')}'.", next_step="Was it committed?")
    return folder, f"{told}."


def _apply(changes: bytes, sha256: str, target: Path) -> str:
    """Apply recorded changes; return in words what became of them."""
    if not changes:
        return " without the changes that were not committed, which were not kept ([tracking] keep_diff = true keeps them)"
    if sha256_bytes(changes) != sha256:
        raise StepFailed("The recorded changes of the code are not the ones whose digest is recorded.", next_step="Verify the run's files.")
    start = changes.find(b"diff --git")
    names, patch = (changes, b"") if start < 0 else (changes[:start], changes[start:])
    if patch:
        _git(target, "apply", "--whitespace=nowarn", "--binary", "-", why="The recorded changes do not apply to the commit", given=patch)
    untracked = [one[3:].decode(errors="replace") for one in names.split(b"\0") if one.startswith(b"?? ")]
    lost = f"; {len(untracked)} files that git did not track are not recorded: {', '.join(untracked[:5])}" if untracked else ""
    return f" with the recorded changes applied{lost}"


def _git(folder: Path, *words: str, why: str, given: bytes | None = None) -> str:
    git = shutil.which("git")
    if git is None:
        raise StepFailed("The code is recorded as a git commit, and there is no git.", next_step="Install git.")
    try:
        done = subprocess.run(
            [git, "-c", "core.hooksPath=/dev/null", "-C", str(folder), *words], input=given, capture_output=True, timeout=_SECONDS_MAX,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise StepFailed(f"git {words[0]} took more than {_SECONDS_MAX} s.") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-1000:]
        raise StepFailed(f"{why}. git says: {said or 'nothing'}", next_step="Run the command in a clone that holds the commit.")
    return done.stdout.decode(errors="replace").strip()
