"""Gate policies and gate runs, through the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateline.gates import GateRun, Policy, PolicyRecord, parse_policy_toml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gateline.sdk.client import Client


def read_policy(path: Path) -> Policy:
    """Return the policy in the `[gates]` table of a project's gateline.toml.

    Raises:
        InvalidInput: the table is missing or has mistakes; all of them are named.
    """
    return parse_policy_toml(path.read_text(encoding="utf-8"))


def record_policy(client: Client, policy: Policy) -> PolicyRecord:
    """Write a policy down on the server, so that gate runs may use it. Do it before training."""
    return PolicyRecord(**client.post("/gate-policies", json={"policy": policy.as_dict()}))


def run_gates(
    client: Client,
    *,
    run_id: str,
    files: Mapping[str, str],
    training_frame: str,
    trained_until: int,
    frame: str,
    policy: Policy,
    champion: str = "",
    suite: Sequence[str] | None = None,
    force: bool = False,
) -> GateRun:
    """Have a model judged and return the signed record.

    Args:
        client: The connection.
        run_id: The tracked run that trained it.
        files: Manifest of the served form {path: sha256}; the files are uploaded.
        training_frame: SHA-256 of the uploaded Parquet file with exactly the rows it was trained on.
        trained_until: End of the training period in UTC microseconds.
        frame: SHA-256 of the uploaded Parquet file with the holdout rows.
        policy: The thresholds, recorded before.
        champion: Id of the version to compare with; empty compares with none.
        suite: Checks to make; those the policy requires when left out.
        force: Whether to judge again what was judged already.
    """
    subject = {"run_id": run_id, "files": dict(files), "training_frame": training_frame, "trained_until": trained_until}
    request = {
        "subject": subject, "frame": frame, "policy": policy.as_dict(), "champion": champion,
        "suite": None if suite is None else list(suite), "force": force,
    }  # fmt: skip
    return GateRun.from_dict(client.post("/gate-runs", json=request))


def gate_run(client: Client, gate_run_id: str) -> GateRun:
    """Return a gate run."""
    return GateRun.from_dict(client.get(f"/gate-runs/{gate_run_id}"))
