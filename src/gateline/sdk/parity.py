"""Feature parity of an endpoint, through the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateline.sdk.client import Client


def set_parity(client: Client, endpoint: str, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Declare how an endpoint's features are compared and return the whole plan.

    Args:
        client: The connection.
        endpoint: The endpoint.
        plan: `feature_set` (name or version id), and what differs from the defaults of `gateline.monitoring.ParityPlan`.
    """
    answer: dict[str, Any] = client.put(f"/endpoints/{endpoint}/parity", json=dict(plan))
    return answer


def parity(client: Client, endpoint: str) -> dict[str, Any]:
    """Return plan, watermark, the next day to compare, the newest daily run and unresolved alerts."""
    answer: dict[str, Any] = client.get(f"/endpoints/{endpoint}/parity")
    return answer


def run_parity(client: Client, endpoint: str, *, start: str | None = None, end: str | None = None) -> dict[str, Any]:
    """Compare an interval now and return the run.

    Args:
        client: The connection.
        endpoint: The endpoint.
        start: ISO 8601 with an offset; the begin of the newest closed day when left out.
        end: First instant after the interval; the end of the day of `start` when left out.
    """
    answer: dict[str, Any] = client.post(f"/endpoints/{endpoint}/parity/runs", json={"start": start, "end": end})
    return answer


def parity_runs(client: Client, endpoint: str, *, limit: int = 20) -> list[dict[str, Any]]:
    """Return runs, the newest interval and revision first."""
    answer: list[dict[str, Any]] = client.get(f"/endpoints/{endpoint}/parity/runs", params={"limit": limit})
    return answer
