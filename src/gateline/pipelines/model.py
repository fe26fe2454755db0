"""Pipeline runs, their steps and what starts them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class RunState(StrEnum):
    """Where a run or a step stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What a step returned, kept under its digest.

    Attributes:
        kind: frame (Parquet), file (bytes) or json (canonical JSON).
        sha256: Digest of the stored bytes.
        size_bytes: Their number.
    """

    kind: str
    sha256: str
    size_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """One step of one run.

    Attributes:
        key: Digest of code, parameters, inputs, environment and seed; equal keys give equal results.
        reused_from: The run whose result was reused, or empty when the step was executed.
    """

    run_id: str
    name: str
    state: RunState
    key: str
    attempt: int
    artifact: Artifact | None
    reused_from: str
    started_at: int
    ended_at: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRun:
    """One requested execution of a pipeline.

    Attributes:
        parameters: JSON-able arguments of the pipeline function.
        reason: Why it was asked for, in words.
        lease_owner: The runner that executes it, or empty.
        lease_until: Until when that runner is trusted to be alive, in UTC microseconds.
        result: What the pipeline's last step returned, when that is JSON.
    """

    id: str
    pipeline: str
    state: RunState
    parameters: dict[str, Any]
    reason: str
    requested_by: str
    requested_at: int
    lease_owner: str
    lease_until: int
    result: dict[str, Any]
    failure: str
    steps: tuple[StepRun, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """When alerts of an endpoint start a pipeline.

    Attributes:
        alert_kinds: The kinds of alert that start it: drift, performance.
        cool_down_seconds: Least event time between two starts.
        parameters: Arguments for the pipeline; `as_of` (ISO time of the alert's window end) is added.
    """

    endpoint: str
    pipeline: str
    alert_kinds: tuple[str, ...]
    cool_down_seconds: int
    parameters: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)
