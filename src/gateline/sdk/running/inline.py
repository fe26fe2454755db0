"""A run in this very process: slower to recover, but a debugger stops in the steps."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import Conflict, GatelineError
from gateline.pipelines import Outcome
from gateline.sdk.execution import carry_out, draw
from gateline.sdk.running.desk import Desk, end_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateline.sdk.client import Client
    from gateline.sdk.project import Project
    from gateline.sdk.running.desk import Tell

_HEARTBEAT_SECONDS = 4.0
_POLL_SECONDS = 0.2


def run_inline(client: Client, project: Project, run_id: str, *, name: str, tell: Tell) -> None:
    """Execute what there is to do for a run, one step after the other in this thread, until the run is over.

    Args:
        client: With the permission pipeline:work.
        project: Whose code is run.
        run_id: The run; other runners may work on it too.
        name: Unique among all runners.
        tell: Called with "begun" and "ended" and the facts of a step.
    """
    desk = Desk(client, project, name, run_id=run_id)
    beating = threading.Event()
    beat = threading.Thread(target=_beat, args=(desk, beating), name="gateline-heartbeat", daemon=True)
    beat.start()
    try:
        while not client.get(f"/pipeline-runs/{run_id}")["over"]:
            work = desk.claim()
            while work["draw"] or work["step"]:
                work = _do(desk, client, project, work, tell)
            beating.wait(_POLL_SECONDS)
    finally:
        beating.set()
        beat.join()


def carry_out_here(client: Client, project: Project, claim: Mapping[str, Any]) -> dict[str, Any]:
    """Execute a step in this process, as `carry_out` does; one that asks the process to end ends alone."""
    try:
        return carry_out(client, project, claim)
    except SystemExit as leaving:
        return {"outcome": Outcome.EXITED, "detail": f"It called sys.exit({leaving.code!r:.80}) without a result."}


def _do(desk: Desk, client: Client, project: Project, work: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Do one thing and return what comes next."""
    try:
        if work["draw"]:
            desk.drawing = work["draw"]["id"]
            return desk.drawn(work["draw"], draw(project, work["draw"]))
        claim = work["step"]
        tell("begun", claim)
        desk.hold(claim)
        try:
            found = carry_out_here(client, project, claim)
            ended = desk.ended(claim, found)
        finally:
            desk.release(claim)
        tell("ended", end_of(claim, found))
        return ended
    except Conflict:
        return {"draw": None, "step": None}
    finally:
        desk.drawing = ""


def _beat(desk: Desk, done: threading.Event) -> None:
    while not done.wait(_HEARTBEAT_SECONDS):
        try:
            desk.beat({})
        except GatelineError:
            continue
