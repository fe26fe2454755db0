"""Which features derive from personal or protected columns, through the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateline.features import FeatureMarks

if TYPE_CHECKING:
    from gateline.features import FeatureSetVersion
    from gateline.sdk.client import Client


def feature_marks(client: Client, version: FeatureSetVersion) -> list[FeatureMarks]:
    """Return the marks of every feature of a version under the contracts now in force."""
    return [FeatureMarks.from_dict(one) for one in client.get(f"/feature-sets/{version.name}/versions/{version.version}/marks")]


def declare_not_personal(client: Client, version: FeatureSetVersion, feature: str, reason: str) -> FeatureMarks:
    """Declare that a feature made of personal columns is no personal data, with the reason, which is recorded.

    It holds for this way of making the feature from these columns; when either changes, the feature counts as personal again.

    Raises:
        NotFound: there is no such feature.
        Conflict: it derives from no personal column.
    """
    body = {"feature": feature, "reason": reason}
    return FeatureMarks.from_dict(client.post(f"/feature-sets/{version.name}/versions/{version.version}/not-personal", json=body))
