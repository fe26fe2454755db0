"""Feature views, through the API; their features are computed here, from the pinned tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateline.features import FeatureView, FeatureViewVersion, Leak, LeakKind, version_from_dict
from gateline.kernel.errors import InvalidInput
from gateline.kernel.names import split_version_id
from gateline.sdk.data import table
from gateline.sdk.project import Project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl

    from gateline.sdk.client import Client


def register_feature_view(client: Client, view: FeatureView, *, dataset_versions: Mapping[str, int] | None = None) -> FeatureViewVersion:
    """Check a view against its datasets and make it a version; the same view over the same data returns the same version.

    Args:
        client: The connection.
        view: The declaration.
        dataset_versions: Dataset name to the version to pin; the newest where none is given.

    Raises:
        InvalidInput: the declaration has mistakes or sees the future; all are named.
    """
    body = {"definition": view.as_dict(), "dataset_versions": dict(dataset_versions or {})}
    return version_from_dict(client.post("/feature-views", json=body))


def feature_view(client: Client, name: str, version: int | None = None) -> FeatureViewVersion:
    """Return a version by name and number, by id (`flight_delay@1`), or the newest of a name; raises NotFound."""
    if version is None and "@" in name:
        name, version = split_version_id(name)
    if version is None:
        return feature_views(client, name)[-1]
    return version_from_dict(client.get(f"/feature-views/{name}/versions/{version}"))


def feature_views(client: Client, name: str | None = None) -> list[FeatureViewVersion]:
    """Return the versions of a view, oldest first, or those of all; raises NotFound for an unknown name."""
    return [version_from_dict(one) for one in client.get("/feature-views" if name is None else f"/feature-views/{name}/versions")]


def check_feature_view(client: Client, version: FeatureViewVersion | str, *, seed: int = 0, rows: int = 200) -> list[Leak]:
    """Search a version (or its id) for features that see the future; an empty list is the good answer."""
    found = feature_view(client, version) if isinstance(version, str) else version
    answer = client.post(f"/feature-views/{found.name}/versions/{found.version}/check", params={"seed": seed, "rows": rows})
    return [Leak(kind=LeakKind(one["kind"]), **{name: one[name] for name in ("feature", "row", "t", "detail")}) for one in answer["leaks"]]


def tables(client: Client, version: FeatureViewVersion) -> dict[str, tuple[Path, ...]]:
    """Return dataset name to local Parquet files for the versions that a view pins, each checked against its digest."""
    return {name: table(client, pin) for name, pin in version.dataset_versions.items()}


def compute_features(client: Client, version: FeatureViewVersion | str) -> pl.DataFrame:
    """Compute a version (or its id) in this process over the tables it pins; see `gateline.features.compute` for the columns."""
    from gateline.features import compute

    found = feature_view(client, version) if isinstance(version, str) else version
    return compute(found.definition, tables(client, found))


def project_feature_views(project: Project) -> dict[str, FeatureView]:
    """Return the views that `[features]` of gateline.toml declares, as `name = "module:attribute"`.

    Raises:
        NotFound: a file or attribute is missing.
        InvalidInput: an attribute is no feature view, or is called otherwise.
    """
    found: dict[str, FeatureView] = {}
    for name, reference in project.settings.get("features", {}).items():
        view = project.load_object(str(reference))
        if not isinstance(view, FeatureView):
            raise InvalidInput(
                f"{reference} of project '{project.name}' is no FeatureView.", next_step="Correct [features] in gateline.toml."
            )
        if view.name != name:
            raise InvalidInput(
                f"gateline.toml calls {reference} '{name}', but the view is called '{view.name}'.", next_step="Use one name in both."
            )
        found[name] = view
    return found
