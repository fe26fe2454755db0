"""Asking for pipeline runs and following them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.demo.processes import wait_for
from gateline.kernel.clock import SECOND
from gateline.kernel.errors import StepFailed

if TYPE_CHECKING:
    from gateline.demo.stage import Stage

PIPELINE = "train"
RUN_SECONDS_MAX = 240.0


def request_run(stage: Stage, parameters: dict[str, Any], *, reason: str) -> str:
    """Queue a run of the training pipeline as the developer and return its id."""
    asked = {"feature_set": stage.facts["feature_set"].id, "model": stage.model, **parameters}
    run = stage.client("developer").post(f"/pipelines/{PIPELINE}/runs", json={"parameters": asked, "reason": reason})
    return str(run["id"])


def await_run(stage: Stage, run_id: str) -> dict[str, Any]:
    """Wait until a run is over and return it.

    Raises:
        StepFailed: it failed; the message names the step.
    """

    def finished() -> dict[str, Any] | None:
        run: dict[str, Any] = stage.client("developer").get(f"/pipeline-runs/{run_id}")
        return run if run["over"] else None

    run = wait_for(f"pipeline run {run_id}", finished, seconds=RUN_SECONDS_MAX, children=stage.children, pause=0.1)
    if run["state"] != "succeeded":
        raise StepFailed(f"Pipeline run {run_id} {run['state']}: {run['failure']}")
    return run


def step_words(run: dict[str, Any]) -> str:
    """Return the steps of a run with their seconds, reused ones named as such."""
    words = []
    for one in run["steps"]:
        if one["reused_from"]:
            words.append(f"{one['name']} reused")
        else:
            words.append(f"{one['name']} {(one['ended_at'] - one['started_at']) / SECOND:.1f} s")
    return ", ".join(words)


def artifact(run: dict[str, Any], step: str) -> str:
    """Return the SHA-256 of what a step returned."""
    for one in run["steps"]:
        if one["name"] == step and one["artifact"]:
            return str(one["artifact"]["sha256"])
    raise StepFailed(f"Run {run['id']} has no artifact of step '{step}'.")


def require_passed(gate: dict[str, Any], whose: str) -> None:
    """Raise StepFailed, quoting every check that did not pass, unless the gate is open."""
    if gate["verdict"] != "pass":
        words = "; ".join(f"{one['name']}: {one['sentence']}" for one in gate["results"] if one["verdict"] != "pass")
        raise StepFailed(f"The gates of {whose} ended with {gate['verdict']}. {words}")
