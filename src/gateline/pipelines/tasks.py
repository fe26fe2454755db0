"""What passes between runners and the desk where they get their work."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateline.pipelines.model import Artifact, Outcome, PipelineRun


FAR = "ray"
"""The executor whose steps run elsewhere: processors of the runner's machine do not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Who asks for work, and what it can do.

    Attributes:
        name: Unique among all processes.
        project: The project whose code it has.
        pipelines: The pipelines that the project declares.
        executors: The kinds of executor that it has.
        run_id: Takes work of this run alone, when it is not empty.
        cpus: Takes no step that asks for more.
    """

    name: str
    project: str
    pipelines: tuple[str, ...]
    executors: tuple[str, ...] = ("process", "inline")
    run_id: str = ""
    cpus: float = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepClaim:
    """A step that a runner is to execute.

    Attributes:
        node: The plan's node: reference of the function, options, outputs.
        arguments: Name to `{"value": …}`, `{"artifact": …}`, or `{"list": […]}` and `{"fields": {…}}` of these.
        code: Digest of the step's code when the run was drawn; other code must not be run under this claim.
        lease_seconds: How long the runner may stay silent.
        job: URL of the job that an earlier attempt was sent as, which may still be under way; or empty.
    """

    run_id: str
    pipeline: str
    parameters: dict[str, Any]
    node: dict[str, Any]
    index: int
    attempt: int
    arguments: dict[str, Any]
    key: str
    code: str
    lease_seconds: float
    job: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How an attempt ended, as its runner says.

    Attributes:
        artifacts: What it returned; empty unless it succeeded.
        retry: False when another attempt cannot help.
    """

    outcome: Outcome
    artifacts: tuple[Artifact, ...] = ()
    detail: str = ""
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    log_sha256: str = ""
    retry: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An attempt that a runner believes to hold, with what it wrote since the last heartbeat.

    Attributes:
        offset: Position of `text` in all that the attempt wrote.
    """

    run_id: str
    node: str
    index: int
    attempt: int
    offset: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a runner is to do next: draw the plan of a run, execute a step, or nothing."""

    draw: PipelineRun | None = None
    step: StepClaim | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"draw": self.draw and self.draw.as_dict(), "step": self.step and self.step.as_dict()}
