"""Chapter 8: week after week, drift and performance on late labels; alerts train candidates; the demo prints what really happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.demo.chapters.approval import approve, release, set_reference
from gateline.demo.chapters.canary import CHUNK, begin_probation
from gateline.demo.chapters.serving import AFTER_ALLOWANCE, END, label_stop, week_ends
from gateline.demo.chapters.weeks import tell_week
from gateline.demo.follow import await_canary, await_probation, await_windows
from gateline.demo.runs import PIPELINE, await_run
from gateline.kernel.clock import Instant, iso

if TYPE_CHECKING:
    from gateline.demo.stage import Stage

REVIEW_WEEKS = 3


def tell(stage: Stage) -> None:
    """Replay the rest of the year week by week and tell each closed window, candidate, verdict and rollout.

    A week is told when the next one has been replayed: requests do not wait for the analysis of the week before.
    """
    _declare_retraining(stage)
    stage.facts |= {"seen_runs": _run_ids(stage), "awaited": {}, "verdicts": [], "rolled_back": []}
    ends = week_ends()
    untold: Instant | None = None
    with stage.teller.progress(len(ends), "weeks") as bar:
        for end in ends:
            _play(stage, label_stop(stage, end) + AFTER_ALLOWANCE)
            if stage.playing.schedule.exhausted:
                stage.playing.play_remaining_labels()
            if untold is not None:
                _tell_week(stage, untold)
            untold = end
            bar.advance(1, f"week to {iso(end)[:10]}")
        if untold is not None:
            _tell_week(stage, untold)
    for run_id in list(stage.facts["awaited"]):
        _take_up(stage, run_id)
    _tell_sum(stage)


def _tell_week(stage: Stage, end: Instant) -> None:
    """Tell a week once its windows are closed, and what follows from it."""
    tell_week(stage, await_windows(stage, end))
    _follow_probation(stage)
    _follow_candidates(stage)


def _declare_retraining(stage: Stage) -> None:
    """Say which alerts start which pipeline, and how often."""
    plan = dict(stage.settings["retraining"])
    parameters = {"feature_set": stage.facts["feature_set"].id, "model": stage.model, "seed": 1}
    stage.client("developer").put(f"/endpoints/{stage.model}/retraining", json={**plan, "parameters": parameters})
    days = plan["cool_down_seconds"] / 86_400
    stage.teller.say(
        f"alerts of kind {' or '.join(plan['alert_kinds'])} start '{PIPELINE}', at most every {days:.0f} days of event time", "ok"
    )


def _play(stage: Stage, until: Instant) -> None:
    """Replay up to `until`: in one go, or in small portions while a canary runs, each judged before the next."""
    replay = stage.playing
    until = min(until, END)
    while (canary := stage.facts.get("canary")) is not None and not replay.schedule.exhausted:
        canary["sent"] += replay.play_requests(2 * CHUNK, until)
        rollout = await_canary(stage, canary["rollout"], (canary["state"], canary["step"]), canary["sent"])
        canary |= {"state": rollout["state"], "step": rollout["step"]}
        if rollout["state"] != "canary":
            _end_canary(stage, rollout)
        if replay.position >= until:
            return
    replay.play_until(until)


def _end_canary(stage: Stage, rollout: dict[str, Any]) -> None:
    """Tell how a canary ended."""
    canary = stage.facts.pop("canary")
    requests = rollout["decided_after"].get("requests", canary["sent"])
    if rollout["state"] in {"probation", "completed"}:
        stage.teller.say(f"{rollout['candidate']} is promoted after {requests:,} canary-phase requests; its predecessor scores along", "ok")
        set_reference(stage, rollout["candidate"], canary["reference"])
        begin_probation(stage, rollout)
    else:
        stage.teller.say(
            f"the canary of {rollout['candidate']} ends {rollout['state'].replace('_', ' ')} after {requests:,} requests", "no"
        )
        stage.facts["rolled_back"].append(rollout["candidate"])
    stage.teller.more(rollout["reason"])


def _follow_probation(stage: Stage) -> None:
    """Tell the end of a probation: kept, or taken back because late labels speak for the predecessor."""
    probation = stage.facts.get("probation")
    if not probation:
        return
    rollout = await_probation(stage, probation["rollout"], stage.playing.labelled_since(probation["asked"]))
    if rollout["state"] == "probation":
        return
    stage.facts["probation"] = None
    if rollout["state"] == "rolled_back":
        stage.facts["champion"] = rollout["champion"]
        stage.facts["rolled_back"].append(rollout["candidate"])
        stage.teller.say(f"late labels take {rollout['candidate']} back, {rollout['champion']} is in production again", "no")
    else:
        stage.teller.say(f"the probation of {rollout['candidate']} ends, it stays in production", "ok")
    stage.teller.more(rollout["reason"])
    _release_waiting(stage, kept=rollout["state"] != "rolled_back")


def _follow_candidates(stage: Stage) -> None:
    """Tell the runs that alerts have asked for; the validator takes their candidates up three weeks later, while requests go on."""
    awaited: dict[str, int] = stage.facts["awaited"]
    for run_id in list(awaited):
        awaited[run_id] -= 1
        if awaited[run_id] == 0:
            _take_up(stage, run_id)
    for run in _runs(stage):
        if run["id"] not in stage.facts["seen_runs"]:
            stage.facts["seen_runs"].add(run["id"])
            awaited[run["id"]] = REVIEW_WEEKS
            stage.teller.say(f"the alert starts the training of a candidate as of {run['parameters']['as_of'][:10]}", "event")


def _take_up(stage: Stage, run_id: str) -> None:
    """Wait for a run that was asked for, and tell what became of its candidate."""
    del stage.facts["awaited"][run_id]
    _tell_candidate(stage, await_run(stage, run_id))


def _tell_candidate(stage: Stage, run: dict[str, Any]) -> None:
    """Tell what the gates say of a candidate; approve and release it when they pass."""
    say, more = stage.teller.say, stage.teller.more
    result = run["result"]
    gate = stage.client("developer").get(f"/gate-runs/{result['gate_run_id']}")
    compared = [one for one in gate["results"] if one["name"] == "champion"]
    sentence = compared[0]["sentence"] if compared else "; ".join(one["sentence"] for one in gate["results"] if one["verdict"] != "pass")
    stage.facts["verdicts"].append(gate["verdict"])
    mark = {"pass": "ok", "inconclusive": "warn"}.get(gate["verdict"], "no")
    say(f"candidate as of {run['parameters']['as_of'][:10]}: {gate['verdict']}. {sentence}", mark)
    for one in gate["results"]:
        if one["verdict"] != "pass" and one["name"] != "champion":
            more(f"{one['name']}: {one['verdict']}. {one['sentence']}")
    if result["model_version"] is None:
        return
    version = result["model_version"]
    approve(stage, "validator", version, "Shown better than the champion on weeks that neither was trained on.")
    if stage.facts.get("probation") or stage.facts.get("canary"):
        stage.facts["next"] = result
        say(f"{version} is approved and waits: {stage.facts['champion']} is still on probation, and one change at a time is enough", "warn")
        return
    _release(stage, result)


def _release(stage: Stage, result: dict[str, Any]) -> None:
    """Release an approved candidate as a canary."""
    rollout = release(stage, result["model_version"])
    stage.facts["canary"] = {
        "rollout": rollout["id"], "state": rollout["state"], "step": rollout["step"], "sent": 0, "reference": result["reference"],
    }  # fmt: skip
    stage.teller.say(f"{result['model_version']} is approved by the validator and goes out as a canary", "event")


def _release_waiting(stage: Stage, *, kept: bool) -> None:
    """After a probation: release the candidate that waited for it, unless what it was shown better than is gone."""
    waiting = stage.facts.pop("next", None)
    if waiting is None:
        return
    if kept:
        _release(stage, waiting)
    else:
        stage.teller.say(f"{waiting['model_version']} is not released: it was compared with the version just taken back", "warn")


def _runs(stage: Stage) -> list[dict[str, Any]]:
    """Return the runs for this model, oldest first."""
    found = stage.client("developer").get("/pipeline-runs")
    return [one for one in reversed(found) if one["parameters"].get("model") == stage.model]


def _run_ids(stage: Stage) -> set[str]:
    return {one["id"] for one in _runs(stage)}


def _tell_sum(stage: Stage) -> None:
    """Tell how the year went."""
    verdicts, back = stage.facts["verdicts"], stage.facts["rolled_back"]
    counts = ", ".join(f"{verdicts.count(one)} {one}" for one in ("pass", "inconclusive", "fail", "error") if one in verdicts) or "none"
    stage.teller.say(f"{len(verdicts)} candidates were judged: {counts}; taken back by evidence: {', '.join(back) or 'none'}", "ok")
    traffic = stage.playing.traffic
    stage.teller.say(
        f"{traffic.requests:,} requests and {traffic.labels:,} labels in all; {stage.facts['champion']} is in production at the year's end",
        "ok",
    )
