"""Feature sets, through the API; their features are computed here, from the pinned tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateline.features import FeatureSet, FeatureSetVersion, Leak, LeakKind, version_from_dict
from gateline.kernel.errors import InvalidInput
from gateline.kernel.names import split_version_id
from gateline.sdk.data import table
from gateline.sdk.project import Project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl

    from gateline.sdk.client import Client


def register_feature_set(
    client: Client, feature_set: FeatureSet, *, dataset_versions: Mapping[str, int] | None = None
) -> FeatureSetVersion:
    """Check a set against its datasets and make it a version; the same set over the same data returns the same version.

    Args:
        client: The connection.
        feature_set: The declaration.
        dataset_versions: Dataset name to the version to pin; the newest where none is given.

    Raises:
        InvalidInput: the declaration has mistakes or sees the future; all are named.
    """
    body = {"definition": feature_set.as_dict(), "dataset_versions": dict(dataset_versions or {})}
    return version_from_dict(client.post("/feature-sets", json=body))


def feature_set(client: Client, name: str, version: int | None = None) -> FeatureSetVersion:
    """Return a version by name and number, by id (`flight_delay@1`), or the newest of a name; raises NotFound."""
    if version is None and "@" in name:
        name, version = split_version_id(name)
    if version is None:
        return feature_sets(client, name)[-1]
    return version_from_dict(client.get(f"/feature-sets/{name}/versions/{version}"))


def feature_sets(client: Client, name: str | None = None) -> list[FeatureSetVersion]:
    """Return the versions of a set, oldest first, or those of all; raises NotFound for an unknown name."""
    return [version_from_dict(one) for one in client.get("/feature-sets" if name is None else f"/feature-sets/{name}/versions")]


def check_feature_set(client: Client, version: FeatureSetVersion | str, *, seed: int = 0, rows: int = 200) -> list[Leak]:
    """Search a version (or its id) for features that see the future; an empty list is the good answer."""
    found = feature_set(client, version) if isinstance(version, str) else version
    answer = client.post(f"/feature-sets/{found.name}/versions/{found.version}/check", params={"seed": seed, "rows": rows})
    return [Leak(kind=LeakKind(one["kind"]), **{name: one[name] for name in ("feature", "row", "t", "detail")}) for one in answer["leaks"]]


def tables(client: Client, version: FeatureSetVersion) -> dict[str, tuple[Path, ...]]:
    """Return dataset name to local Parquet files for the versions that a set pins, each checked against its digest."""
    return {name: table(client, pin) for name, pin in version.dataset_versions.items()}


def compute_features(client: Client, version: FeatureSetVersion | str) -> pl.DataFrame:
    """Compute a version (or its id) in this process over the tables it pins; see `gateline.features.compute` for the columns."""
    from gateline.features import compute

    found = feature_set(client, version) if isinstance(version, str) else version
    return compute(found.definition, tables(client, found))


def project_feature_sets(project: Project) -> dict[str, FeatureSet]:
    """Return the sets that `[features]` of gateline.toml declares, as `name = "module:attribute"`.

    Raises:
        NotFound: a file or attribute is missing.
        InvalidInput: an attribute is no feature set, or is called otherwise.
    """
    found: dict[str, FeatureSet] = {}
    for name, reference in project.settings.get("features", {}).items():
        feature_set = project.load_object(str(reference))
        if not isinstance(feature_set, FeatureSet):
            raise InvalidInput(
                f"{reference} of project '{project.name}' is no FeatureSet.", next_step="Correct [features] in gateline.toml."
            )
        if feature_set.name != name:
            raise InvalidInput(
                f"gateline.toml calls {reference} '{name}', but the set is called '{feature_set.name}'.", next_step="Use one name in both."
            )
        found[name] = feature_set
    return found
