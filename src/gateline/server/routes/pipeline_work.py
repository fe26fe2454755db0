"""What runners call: get work, keep it, hand it in."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from gateline.access import Permission
from gateline.kernel.canonical import sha256_bytes
from gateline.pipelines import Artifact, ArtifactKind, Held, Outcome, Report, Runner
from gateline.server.security import Application, Caller, permission, public

router = APIRouter(tags=["pipelines"])

_INLINE_CHARACTERS_MAX = 1 << 20
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, Path(ge=0)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Worker(_Body):
    """Who asks for work, and what it can do."""

    name: str = Field(min_length=1, max_length=200)
    project: str = Field(max_length=100)
    pipelines: list[str] = Field(max_length=1000)
    executors: list[str] = ["process", "inline"]
    inline: list[str] = []
    run_id: str = ""
    cpus: float | None = Field(default=None, ge=0)

    def value(self) -> Runner:
        """Return the domain value."""
        return Runner(
            name=self.name, project=self.project, pipelines=tuple(self.pipelines), executors=tuple(self.executors),
            inline=tuple(self.inline), run_id=self.run_id,
            cpus=float("inf") if self.cpus is None else self.cpus,
        )  # fmt: skip


class PlanDrawn(_Body):
    """The plan of a run, with the digests of its code and environment; or why there is none."""

    runner: Worker
    plan: dict[str, Any] = {}
    codes: dict[str, str] = {}
    environment: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    failure: str = Field(default="", max_length=10_000)


class HeldAttempt(_Body):
    """An attempt that the runner believes to hold, and what it wrote since it was last heard of."""

    run_id: str
    node: str
    index: int = Field(ge=0)
    attempt: int = Field(ge=1)
    offset: int = Field(default=0, ge=0)
    text: str = Field(default="", max_length=_INLINE_CHARACTERS_MAX)


class Dead(_Body):
    """A runner that is known to have died."""

    runner: str = Field(min_length=1, max_length=200)


class Heartbeat(_Body):
    """A runner that lives."""

    runner: str = Field(min_length=1, max_length=200)
    held: list[HeldAttempt] = Field(default=[], max_length=1000)
    drawing: str = ""


class JobSent(_Body):
    """The job that an attempt is sent as."""

    runner: str = Field(min_length=1, max_length=200)
    job: str = Field(pattern="^https?://", max_length=1000)


class TicketShown(_Body):
    """A job that begins."""

    run_id: str
    node: str
    index: int = Field(ge=0)
    ticket: str = Field(min_length=1, max_length=100)
    worker: str = Field(min_length=1, max_length=200)


class Handed(_Body):
    """A result: a file that was uploaded, or small content that comes along."""

    name: str = Field(default="result", max_length=100)
    kind: ArtifactKind
    sha256: _Digest | None = None
    content: str | None = Field(default=None, max_length=_INLINE_CHARACTERS_MAX)

    def value(self) -> Artifact:
        """Return the domain value."""
        sha256 = self.sha256 or sha256_bytes((self.content or "").encode())
        return Artifact(name=self.name, kind=self.kind, sha256=sha256, size_bytes=0)


class Ended(_Body):
    """How an execution ended."""

    outcome: Outcome
    artifacts: list[Handed] = Field(default=[], max_length=100)
    detail: str = Field(default="", max_length=10_000)
    cpu_seconds: float | None = Field(default=None, ge=0)
    peak_memory_bytes: int | None = Field(default=None, ge=0)
    log: str = Field(default="", max_length=_INLINE_CHARACTERS_MAX)
    log_sha256: _Digest | None = None
    retry: bool = True

    def contents(self) -> list[bytes]:
        """Return what came along and is to be stored."""
        handed = [(one.content or "").encode() for one in self.artifacts if one.sha256 is None]
        return [*handed, self.log.encode()] if self.log else handed

    def value(self, *, seconds: float = 0) -> Report:
        """Return the domain value."""
        log = self.log_sha256 or (sha256_bytes(self.log.encode()) if self.log else "")
        return Report(
            outcome=self.outcome, artifacts=tuple(one.value() for one in self.artifacts), detail=self.detail,
            cpu_seconds=self.cpu_seconds, peak_memory_bytes=self.peak_memory_bytes, log_sha256=log, seconds=seconds, retry=self.retry,
        )  # fmt: skip


class AheadEnded(Ended):
    """How a step ended that was given ahead, and how long it took."""

    node: str
    seconds: float = Field(ge=0, le=86_400)


class AttemptEnded(Ended):
    """How an attempt ended, and the steps that were given ahead with it."""

    runner: str = Field(min_length=1, max_length=200)
    ahead: list[AheadEnded] = Field(default=[], max_length=100)
    then: Worker | None = None


@router.post("/pipeline-work/claim", openapi_extra=permission(Permission.PIPELINE_WORK), response_model=dict[str, Any])
def claim_work(body: Worker, app: Application, caller: Caller) -> JSONResponse:
    """Get the next thing to do under a lease of 15 s: `draw` a run, execute a `step`, or neither."""
    return JSONResponse(app.pipelines.desk.claim(caller, body.value()).as_dict())


@router.post("/pipeline-work/heartbeat", openapi_extra=permission(Permission.PIPELINE_WORK))
def heartbeat(body: Heartbeat, app: Application, caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - the caller is checked
    """Keep leases, and hand in output; for each attempt the answer is go_on, cancel or gone."""
    held = [Held(**one.model_dump()) for one in body.held]
    return {"answers": app.pipelines.desk.heartbeat(body.runner, held, body.drawing)}


@router.post("/pipeline-work/withdraw", openapi_extra=permission(Permission.PIPELINE_WORK))
def withdraw_runner(body: Dead, app: Application, caller: Caller) -> dict[str, Any]:
    """Take back at once what a dead runner holds, without waiting for its leases to run out."""
    return {"taken_back": app.pipelines.desk.withdraw(caller, body.runner)}


@router.post("/pipeline-runs/{run_id}/plan", openapi_extra=permission(Permission.PIPELINE_WORK))
def post_plan(run_id: str, body: PlanDrawn, app: Application, caller: Caller) -> dict[str, Any]:
    """Hand in the plan of a run and get the next thing to do; with a failure, the run is closed."""
    runner, desk = body.runner.value(), app.pipelines.desk
    if body.failure:
        desk.refuse(caller, run_id, runner.name, body.failure)
        return desk.claim(caller, runner).as_dict()
    return desk.draw(caller, run_id, runner, body.plan, body.codes, body.environment).as_dict()


@router.post(
    "/pipeline-runs/{run_id}/steps/{node}/{index}/attempts/{attempt}/end",
    openapi_extra=permission(Permission.PIPELINE_WORK),
    response_model=dict[str, Any],
)
def end_attempt(
    run_id: str, node: str, index: _Count, attempt: _Count, body: AttemptEnded, app: Application, caller: Caller
) -> JSONResponse:
    """Hand in how an attempt ended; with `then`, get the next thing to do in the same answer. A lease that was lost is refused.

    `ahead` are the steps that were given ahead with it and executed too; those that need not be executed now count for nothing.
    """
    held = Held(run_id=run_id, node=node, index=index, attempt=attempt)
    app.objects.put_all([content for one in (body, *body.ahead) for content in one.contents()])
    ahead = [(one.node, one.value(seconds=one.seconds)) for one in body.ahead]
    then = None if body.then is None else body.then.value()
    step, work = app.pipelines.desk.finish(caller, held, body.runner, body.value(), ahead=ahead, then=then)
    return JSONResponse({"ended": step.as_dict(), **work.as_dict()})


@router.post("/pipeline-runs/{run_id}/steps/{node}/{index}/attempts/{attempt}/job", openapi_extra=permission(Permission.PIPELINE_WORK))
def send_job(run_id: str, node: str, index: _Count, attempt: _Count, body: JobSent, app: Application, caller: Caller) -> dict[str, str]:
    """Record the job that an attempt is about to be sent as, such as one of Ray; the ticket that comes back works once, for that job."""
    held = Held(run_id=run_id, node=node, index=index, attempt=attempt)
    return {"ticket": app.jobs.send(caller, held, body.runner, body.job)}


@router.post("/pipeline-work/take", openapi_extra=public("The ticket in the body is the credential; it works once, for one step."))
def take_step(body: TicketShown, app: Application) -> dict[str, Any]:
    """Give a step to the job that was sent for it, with a token that works until its attempt ends."""
    return app.jobs.take(body.run_id, body.node, body.index, body.ticket, body.worker).as_dict()
