"""`gateline.lock`: the exact dataset and feature-set versions that a project uses, committed beside its code."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import Conflict, InvalidInput, LockStale, NotFound
from gateline.kernel.files import write_atomic
from gateline.sdk.data import dataset
from gateline.sdk.features import feature_sets, project_feature_sets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateline.features import FeatureSet, FeatureSetVersion
    from gateline.sdk.client import Client
    from gateline.sdk.project import Project

FILE_NAME = "gateline.lock"
_HEADER = "# Written by `gateline lock`; commit it beside the code. `gateline lock --check` says whether it still holds.\n"
_FORMAT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """What a project uses: version ids, such as `flights@1`, with their digests."""

    datasets: Mapping[str, str]
    feature_sets: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"datasets": dict(sorted(self.datasets.items())), "feature_sets": dict(sorted(self.feature_sets.items()))}

    def as_toml(self) -> str:
        """Return the file's text; equal locks give equal texts."""
        lines = [_HEADER, f"format = {_FORMAT}\n"]
        for section, pins in self.as_dict().items():
            lines += [f"\n[{section}]\n", *(f"{json.dumps(name)} = {json.dumps(digest)}\n" for name, digest in pins.items())]
        return "".join(lines)

    def differences(self, now: Lock) -> list[str]:
        """Return how what the project uses now differs from the lock, one sentence part for each version."""
        found: list[str] = []
        for kind, locked, used in (("dataset", self.datasets, now.datasets), ("feature set", self.feature_sets, now.feature_sets)):
            found += [f"{kind} version {name} is locked, but no longer used" for name in sorted(locked.keys() - used.keys())]
            found += [f"{kind} version {name} is used, but not locked" for name in sorted(used.keys() - locked.keys())]
            found += [
                f"{kind} version {name} has digest {used[name][:12]}…, but is locked with {locked[name][:12]}…"
                for name in sorted(locked.keys() & used.keys())
                if locked[name] != used[name]
            ]
        return found


def read_lock(folder: Path) -> Lock:
    """Read the lock file of a project folder.

    Raises:
        NotFound: there is none.
        InvalidInput: it is damaged or of another format.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise NotFound(f"{folder} holds no {FILE_NAME}.", next_step="Write it with: gateline lock")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            advice = "Write it again with: gateline lock" if content["format"] == 1 else "Upgrade Gateline."
            raise InvalidInput(f"{path} has format {content['format']}; this Gateline reads {_FORMAT}.", next_step=advice)
        sections = [{str(name): str(digest) for name, digest in content[section].items()} for section in ("datasets", "feature_sets")]
        return Lock(datasets=sections[0], feature_sets=sections[1])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{path} is damaged: {error}.", next_step="Take it from version control, or write it with: gateline lock"
        ) from error


def resolve_lock(client: Client, project: Project) -> Lock:
    """Return what the project uses now: for each declared set its newest registered version, and the dataset versions that one pins.

    Raises:
        Conflict: sets were changed or never registered; all are named.
    """
    feature_sets = project_feature_sets(project)
    unregistered: list[str] = []
    found: dict[str, FeatureSetVersion] = {}
    for name, feature_set in feature_sets.items():
        version = _registered(client, feature_set)
        if version is None:
            unregistered.append(f"'{name}'")
        else:
            found[name] = version
    if unregistered:
        raise Conflict(
            f"The feature sets {', '.join(unregistered)} of project '{project.name}' are not registered as they stand in the code.",
            next_step="Run: gateline feature register && gateline lock",
        )
    pins = {pin for version in found.values() for pin in version.dataset_versions.values()}
    return Lock(
        datasets={pin: dataset(client, pin).digest for pin in sorted(pins)},
        feature_sets={version.id: version.digest for version in found.values()},
    )


def write_lock(client: Client, project: Project) -> Lock:
    """Write the lock file of a project, whole or not at all, and return it; raises as `resolve_lock` does."""
    lock = resolve_lock(client, project)
    write_atomic(project.folder / FILE_NAME, lock.as_toml().encode())
    return lock


def check_lock(client: Client, project: Project) -> Lock:
    """Return the lock when it still holds.

    Raises:
        NotFound: the project has no lock file.
        LockStale: the code was changed since, or other versions are used now; the error names each difference and the command to run.
    """
    lock = read_lock(project.folder)
    try:
        differences = lock.differences(resolve_lock(client, project))
        command = "gateline lock"
    except Conflict as error:
        differences, command = [error.message.rstrip(".")], "gateline feature register && gateline lock"
    if differences:
        raise LockStale(
            f"{FILE_NAME} of project '{project.name}' is stale: {'; '.join(differences)}.",
            next_step=f"If that is meant, run: {command}",
            facts={"differences": differences},
        )
    return lock


def _registered(client: Client, feature_set: FeatureSet) -> FeatureSetVersion | None:
    """Return the newest registered version whose definition is the set's."""
    try:
        versions = feature_sets(client, feature_set.name)
    except NotFound:
        return None
    return next((version for version in reversed(versions) if version.definition.digest == feature_set.digest), None)
