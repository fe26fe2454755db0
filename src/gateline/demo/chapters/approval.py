"""Chapter 5: registration, an approval by somebody else, the release, and a stock MLflow client at a closed door."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateline.demo.chapters.training import FIRST_AS_OF, HOLDOUT_DAYS
from gateline.demo.follow import await_route
from gateline.demo.processes import wait_for
from gateline.demo.runs import request_run
from gateline.demo.stage import ENVIRONMENT, version_path
from gateline.kernel.errors import Denied, StepFailed, Unavailable

if TYPE_CHECKING:
    from gateline.demo.stage import Stage

CHALLENGER_SEED = 2
_REFUSED = 403


def tell(stage: Stage) -> None:
    """Register, be refused, be approved, release; then let the stock client try the alias."""
    say, more = stage.teller.say, stage.teller.more
    version = register(stage, stage.facts["first"]["registration"])
    say(f"{version['id']} is registered: {version['state']}, owner '{version['owner']}', author '{version['created_by']}'", "ok")
    more(f"from run {version['run_id'][:12]}…, {version['feature_set']}, {', '.join(version['dataset_versions'])}")
    try:
        approve(stage, "developer", version["id"], "I wrote it, it is good.")
    except Denied as error:
        say(f"its author, who is a validator too, tries to approve it: refused. {error.message}", "no")
    else:
        raise StepFailed(f"The author could approve {version['id']}.")
    approval = approve(stage, "validator", version["id"], "Gates passed; holdout and slices read.")
    say(f"the validator approves: signed statement {approval['id']} over the model's digests", "ok")
    create_endpoint(stage)
    rollout = release(stage, version["id"])
    say(f"the operator releases it to endpoint '{stage.model}': {rollout['reason']}", "ok")
    stage.facts["champion"] = version["id"]
    settings = {"as_of": FIRST_AS_OF, "holdout_days": HOLDOUT_DAYS, "compare": False, "register": "never"}
    stage.facts["challenger_run"] = request_run(stage, {**settings, "seed": CHALLENGER_SEED}, reason="An ordinary challenger.")
    _try_alias(stage)


def register(stage: Stage, registration: dict[str, Any]) -> dict[str, Any]:
    """Register a version as the developer, who becomes its author."""
    found: dict[str, Any] = stage.client("developer").post(f"/models/{stage.model}/versions", json=registration)
    return found


def approve(stage: Stage, role: str, version: str, comment: str) -> dict[str, Any]:
    """Sign the approval of a version as a role; raises Denied when policy refuses."""
    body = {"meaning": "approval", "comment": comment}
    found: dict[str, Any] = stage.client(role).post(f"{version_path(version)}/approvals", json=body)
    return found


def create_endpoint(stage: Stage) -> None:
    """Create the endpoint with the features of the set, and say what is watched on it."""
    operator = stage.client("operator")
    features = [{"name": one.name, "kind": str(one.kind)} for one in stage.facts["feature_set"].features]
    latency = stage.settings["gates"]["latency"]["p99_ms_max"]
    operator.post(
        "/endpoints",
        json={"name": stage.model, "model": stage.model, "environment": ENVIRONMENT, "features": features, "latency_ms_p99": latency},
    )
    operator.put(f"/endpoints/{stage.model}/monitor", json=stage.settings["monitor"])


def set_reference(stage: Stage, version: str, reference: dict[str, str]) -> None:
    """Say what the windows that a version answers are held against: the newest rows before it, which it was judged on, and its scores."""
    stage.client("operator").put(f"/endpoints/{stage.model}/monitor/reference", json={**reference, "version": version})


def release(stage: Stage, version: str) -> dict[str, Any]:
    """Release a version as the operator, wait until the workers have the route, and return the rollout."""
    body = {"model_version": version, "endpoint": stage.model, "plan": stage.settings["rollout"] | stage.options.plan}
    released = stage.client("operator").post("/releases", json=body)
    await_route(stage)
    rollout: dict[str, Any] = stage.client("operator").get(f"/rollouts/{released['rollout_id']}")
    return rollout


def _try_alias(stage: Stage) -> None:
    """Let the stock client read the registry, which it may, and move @production, which it may not."""
    order = {"uri": f"{stage.url}/mlflow", "token": stage.tokens["developer"], "model": stage.model, "version": "1", "alias": "production"}
    hello = _line(stage)
    read = wait_for("the model in MLflow's registry", lambda: _read(stage, order), seconds=60, children=stage.children, pause=0.2)
    stage.teller.say(f"a stock mlflow {hello['mlflow']} client reads the registry: {read['versions']} version(s) of '{stage.model}'", "ok")
    answer = _ask(stage, {**order, "move": True})
    if answer["moved"] or answer["status"] != _REFUSED:
        raise StepFailed(f"The stock client was not refused with {_REFUSED}: {answer}")
    stage.teller.say(f"it tries to move @production: {answer['status']} {answer['code']}. {str(answer['message'])[:160]}", "no")


def _read(stage: Stage, order: dict[str, Any]) -> dict[str, Any] | None:
    answer = _ask(stage, {**order, "move": False})
    return answer if answer.get("versions") else None


def _ask(stage: Stage, order: dict[str, Any]) -> dict[str, Any]:
    stock = stage.stock
    if stock is None or stock.process.stdin is None:
        raise Unavailable("The stock client was not started.")
    stock.process.stdin.write(json.dumps(order).encode() + b"\n")
    stock.process.stdin.flush()
    return _line(stage)


def _line(stage: Stage) -> dict[str, Any]:
    stock = stage.stock
    line = stock.process.stdout.readline() if stock is not None and stock.process.stdout is not None else b""
    if not line:
        raise Unavailable(f"The stock client ended.\n{stock.tail() if stock is not None else ''}")
    answer: dict[str, Any] = json.loads(line)
    return answer
