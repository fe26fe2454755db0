"""Pipeline runs, their steps, the attempts at them, and what starts runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class RunState(StrEnum):
    """Where a run stands. `waiting` is derived: nothing can go on before somebody approves a step."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


RUN_FINISHED = "pipeline.run.finished"
"""The event, and the ledger entry, of a run that is over."""

OPEN_RUNS = (RunState.QUEUED, RunState.RUNNING)
"""The states that are kept of a run that is not over."""


class StepState(StrEnum):
    """Where a step stands: waiting for others, ready for a runner, with a runner, or over."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


OPEN_STEPS = (StepState.WAITING, StepState.READY, StepState.RUNNING)


class Outcome(StrEnum):
    """How an attempt ended.

    `failed`: the code raised. `exited`: the process ended without a result. `lost`: its runner was not heard of in time.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    CANCELLED = "cancelled"
    EXITED = "exited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Something a step returned, kept under its digest.

    Attributes:
        name: The output's name; `result` when the step names none.
        kind: How the bytes are read, an `ArtifactKind`.
        sha256: Digest of the stored bytes.
        size_bytes: Their number.
    """

    name: str = "result"
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
        node: The node of the plan.
        name: The node's name; of an item of a mapped node, with its index: `fit[0]`.
        index: Which item of a mapped node, from 0; 0 for a plain node; -1 for the mapped node as a whole.
        key: Digest of code, environment, values, inputs and seed; equal keys give equal results. Empty until all of them are known.
        artifacts: What it returned.
        reused_from: The run whose result was reused, or empty when the step was executed.
        attempts: How often a runner began it.
        width: Number of items of a mapped node; None for others, and before it is known.
        approved_by: Who approved a step that waits for approval.
        job: URL of the job that its attempt under way was sent as, such as one of Ray; or empty.
    """

    run_id: str
    node: str
    name: str
    index: int
    state: StepState
    key: str
    artifacts: tuple[Artifact, ...]
    reused_from: str
    attempts: int
    failure: str
    started_at: int | None
    ended_at: int | None
    width: int | None
    approved_by: str
    job: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, with `artifact`: the first of the artifacts."""
        return {**asdict(self), "artifact": self.artifacts[0].as_dict() if self.artifacts else None}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAttempt:
    """One runner's try at one step; the history is only added to.

    Attributes:
        outcome: How it ended; None while it is under way.
        detail: What went wrong, in words.
        cpu_seconds: Processor time of its process and the processes below it.
        peak_memory_bytes: The most resident memory of all of them together.
        log_sha256: What it wrote, in the object store; empty when it wrote nothing.
        job: URL of the job that it was sent as, such as one of Ray; or empty.
    """

    run_id: str
    node: str
    index: int
    attempt: int
    runner: str
    lease_until: int
    started_at: int
    ended_at: int | None
    outcome: Outcome | None
    detail: str
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    log_sha256: str
    job: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRun:
    """One requested execution of a pipeline.

    Attributes:
        parameters: JSON-able arguments of the pipeline function.
        project: The project whose code it runs; empty until a runner has drawn it.
        reason: Why it was asked for, in words.
        priority: Runs with a greater one are worked on first.
        parent: The run that this one belongs to, or empty.
        cancelled_by: Who asked for it to be cancelled, or empty.
        result: What the pipeline's output step returned, when that is a JSON object.
        mlflow_run_id: The MLflow run that it logs to, or empty.
        on_behalf_of: Who declared the schedule, trigger or backfill that asked for it, or empty.
        held: Why it may not begin yet, by the limits of its pipeline; empty when nothing but a runner is missing.
    """

    id: str
    pipeline: str
    state: RunState
    parameters: dict[str, Any]
    project: str
    reason: str
    requested_by: str
    requested_at: int
    started_at: int | None
    ended_at: int | None
    priority: int
    parent: str
    schedule: str
    cancelled_by: str
    result: dict[str, Any]
    failure: str
    mlflow_run_id: str
    on_behalf_of: str
    held: str
    steps: tuple[StepRun, ...] = ()

    @property
    def over(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state in {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        shallow = {name: getattr(self, name) for name in self.__slots__}
        return {**shallow, "over": self.over, "steps": [step.as_dict() for step in self.steps]}


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
