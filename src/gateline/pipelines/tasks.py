"""What passes between runners and the desk where they get their work."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import InvalidInput
from gateline.pipelines.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.pipelines.model import Artifact, PipelineRun
    from gateline.pipelines.plan import Plan, PlanNode

_DIGEST_LENGTH_MAX = 200


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
        inline: The kinds of executor whose steps it carries out in its own process, one after the other, so that it can be given several.
        run_id: Takes work of this run alone, when it is not empty.
        cpus: Takes no step that asks for more.
    """

    name: str
    project: str
    pipelines: tuple[str, ...]
    executors: tuple[str, ...] = ("process", "inline")
    inline: tuple[str, ...] = ()
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
        ahead: Steps that it may go on with before it reports; see `gateline.pipelines.ahead`.
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
    ahead: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How an attempt ended, as its runner says.

    Attributes:
        artifacts: What it returned; empty unless it succeeded.
        seconds: How long it took, of a step that was given ahead.
        retry: False when another attempt cannot help.
    """

    outcome: Outcome
    artifacts: tuple[Artifact, ...] = ()
    detail: str = ""
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    log_sha256: str = ""
    seconds: float = 0
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


def check_keys(plan: Plan, codes: Mapping[str, str], environment: str) -> None:
    """Check that the key of each step will say which code made its result, and where; else different steps could share one.

    Raises:
        InvalidInput: a node has no digest of its code, or the environment has none.
    """
    names = {node.name for node in plan.nodes}
    wrong = sorted(names ^ codes.keys() | {name for name, code in codes.items() if not 1 <= len(code) <= _DIGEST_LENGTH_MAX})
    if wrong:
        raise InvalidInput(f"A plan comes with the digest of the code of each node; these are wrong: {', '.join(wrong)[:500]}.")
    if not environment:
        raise InvalidInput("A plan comes with the digest of the environment that its steps run in.")


def check_outputs(node: PlanNode, report: Report) -> None:
    """Check that a step that succeeded handed in what the plan says it returns.

    Raises:
        InvalidInput: the outputs have other names or kinds.
    """
    if report.outcome is not Outcome.SUCCEEDED:
        return
    wanted, given = [one.name for one in node.outputs], [one.name for one in report.artifacts]
    if sorted(wanted) != sorted(given):
        told = ", ".join(given)[:500] or "none"
        raise InvalidInput(f"Step '{node.name}' declares the outputs {', '.join(wanted)}; handed in are {told}.")
    kinds = {one.name: one.kind for one in node.outputs}
    for one in report.artifacts:
        if kinds[one.name] not in {None, one.kind}:
            raise InvalidInput(f"Output '{one.name}' of step '{node.name}' is of kind {kinds[one.name]}; handed in is a {one.kind}.")
