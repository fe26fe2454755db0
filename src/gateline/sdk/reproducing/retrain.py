"""The process that retrains: it draws the pipeline anew, and carries out what the model's run was made from, reusing nothing.

    python -m gateline.sdk.reproducing.retrain FOLDER URL RUN_ID NAME PROCESSORS STEP…     (by `gateline reproduce`)

NAME stands for the project and for the runner: nobody else has it.

It is the interpreter of the rebuilt environment, with the rebuilt settings, in the rebuilt code.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import GatelineError
from gateline.reproduction import needed_for
from gateline.sdk.client import Client
from gateline.sdk.execution import draw
from gateline.sdk.project import Project
from gateline.sdk.running.inline import run_inline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PATIENCE_SECONDS = 60.0


def main(arguments: list[str]) -> int:
    """Carry out one run."""
    folder, url, run_id, name, processors, *steps = arguments
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, usable[: int(processors)])
    project = Project.load(Path(folder))
    with Client(url=url, patience_seconds=_PATIENCE_SECONDS) as client:
        run_inline(
            client, project, run_id, name=name, tell=_tell, asked_as=replace(project, name=name),
            drawer=partial(draw_needed, steps=steps),
        )  # fmt: skip
    return 0


def draw_needed(project: Project, run: Mapping[str, Any], *, steps: Sequence[str]) -> dict[str, Any]:
    """Return the plan of a run, cut to some steps and what they need, with nothing reused; or the `failure`."""
    drawn = draw(project, run)
    if "failure" in drawn:
        return drawn
    try:
        plan = needed_for(drawn["plan"], steps)
    except KeyError as error:
        return {"failure": f"Pipeline '{run['pipeline']}' has no step {error} any more."}
    except GatelineError as error:
        return {"failure": str(error)}
    return {**drawn, "plan": plan, "codes": {node["name"]: drawn["codes"][node["name"]] for node in plan["nodes"]}}


def _tell(event: str, facts: Mapping[str, Any]) -> None:
    step = facts["node"]["name"]
    if event == "begun":
        sys.stderr.write(f"{step} …\n")
    elif facts.get("outcome") != "succeeded":
        sys.stderr.write(f"{step} {facts.get('outcome')}: {facts.get('detail', '')}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
