"""Plans for tests, and a runner that executes their steps by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateline.access import Principal, PrincipalKind, Role
from gateline.pipelines import Artifact, Held, Outcome, Report, Runner, StepOptions

if TYPE_CHECKING:
    from gateline.data import ObjectStore
    from gateline.pipelines import PipelineRun, Pipelines, StepClaim, StepRun, Work

WORKER = Principal(name="runner", kind=PrincipalKind.SERVICE, roles=frozenset({Role.RUNNER}))
ENVIRONMENT = "e" * 64


def node(name: str, arguments: dict[str, Any] | None = None, *, options: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    """A node of a plan; an argument that is text stands for the node of that name."""
    bound = {key: {"node": one} if isinstance(one, str) else one for key, one in (arguments or {}).items()}
    return {
        "name": name, "step": name, "reference": f"steps:{name}", "arguments": bound,
        "options": StepOptions(**(options or {})).as_dict(), "outputs": [{"name": "result", "kind": None}], **rest,
    }  # fmt: skip


def plan(*nodes: dict[str, Any], output: str | None = None) -> dict[str, Any]:
    """A plan whose output is that of the last node."""
    return {"format": 1, "pipeline": "train", "nodes": list(nodes), "output": {"node": output or nodes[-1]["name"]}}


def runner(name: str = "r1", **rest: Any) -> Runner:
    """A runner of the project."""
    return Runner(**{"name": name, "project": "p", "pipelines": ("train",), **rest})


def held(claim: StepClaim) -> Held:
    """What a runner says it holds."""
    return Held(run_id=claim.run_id, node=claim.node["name"], index=claim.index, attempt=claim.attempt)


class Hand:
    """Works on runs by hand.

    Args:
        pipelines: The service under test.
        objects: Its object store.
    """

    def __init__(self, pipelines: Pipelines, objects: ObjectStore) -> None:
        self.pipelines = pipelines
        self.desk = pipelines.desk
        self.objects = objects
        self.executed: list[str] = []

    def start(self, drawn: dict[str, Any], *, who: Runner | None = None, code: str = "c", **request: Any) -> tuple[str, Work]:
        """Ask for a run and draw it."""
        who = who or runner()
        run = self.pipelines.request(WORKER, "train", request.pop("parameters", {}), **request)
        found = self.desk.claim(WORKER, who)
        assert found.draw is not None
        assert found.draw.id == run.id
        codes = {one["name"]: f"{code}-{one['step']}" for one in drawn["nodes"]}
        return run.id, self.desk.draw(WORKER, run.id, who, drawn, codes, ENVIRONMENT)

    def store(self, value: Any, name: str = "result") -> Artifact:
        """Store a JSON value."""
        stored = self.objects.put_bytes(json.dumps(value).encode())
        return Artifact(name=name, kind="json", sha256=stored.sha256, size_bytes=stored.size_bytes)

    def value(self, argument: dict[str, Any]) -> Any:
        """The value of an argument as a runner resolves it."""
        if "value" in argument:
            return argument["value"]
        if "artifact" in argument:
            return json.loads(self.objects.path(argument["artifact"]["sha256"]).read_bytes())
        return [self.value(one) for one in argument["list"]]

    def succeed(self, claim: StepClaim, value: Any, *, who: Runner | None = None, then: Runner | None = None) -> tuple[StepRun, Work]:
        """Hand in a result."""
        self.executed.append(claim.node["name"])
        report = Report(outcome=Outcome.SUCCEEDED, artifacts=(self.store(value),))
        return self.desk.finish(WORKER, held(claim), (who or runner()).name, report, then=then)

    def fail(self, claim: StepClaim, outcome: Outcome = Outcome.FAILED, *, detail: str = "It broke.", **rest: Any) -> StepRun:
        """Hand in a failure."""
        return self.desk.finish(WORKER, held(claim), runner().name, Report(outcome=outcome, detail=detail, **rest))[0]

    def work_off(self, work: Work, functions: dict[str, Any]) -> None:
        """Execute steps until nothing is left; functions take the values of the arguments by name."""
        while work.step is not None:
            claim = work.step
            arguments = {name: self.value(one) for name, one in claim.arguments.items()}
            work = self.succeed(claim, functions[claim.node["step"]](**arguments), then=runner())[1]

    def states(self, run_id: str) -> dict[str, str]:
        """Step name to state; a mapped node as a whole has its name with a star."""
        return {f"{one.node}*" if one.index < 0 else one.name: one.state.value for one in self.run(run_id).steps}

    def run(self, run_id: str) -> PipelineRun:
        """The run as it stands."""
        return self.pipelines.get(run_id)
