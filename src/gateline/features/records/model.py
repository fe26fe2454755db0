"""View versions and what the catalogue says of views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateline.kernel.clock import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureViewVersion:
    """One definition of a view, under its fingerprint. What it computes never changes; a changed definition is a new number.

    Attributes:
        id: Name and number, such as `weather@2`.
        fingerprint: Digest of what decides the values; the key of the online store.
        feature_set: Id of the feature set version that declared it first.
        source: Name of its event source.
        dataset: Dataset that the source reads.
        entity: Aliases of the entity key.
        features: Names of its features.
        online_since: When its values began to be kept online, in UTC microseconds; None when they are not.
        removed_at: When they were removed from the online store; None when they were not.
    """

    id: str
    name: str
    version: int
    fingerprint: str
    feature_set: str
    source: str
    dataset: str
    entity: tuple[str, ...]
    features: tuple[str, ...]
    created_at: Instant
    created_by: str
    online_since: Instant | None
    removed_at: Instant | None

    @property
    def online(self) -> bool:
        """Whether its values are kept online."""
        return self.online_since is not None and self.removed_at is None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "id": self.id, "name": self.name, "version": self.version, "fingerprint": self.fingerprint, "feature_set": self.feature_set,
            "source": self.source, "dataset": self.dataset, "entity": list(self.entity), "features": list(self.features),
            "created_at": self.created_at, "created_by": self.created_by, "online_since": self.online_since, "removed_at": self.removed_at,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureViewCard:
    """What the catalogue says of a view, over all its versions.

    Attributes:
        promoted: Number of the version that is meant when only the name is given; None before the first promotion.
        deprecated: Why it should no longer be used; empty while it should.
        successor: View to use instead; may be empty.
    """

    name: str
    owner: str
    description: str
    tags: tuple[str, ...]
    promoted: int | None
    deprecated: str
    successor: str
    versions: tuple[FeatureViewVersion, ...]

    @property
    def warning(self) -> str:
        """A sentence for those who use a deprecated view; empty otherwise."""
        instead = f" Use '{self.successor}' instead." if self.successor else ""
        return f"Feature view '{self.name}' is deprecated: {self.deprecated}.{instead}" if self.deprecated else ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "name": self.name, "owner": self.owner, "description": self.description, "tags": list(self.tags), "promoted": self.promoted,
            "deprecated": self.deprecated, "successor": self.successor, "versions": [one.as_dict() for one in self.versions],
        }  # fmt: skip
