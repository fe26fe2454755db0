"""Environments of their own for steps, made by uv: each is made once in a project, under the digest of what it is made of.

An environment holds what its requirements name, Gateline itself, and the few packages that Gateline's SDK cannot do without, in the
versions installed here, as far as the requirements do not name them. Gateline comes by a link to the package that made the environment,
so that runner and step always speak alike; nothing else of the runner's environment can be imported in it.

It is made aside and moved into place whole, under a lock between processes: a maker that is killed leaves nothing that counts.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module  # noqa: TID251 - the package is an extra
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gateline
from gateline.kernel.canonical import digest
from gateline.kernel.errors import ConfigurationError, InvalidInput, StepFailed
from gateline.kernel.files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER = "environments"
SDK_PACKAGES = ("httpx", "msgspec", "polars", "pyarrow", "pydantic", "pydantic-settings", "structlog", "typing-extensions")
"""What the SDK imports to carry out a step, frames included."""

_READY = "environment.json"
_SECONDS_MAX = 3_600
_LINES_TOLD = 12
_FILE_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What an environment is to hold.

    Attributes:
        text: Lines as in requirements.txt.
        complete: Whether they name everything, so that nothing that they depend on is added.
        hashed: Whether each names the hashes of its files; then no others are installed.
    """

    text: str
    complete: bool = False

    @property
    def hashed(self) -> bool:
        """Whether files are checked against hashes."""
        return "--hash=" in self.text

    @property
    def digest(self) -> str:
        """Digest of the requirements and of the interpreter; part of the key of a step."""
        interpreter = [sys.implementation.name, *sys.version_info[:3]]
        lines = [line.strip() for line in self.text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        return digest("step-environment/1", {"lines": lines, "complete": self.complete, "python": interpreter})

    @classmethod
    def of(cls, env: str | Sequence[str], project: Path) -> Requirements:
        """Read what `@step(env=…)` names: a file of the project, or a list of requirements.

        Raises:
            InvalidInput: there is no such file in the project, it refers to others, or a requirement is an option.
        """
        if not isinstance(env, str):
            return cls(text="\n".join(env) + "\n")
        path = (project / env).resolve()
        if not path.is_relative_to(project.resolve()) or not path.is_file() or path.stat().st_size > _FILE_BYTES_MAX:
            raise InvalidInput(
                f"env='{env}' names no file of at most 4 MiB in {project}.",
                next_step=f"Write it with: uv pip compile --universal --generate-hashes requirements.in -o {env}",
            )
        text = path.read_text(encoding="utf-8")
        if other := next(
            (line for line in text.splitlines() if line.lstrip().startswith(("-r", "--requirement", "-c", "--constraint"))), ""
        ):
            raise InvalidInput(
                f"{env} refers to another file ('{other.strip()}'), which its digest would miss.", next_step="Write one file."
            )
        return cls(text=text)


def environment_python(requirements: Requirements, cache: Path) -> Path:
    """Return the interpreter of the environment that holds the requirements; it is made when it is not there yet.

    Args:
        requirements: What it holds.
        cache: The project's folder `.gateline-cache`.

    Raises:
        ConfigurationError: it has to be made, and there is no uv.
        StepFailed: uv could not make it; the message has its last lines.
        StorageFull: the disk is full.
    """
    package = Path(gateline.__file__).parent
    facts = {"requirements": requirements.digest, "gateline": str(package), "sdk": _sdk_versions()}
    folder = cache / FOLDER / digest("environment-folder/1", facts)
    if not (folder / _READY).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock")), storage_errors(folder):
            if not (folder / _READY).is_file():
                _make(requirements, folder, package)
    return folder / "bin" / "python"


def find_uv() -> str:
    """Return the path of uv: the one on the PATH, else that of the Python package `uv`.

    Raises:
        ConfigurationError: there is none.
    """
    found = shutil.which("uv")
    if found is None and importlib.util.find_spec("uv") is not None:
        try:
            found = str(import_module("uv").find_uv_bin())
        except FileNotFoundError:
            found = None
    if found is None:
        raise ConfigurationError(
            "An environment is to be made, and there is no uv.",
            next_step="Install it: pip install 'gateline[environments]', or put uv on PATH.",
        )
    return found


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; it ends with the process."""
    with path.open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(requirements: Requirements, folder: Path, package: Path) -> None:
    """Make an environment aside and move it into place; what makers that were killed left goes first."""
    for left in [*folder.parent.glob(f".{folder.name}.*"), folder]:
        shutil.rmtree(left, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    uv = find_uv()
    try:
        _uv(uv, "venv", "--python", sys.executable, "--relocatable", "--no-project", "--allow-existing", str(aside))
        _install(uv, aside, requirements.text, complete=requirements.complete, hashed=requirements.hashed)
        present = _installed(aside)
        lacking = [f"{name}=={one}" for name, one in _sdk_versions().items() if name not in present]
        if lacking:
            _install(uv, aside, "\n".join(lacking), complete=False, hashed=False)
        (aside / "gateline-source").mkdir()
        (aside / "gateline-source" / package.name).symlink_to(package, target_is_directory=True)
        (_packages_of(aside) / "gateline-source.pth").write_text(f"{folder / 'gateline-source'}\n", encoding="utf-8")
        facts = {"requirements": requirements.digest, "packages": _installed(aside)}
        (aside / _READY).write_text(json.dumps(facts, indent=1), encoding="utf-8")
        aside.replace(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _install(uv: str, folder: Path, text: str, *, complete: bool, hashed: bool) -> None:
    """Install requirements: from uv's cache alone when it holds all of them, else with the network."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        words = ["pip", "install", "--python", str(folder / "bin" / "python"), "-r", file.name, "--no-progress"]
        words += ["--no-deps"] * complete + ["--require-hashes"] * hashed
        try:
            _uv(uv, *words, "--offline")
        except StepFailed:
            _uv(uv, *words)


def _uv(uv: str, *words: str) -> None:
    variables = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"}}  # noqa: TID251 - uv's own settings are there
    try:
        done = subprocess.run(
            [uv, *words], capture_output=True, text=True, errors="replace", timeout=_SECONDS_MAX, check=False, env=variables,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise StepFailed(f"uv {words[0]} took more than {_SECONDS_MAX:,} s.", next_step="See whether its index answers.") from error
    if done.returncode:
        told = "\n".join(done.stderr.strip().splitlines()[-_LINES_TOLD:])
        raise StepFailed(f"The environment cannot be made. uv says:\n{told}", next_step="Correct the requirements, or make them reachable.")


def _packages_of(folder: Path) -> Path:
    """Return the folder of an environment that packages are installed into."""
    return folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def _installed(folder: Path) -> dict[str, str]:
    """Return name to version of what an environment holds."""
    from importlib.metadata import distributions

    found = {one.name.lower().replace("_", "-"): one.version for one in distributions(path=[str(_packages_of(folder))])}
    return dict(sorted(found.items()))


def _sdk_versions() -> dict[str, str]:
    """Return the versions installed here of what the SDK needs; what is linked into this environment is as it is there."""
    found: dict[str, Any] = {}
    for name in SDK_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
