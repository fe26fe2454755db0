"""Chapter 7: a damaged challenger is found and rolled back; a harmless one is not."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.demo.chapters.approval import approve, register, release, set_reference
from gateline.demo.chapters.serving import END
from gateline.demo.faults import Levers, choose_fault, damage
from gateline.demo.follow import await_canary
from gateline.demo.runs import await_run, require_passed, step_words
from gateline.kernel.errors import StepFailed

if TYPE_CHECKING:
    from gateline.demo.stage import Stage

CHUNK = 250
REQUESTS_MAX = 12_000
LEVERS = Levers(scaled="origin_delay_2h", swapped=("origin_delay_2h", "temp"), stale_value=60.0)


def tell(stage: Stage) -> None:
    """Release a challenger with a broken serving form, then the same model with a sound one."""
    run = await_run(stage, stage.facts["challenger_run"])
    require_passed(stage.client("developer").get(f"/gate-runs/{run['result']['gate_run_id']}"), "the ordinary challenger")
    stage.teller.say(f"an ordinary challenger was trained meanwhile: {step_words(run)}", "ok")
    _tell_damaged(stage, run["result"])
    _tell_harmless(stage, run["result"])


def _tell_damaged(stage: Stage, trained: dict[str, Any]) -> None:
    say, more = stage.teller.say, stage.teller.more
    fault = choose_fault(stage.options.seed)
    registration, sentence = _break(stage, trained)
    say(f"the same model goes out in a damaged form, fault '{fault}': {sentence}", "event")
    version = register(stage, registration)
    more(f"{version['id']}: the gates pass, for the model itself is sound; the validator approves, nobody sees the fault")
    approve(stage, "validator", version["id"], "Gates passed.")
    rollout = release(stage, version["id"])
    ended = play_canary(stage, rollout["id"])
    if ended["state"] != "rolled_back":
        raise StepFailed(f"The damaged challenger was not rolled back: {ended['state']}. {ended['reason']}")
    cost = ended["decided_after"]
    stage.facts["detection"] = {"fault": str(fault), **cost}
    say(
        f"found and rolled back after {cost['requests']:,} requests, {cost['canary_requests']:,} of them the canary's, "
        f"and {cost['wall_seconds']:.1f} s ({cost['event_seconds'] / 3600:.0f} hours of flights)",
        "ok",
    )
    more(ended["reason"])


def _tell_harmless(stage: Stage, trained: dict[str, Any]) -> None:
    say, more = stage.teller.say, stage.teller.more
    version = register(stage, trained["registration"])
    approve(stage, "validator", version["id"], "Gates passed.")
    say(f"{version['id']}, the same model in its sound form, goes out as a canary", "event")
    rollout = release(stage, version["id"])
    ended = play_canary(stage, rollout["id"])
    if ended["state"] not in {"probation", "completed"}:
        raise StepFailed(f"The harmless challenger was not let in: {ended['state']}. {ended['reason']}")
    say(f"promoted after {ended['decided_after']['requests']:,} requests; its predecessor goes on scoring in the shadow", "ok")
    more(ended["reason"])
    set_reference(stage, version["id"], trained["reference"])
    begin_probation(stage, ended)


def _break(stage: Stage, trained: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the registration of a damaged form, judged by the gates, and what was done to it."""
    developer = stage.client("developer")
    sound = trained["registration"]
    with tempfile.TemporaryDirectory(prefix="gateline-demo-") as folder:
        files = {name: developer.download(sha256, Path(folder) / name).read_bytes() for name, sha256 in sound["model_files"].items()}
    broken = damage(files, choose_fault(stage.options.seed), LEVERS)
    manifest = {name: developer.upload(content) for name, content in broken.files.items()}
    frame = developer.get(f"/gate-runs/{sound['gate_run_id']}")["frame"]
    subject = {
        "run_id": sound["run_id"], "files": manifest, "training_frame": sound["training_frame"], "trained_until": sound["trained_until"],
    }  # fmt: skip
    gate = developer.post("/gate-runs", json={"subject": subject, "frame": frame, "policy": stage.settings["gates"]})
    require_passed(gate, "the damaged challenger")
    return {**sound, "model_files": manifest, "gate_run_id": gate["id"]}, broken.sentence


def play_canary(stage: Stage, rollout_id: str) -> dict[str, Any]:
    """Replay in small portions while a canary runs, each judged before the next, and return the rollout at its end."""
    replay, sent = stage.playing, 0
    rollout: dict[str, Any] = {"state": "canary", "step": 0}
    with stage.teller.progress(REQUESTS_MAX, "canary") as bar:
        while rollout["state"] == "canary" and sent < REQUESTS_MAX and not replay.schedule.exhausted:
            portion = replay.play_requests(CHUNK, END)
            sent += portion
            rollout = await_canary(stage, rollout_id, (rollout["state"], rollout["step"]), sent)
            bar.advance(portion, f"canary: {rollout['reason'][:70]}")
    return rollout


def begin_probation(stage: Stage, rollout: dict[str, Any]) -> None:
    """Remember the promoted version and from which request on its predecessor scores along."""
    stage.facts["champion"] = rollout["candidate"]
    stage.facts["probation"] = (
        {"rollout": rollout["id"], "asked": stage.playing.schedule.asked} if rollout["state"] == "probation" else None
    )
