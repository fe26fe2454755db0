"""Chapter 3: a training pipeline of cached steps, which is an MLflow run. Chapter 4: the gates judge the candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.demo.runs import await_run, request_run, require_passed, step_words
from gateline.demo.stage import start_stock_client

if TYPE_CHECKING:
    from gateline.demo.stage import Stage

FIRST_AS_OF = "2013-04-01T04:00:00Z"
HOLDOUT_DAYS = 28
MARKS = {"pass": "ok", "fail": "no", "error": "no", "inconclusive": "warn"}


def tell_training(stage: Stage) -> None:
    """Write the policy down, train on January to March, and show the run."""
    say, more = stage.teller.say, stage.teller.more
    policy = stage.client("developer").post("/gate-policies", json={"policy": stage.settings["gates"]})
    say(f"the policy of the gates is on record before anybody trains: digest {policy['digest'][:16]}…", "ok")
    start_stock_client(stage)
    first = {"as_of": FIRST_AS_OF, "holdout_days": HOLDOUT_DAYS, "seed": 1, "compare": False, "register": "never"}
    run = await_run(stage, request_run(stage, first, reason="The first model."))
    result = run["result"]
    stage.facts |= {"first_run": run, "first": result}
    say(f"pipeline run {run['id']}: {step_words(run)}", "ok")
    metrics = result["metrics"]
    say(
        f"trained on {metrics['training_rows']:,.0f} flights, {metrics['training_late_share']:.1%} of them late; on the "
        f"{metrics['holdout_rows']:,.0f} of the newest {HOLDOUT_DAYS} days: log loss {metrics['holdout_log_loss']:.4f}, "
        f"AUC {metrics['holdout_auc']:.3f}",
        "ok",
    )
    tracked = stage.client("developer").get(f"/runs/{result['run_id']}")
    inputs = ", ".join(sorted(one["version"] for one in tracked["inputs"]))
    metrics = [name for name in tracked["metrics"] if not name.startswith("resources.")]
    say(f"MLflow run {result['run_id']}: inputs {inputs}; {len(tracked['params'])} parameters, {len(metrics)} metrics", "ok")
    more(f"frozen with digest {tracked['digest'][:16]}…, environment {tracked['environment_digest'][:16]}…; {stage.url}/mlflow")


def tell_gates(stage: Stage) -> None:
    """Show every verdict with its sentence."""
    gate = stage.client("developer").get(f"/gate-runs/{stage.facts['first']['gate_run_id']}")
    tell_gate_results(stage, gate)
    require_passed(gate, "the first model")


def tell_gate_results(stage: Stage, gate: dict[str, Any]) -> None:
    """Write one line for each check, and the combined verdict."""
    for one in gate["results"]:
        count = f" [n {one['n']:,}]" if one.get("n") else ""
        stage.teller.say(f"{one['name']}: {one['verdict']}. {one['sentence']}{count}", MARKS[one["verdict"]])
    stage.teller.say(f"gate run {gate['id']}: {gate['verdict']}, signed over model {gate['subject_digest'][:16]}…", MARKS[gate["verdict"]])
