"""A run in this very process: slower to recover, but a debugger stops in the steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import Conflict, GatelineError
from gateline.sdk.execution import draw
from gateline.sdk.running.ahead import carry_on
from gateline.sdk.running.desk import Desk, end_of

if TYPE_CHECKING:
    from gateline.sdk.client import Client
    from gateline.sdk.project import Project
    from gateline.sdk.running.desk import Tell

Drawer = Callable[["Project", Mapping[str, Any]], dict[str, Any]]
"""Returns the plan of a run, or why there is none, as `draw` does."""

_HEARTBEAT_SECONDS = 4.0
_POLL_SECONDS = 0.2


def run_inline(
    client: Client, project: Project, run_id: str, *, name: str, tell: Tell, asked_as: Project | None = None, drawer: Drawer = draw
) -> None:
    """Execute what there is to do for a run, one step after the other in this thread, until the run is over.

    Args:
        client: With the permission pipeline:work.
        project: Whose code is run.
        run_id: The run; other runners may work on it too.
        name: Unique among all runners.
        tell: Called with "begun" and "ended" and the facts of a step.
        asked_as: The project under which the run is kept, when that is another name.
        drawer: Draws the plan.
    """
    desk = Desk(client, asked_as or project, name, run_id=run_id, inline=("process", "inline"))
    beating = threading.Event()
    beat = threading.Thread(target=_beat, args=(desk, beating), name="gateline-heartbeat", daemon=True)
    beat.start()
    try:
        while not client.get(f"/pipeline-runs/{run_id}")["over"]:
            work = desk.claim()
            while work["draw"] or work["step"]:
                work = _do(desk, client, project, work, tell, drawer)
            beating.wait(_POLL_SECONDS)
    finally:
        beating.set()
        beat.join()


def _do(desk: Desk, client: Client, project: Project, work: dict[str, Any], tell: Tell, drawer: Drawer) -> dict[str, Any]:
    """Do one thing and return what comes next."""
    try:
        if work["draw"]:
            desk.drawing = work["draw"]["id"]
            return desk.drawn(work["draw"], drawer(project, work["draw"]))
        claim = work["step"]
        tell("begun", claim)
        desk.hold(claim)
        try:
            found = carry_on(client, project, claim, tell)
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
