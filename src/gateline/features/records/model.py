"""View versions, what the catalogue says of views, and fits of feature set versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateline.kernel.clock import Instant, iso
from gateline.kernel.errors import InvalidInput

if TYPE_CHECKING:
    import polars as pl

    from gateline.features.engine.fitted import FittedTransforms
    from gateline.features.model import FeatureSetVersionId


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFit:
    """The transforms of a feature set version, fitted to rows of a time window.

    Attributes:
        id: Feature set version and number, such as `flight_delay@1/fit@2`.
        feature_set: The feature set version whose transforms these are.
        feature_set_digest: Its digest.
        number: Counted from 1 for each feature set version.
        dataset_versions: Dataset name to the version that was read.
        dataset_digests: Dataset name to the digest of that version.
        start: Rows at `t` before it were left out, in UTC microseconds; None for no limit.
        end: Rows at `t` or later were left out, in UTC microseconds; None for no limit.
        fitted: Declarations, parameters, number of rows and their digest.
        digest: Digest of all of it but id and number: the same fit of the same data has the same.
        created_at: UTC microseconds.
    """

    id: str
    feature_set: FeatureSetVersionId
    feature_set_digest: str
    number: int
    dataset_versions: Mapping[str, str]
    dataset_digests: Mapping[str, str]
    start: Instant | None
    end: Instant | None
    fitted: FittedTransforms
    digest: str
    created_at: Instant
    created_by: str

    @property
    def window(self) -> str:
        """The window in words."""
        words = [f"{word} {iso(at).replace('.000000', '')}" for word, at in (("from", self.start), ("until", self.end)) if at is not None]
        return " ".join(words) or "all rows"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; `fit_from_dict` reads them back."""
        return {
            "id": self.id, "feature_set": self.feature_set, "feature_set_digest": self.feature_set_digest, "number": self.number,
            "dataset_versions": dict(sorted(self.dataset_versions.items())), "dataset_digests": dict(sorted(self.dataset_digests.items())),
            "start": self.start, "end": self.end, **self.fitted.as_dict(), "digest": self.digest, "created_at": self.created_at,
            "created_by": self.created_by,
        }  # fmt: skip

    def apply(self, frame: pl.DataFrame, feature_set: str) -> pl.DataFrame:
        """Return the frame with each transformed feature in place of the feature itself; every row depends on itself alone.

        Args:
            frame: Features as the set computes them, one row or many.
            feature_set: Id of the feature set version that they are of.

        Raises:
            InvalidInput: the fit is of another feature set version, or the features are not those that it was fitted on.
        """
        self.check(feature_set)
        return self.fitted.apply(frame)

    def check(self, feature_set: str) -> None:
        """Refuse a feature set version that this is no fit of; raises InvalidInput."""
        if feature_set != self.feature_set:
            raise InvalidInput(
                f"{self.id} is a fit of {self.feature_set}, and these are features of {feature_set}.",
                next_step=f"Use a fit of this version: gateline feature fits {feature_set}.",
            )
