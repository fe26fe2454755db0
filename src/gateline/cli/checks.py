"""The checks of `gateline doctor`. Each looks at one thing, changes nothing, and says what to do next."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING, Any, Self

from packaging.requirements import Requirement
from pydantic_settings import EnvSettingsSource

from gateline.kernel.clock import MINUTE, SystemClock, iso, parse_iso
from gateline.kernel.errors import GatelineError
from gateline.kernel.settings import Settings
from gateline.local import find_holder, is_free
from gateline.sdk.client import ClientSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FREE_BYTES_MIN = 1 << 30
_RELEASED = "2026-01-01T00:00:00Z"
_PRIVATE_FILES = ("credentials.json", "keys/ledger.key", "keys/token.key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What one check found.

    Attributes:
        name: What was looked at.
        good: Whether it is as it should be.
        finding: What was found.
        next_step: What to do when it is not good.
    """

    name: str
    good: bool
    finding: str
    next_step: str = ""

    @classmethod
    def from_error(cls, name: str, error: GatelineError) -> Self:
        """Return the check that failed with this error."""
        return cls(name=name, good=False, finding=error.message, next_step=error.next_step)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


def python_version() -> Check:
    """Look at the interpreter."""
    found = ".".join(map(str, sys.version_info[:3]))
    return Check(name="python", good=sys.version_info >= (3, 11), finding=found, next_step="Gateline needs Python 3.11 or newer.")


def packages() -> Check:
    """Look for every package that Gateline requires, in a version that it allows."""
    wrong: list[str] = []
    needed = [Requirement(line) for line in requires("gateline") or []]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} is {found}, wanted {requirement.specifier}")
    finding = "; ".join(wrong) or f"all {len(needed)} required packages are there"
    return Check(name="packages", good=not wrong, finding=finding, next_step="Install again: pip install --upgrade gateline")


def unknown_variables() -> Check:
    """Look for variables that start with GATELINE_ and set nothing."""
    known = {f"gateline_{name}" for name in (*Settings.model_fields, *(field.name for field in fields(ClientSettings)))}
    unknown = sorted(name.upper() for name in EnvSettingsSource(Settings).env_vars if name.startswith("gateline_") and name not in known)
    finding = f"unknown: {', '.join(unknown)}" if unknown else "no unknown GATELINE_ variables"
    return Check(name="variables", good=not unknown, finding=finding, next_step="Mend the spelling, or unset them.")


def home_folder(settings: Settings) -> Check:
    """Look whether the home folder can be written, or made."""
    home = settings.home.absolute()
    nearest = _nearest(home)
    good = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    finding = f"{home} can be written" if good and nearest == home else f"{home} will be made at the first start"
    if not good:
        finding = f"{nearest} cannot be written by user {os.geteuid()}"
    return Check(name="home", good=good, finding=finding, next_step="Change its owner, or choose another folder with GATELINE_HOME.")


def disk_space(settings: Settings) -> Check:
    """Look for room on the disk of the home folder."""
    free = shutil.disk_usage(_nearest(settings.home.absolute())).free
    return Check(
        name="disk",
        good=free >= FREE_BYTES_MIN,
        finding=f"{free / 2**30:.1f} GiB free",
        next_step=f"Keep {FREE_BYTES_MIN / 2**30:.0f} GiB free: a full disk refuses every change.",
    )


def key_files(settings: Settings) -> Check:
    """Look whether keys and credentials are readable by their owner alone."""
    found = [settings.home / name for name in _PRIVATE_FILES if (settings.home / name).exists()]
    open_files = [str(path) for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077]
    finding = f"others may read {', '.join(open_files)}" if open_files else f"{len(found)} private files, readable by their owner alone"
    return Check(name="keys", good=not open_files, finding=finding, next_step=f"Run: chmod 600 {' '.join(map(repr, open_files))}")


def server_lock(settings: Settings) -> Check:
    """Look who serves the folder."""
    holder = find_holder(settings.home)
    if holder is None:
        left = " (a lock file is left over, which does no harm)" if (settings.home / "server.lock").exists() else ""
        return Check(name="server", good=True, finding=f"none runs on this folder{left}")
    where = f"at {holder.url}" if holder.url else "and is starting"
    return Check(name="server", good=True, finding=f"process {holder.pid} serves this folder {where}")


def ports(settings: Settings) -> Iterator[Check]:
    """Look whether the ports are free, unless our own server holds them."""
    running = find_holder(settings.home) is not None
    for name, port, option in (("port", settings.port, "--port"), ("serving port", settings.serving_port, "--serving-port")):
        free = port == 0 or is_free(settings.host, port)
        state = "is free" if free else "is held, as it should be while the server runs" if running else "is in use by another process"
        yield Check(
            name=name,
            good=free or running,
            finding=f"{settings.host}:{port} {state}",
            next_step=f"Stop that process, or start with: gateline up {option} N",
        )


def records(settings: Settings) -> Iterator[Check]:
    """Open the records, compare the clock with them, and verify the ledger."""
    if not settings.records_url and not (settings.home / "records.db").exists():
        yield Check(name="records", good=True, finding="there are none yet; the first start makes them")
        return
    from gateline.app import build

    try:
        app = build(settings.model_copy(update={"log_level": "error"}))
    except GatelineError as error:
        yield Check.from_error("records", error)
        return
    try:
        kind = "SQLite" if app.records.is_sqlite else "PostgreSQL"
        size = app.ledger.size()
        yield Check(name="records", good=True, finding=f"{kind} opens, its schema is the newest, {size} ledger entries")
        newest = app.ledger.entries(start=max(0, size - 1), limit=1)
        yield clock(newest[0].time if newest else None)
        outcome = app.ledger.verify()
        finding = "sound" if outcome.sound else "; ".join(problem.detail for problem in outcome.problems)
        yield Check(
            name="ledger", good=outcome.sound, finding=finding, next_step="Keep the files as they are, and compare them with a backup."
        )
    except GatelineError as error:
        yield Check.from_error("records", error)
    finally:
        app.stop()


def clock(newest: int | None) -> Check:
    """Compare the machine's clock with the newest ledger entry and with the age of this software."""
    now = SystemClock().now()
    if now < parse_iso(_RELEASED):
        finding = f"{iso(now)} is before this software was written"
    elif newest is not None and newest > now + 5 * MINUTE:
        finding = f"{iso(now)}, but the newest ledger entry is of {iso(newest)}"
    else:
        return Check(name="clock", good=True, finding=iso(now))
    return Check(name="clock", good=False, finding=finding, next_step="Set the machine's clock, and keep it set by NTP.")


def _nearest(path: Path) -> Path:
    """Return the folder itself, or the nearest one above it that exists."""
    while not path.exists():
        path = path.parent
    return path
