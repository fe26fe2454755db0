"""Models and their versions, through the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateline.kernel.names import split_version_id
from gateline.registry import Approval, HistoryEntry, Meaning, Model, ModelVersion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateline.sdk.client import Client


def register_model(
    client: Client,
    name: str,
    *,
    run_id: str,
    model_files: Mapping[str, str],
    gate_run_id: str,
    feature_set: str,
    dataset_versions: Sequence[str],
    training_frame: str,
    metrics: Mapping[str, float],
    owner: str,
    trained_from: int,
    trained_until: int,
    description: str = "",
) -> ModelVersion:
    """Register a version; the token's principal is its author. The arguments are those of `Registry.register`.

    Raises:
        InvalidInput: something is missing or wrong; all of it is named.
    """
    request = {
        "run_id": run_id, "model_files": dict(model_files), "gate_run_id": gate_run_id, "feature_set": feature_set,
        "dataset_versions": list(dataset_versions), "training_frame": training_frame, "metrics": dict(metrics), "owner": owner,
        "trained_from": trained_from, "trained_until": trained_until, "description": description,
    }  # fmt: skip
    return ModelVersion.from_dict(client.post(f"/models/{name}/versions", json=request))


def models(client: Client) -> list[Model]:
    """Return all models with what is placed where."""
    return [Model(**one) for one in client.get("/models")]


def model_versions(client: Client, name: str) -> list[ModelVersion]:
    """Return the versions of a model, newest first."""
    return [ModelVersion.from_dict(one) for one in client.get(f"/models/{name}/versions")]


def model_version(client: Client, version: str) -> ModelVersion:
    """Return a version by its id, such as `flight-delay@3`."""
    return ModelVersion.from_dict(client.get(_path(version)))


def champion(client: Client, name: str, environment: str = "prod") -> ModelVersion | None:
    """Return the version of a model that is placed in an environment, or None."""
    placed = next((one.environments.get(environment) for one in models(client) if one.name == name), None)
    return None if placed is None else model_version(client, placed)


def approve(client: Client, version: str, *, meaning: Meaning | str = Meaning.APPROVAL, comment: str) -> Approval:
    """Sign a version as the token's principal.

    Raises:
        Denied: the principal contributed to the version, may not approve, or the gates did not pass.
        Conflict: it signed already, or the version is no candidate.
    """
    return Approval.from_dict(client.post(f"{_path(version)}/approvals", json={"meaning": str(meaning), "comment": comment}))


def approvals(client: Client, version: str) -> list[Approval]:
    """Return the signatures under a version, oldest first."""
    return [Approval.from_dict(one) for one in client.get(f"{_path(version)}/approvals")]


def history(client: Client, name: str) -> list[HistoryEntry]:
    """Return what happened to the versions of a model, oldest first."""
    return [HistoryEntry.from_dict(one) for one in client.get(f"/models/{name}/history")]


def _path(version: str) -> str:
    name, number = split_version_id(version)
    return f"/models/{name}/versions/{number}"
