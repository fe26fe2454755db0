"""Releases and rollouts, through the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateline.sdk.client import Client


def release(client: Client, model_version: str, endpoint: str, plan: dict[str, Any] | None = None) -> dict[str, Any]:
    """Start the rollout of an approved version; returns the release, whose `rollout_id` names the rollout."""
    body = {"model_version": model_version, "endpoint": endpoint, "plan": plan or {}}
    answer: dict[str, Any] = client.post("/releases", json=body)
    return answer


def rollout(client: Client, rollout_id: str) -> dict[str, Any]:
    """Return a rollout with its state, evidence and reason."""
    answer: dict[str, Any] = client.get(f"/rollouts/{rollout_id}")
    return answer
