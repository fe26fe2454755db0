"""What keeps the files of a dataset version, and what may be removed. Values and decisions, without a clock or a database."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gateline.kernel.clock import DAY, Instant, iso

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateline.data.model import DatasetVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A reason to keep the files of a dataset version.

    Attributes:
        id: Its record id.
        version: The dataset version, such as `flights@1`.
        reason: Why it is kept.
        until: When the pin ends by itself, in UTC microseconds; None when it ends only by release.
        legal_hold: Whether only an administrator may release it; it never ends by itself.
        evidence: Whether the files were copied into the object store too, where no other tool removes them.
        released_at: When it was released; None while it was not.
    """

    id: str
    version: str
    reason: str
    until: Instant | None
    legal_hold: bool
    evidence: bool
    created_at: Instant
    created_by: str
    released_at: Instant | None = None
    released_by: str = ""
    release_reason: str = ""

    def holds(self, now: Instant) -> bool:
        """Return whether the pin keeps its version at a time."""
        return self.released_at is None and (self.until is None or now < self.until)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vacuum:
    """What a vacuum removes, or would remove.

    Attributes:
        dataset: Name of the dataset.
        applied: Whether the files were removed; False for a dry run.
        orphans: Paths that no record names, left by writers that died or by compaction.
        versions: Version id to the paths that it loses; its rows can be rebuilt with `reconstruct --restore`.
        kept: Version id to the reason why it keeps its files.
        bytes: Size of all that is removed.
    """

    dataset: str
    applied: bool
    orphans: tuple[str, ...]
    versions: Mapping[str, tuple[str, ...]]
    kept: Mapping[str, str]
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "dataset": self.dataset, "applied": self.applied, "orphans": list(self.orphans),
            "versions": {version: list(paths) for version, paths in self.versions.items()}, "kept": dict(self.kept), "bytes": self.bytes,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class VacuumRequest:
    """Which versions may lose their files.

    Attributes:
        older_than_days: Versions registered longer ago than this; None spares every recorded version and removes orphans alone.
        rebuildable: Whether versions that a registered model was made from may lose them too, since they can be rebuilt from raw rows.
        orphan_hours: Age from which a file that no record names counts as left behind.
    """

    older_than_days: float | None = None
    rebuildable: bool = False
    orphan_hours: float = 24.0


def reason_to_keep(
    version: DatasetVersion, request: VacuumRequest, *, now: Instant, pins: Sequence[Pin], newest: bool, used: bool, rebuildable: bool
) -> str:
    """Return why a version keeps its files, or nothing when they may be removed. Whatever is in doubt is kept.

    Args:
        version: The version.
        request: What the caller is willing to lose.
        now: UTC microseconds.
        pins: The pins of this version.
        newest: Whether it is the newest version of its dataset.
        used: Whether a registered model was made from it.
        rebuildable: Whether its raw rows are stored and sound.
    """
    holding = [pin for pin in pins if pin.holds(now)]
    if holding:
        pin = holding[0]
        return f"{'legal hold' if pin.legal_hold else 'pinned'}: {pin.reason}"
    if request.older_than_days is None:
        return "recorded, and no age was given"
    if newest:
        return "newest version"
    if now - version.created_at <= request.older_than_days * DAY:
        return f"registered {iso(version.created_at)}"
    if not rebuildable:
        return "its raw rows are missing, so that it could not be rebuilt"
    if used and not request.rebuildable:
        return "a registered model was made from it"
    return ""
