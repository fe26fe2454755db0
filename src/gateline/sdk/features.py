"""Feature sets, through the API; their features are computed here, from the pinned tables."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from gateline.features import FeatureFit, FeatureSet, FeatureSetVersion, Leak, LeakKind, fit_from_dict, split_fit_id, version_from_dict
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

    A view that is deprecated is warned about.

    Args:
        client: The connection.
        feature_set: The declaration.
        dataset_versions: Dataset name to the version to pin; the newest where none is given.

    Raises:
        InvalidInput: the declaration has mistakes or sees the future; all are named.
    """
    body = {"definition": feature_set.as_dict(), "dataset_versions": dict(dataset_versions or {})}
    answer = client.post("/feature-sets", json=body)
    for sentence in answer["warnings"]:
        warnings.warn(sentence, FutureWarning, stacklevel=2)
    return version_from_dict(answer)


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
    answer = client.post(f"{_path(found)}/check", params={"seed": seed, "rows": rows})
    return [Leak(kind=LeakKind(one["kind"]), **{name: one[name] for name in ("feature", "row", "t", "detail")}) for one in answer["leaks"]]


def tables(client: Client, version: FeatureSetVersion) -> dict[str, tuple[Path, ...]]:
    """Return dataset name to local Parquet files for the versions that a set pins, each checked against its digest."""
    return {name: table(client, pin) for name, pin in version.dataset_versions.items()}


def compute_features(client: Client, version: FeatureSetVersion | str, *, fitted: FeatureFit | str | None = None) -> pl.DataFrame:
    """Compute a version (or its id) in this process over the tables it pins; see `gateline.features.compute` for the columns.

    With a fit (or its id), features are transformed by it, to the values that the online read with this fit returns. A column that is a
    slice as well as a feature appears once, transformed.

    Raises:
        InvalidInput: the fit is of another feature set version.
    """
    from gateline.features import compute

    found = feature_set(client, version) if isinstance(version, str) else version
    fit = feature_fit(client, fitted) if isinstance(fitted, str) else fitted
    if fit is not None:
        fit.check(found.id)
    rows = compute(found.definition, tables(client, found))
    return rows if fit is None else fit.apply(rows, found.id)


def fit_features(
    client: Client,
    version: FeatureSetVersion | str,
    *,
    start: str | None = None,
    end: str | None = None,
    dataset_versions: Mapping[str, int] | None = None,
) -> FeatureFit:
    """Fit the transforms of a version (or its id, or the newest of a name) to its rows with `start <= t < end`, and keep the fit.

    The same version, data and window return the same fit.

    Args:
        client: The connection.
        version: The feature set version.
        start: ISO 8601 with an offset; None for no limit.
        end: ISO 8601 with an offset; None for no limit.
        dataset_versions: Dataset name to the version to read; the one that the set pins where none is given.

    Raises:
        InvalidInput: the set declares no transforms, the window has no rows, or there is nothing to learn.
    """
    found = feature_set(client, version) if isinstance(version, str) else version
    body = {"start": start, "end": end, "dataset_versions": dict(dataset_versions or {})}
    return fit_from_dict(client.post(f"{_path(found)}/fits", json=body))


def feature_fits(client: Client, version: FeatureSetVersion | str) -> list[FeatureFit]:
    """Return the fits of a version (or its id, or the newest of a name), oldest first."""
    found = feature_set(client, version) if isinstance(version, str) else version
    return [fit_from_dict(one) for one in client.get(f"{_path(found)}/fits")]


def feature_fit(client: Client, wanted: str) -> FeatureFit:
    """Return a fit by its id (`flight_delay@1/fit@2`), or the newest of a feature set version (`flight_delay@1`, `flight_delay`).

    Raises:
        NotFound: there is no such fit.
        IntegrityFailure: its record does not agree with its digest, or with the ledger.
    """
    if "/" not in wanted:
        return fit_from_dict(client.get(f"{_path(feature_set(client, wanted))}/fits/latest"))
    name, version, number = split_fit_id(wanted)
    return fit_from_dict(client.get(f"/feature-sets/{name}/versions/{version}/fits/{number}"))


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


def _path(version: FeatureSetVersion) -> str:
    return f"/feature-sets/{version.name}/versions/{version.version}"
