"""Carrying out a step in an environment of its own: another process of another interpreter does what this one was asked to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import digest
from gateline.kernel.errors import GatelineError
from gateline.pipelines import Outcome
from gateline.sdk.isolation import Requirements, environment_python

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateline.pipelines import StepOptions
    from gateline.sdk.client import Client
    from gateline.sdk.project import Project

_DETAIL_CHARACTERS_MAX = 4_000


def code_in(code: str, options: StepOptions, project: Project) -> str:
    """Return the digest of a step's code together with that of the environment it names; the code's alone when it names none.

    Raises:
        InvalidInput: the environment's file cannot be used.
    """
    if options.env is None:
        return code
    return digest("code-in-environment/1", {"code": code, "environment": Requirements.of(options.env, project.folder).digest})


def carry_out_apart(client: Client, project: Project, claim: Mapping[str, Any], cache: Path) -> dict[str, Any]:
    """Execute a claimed step by the interpreter of its environment, which is made when it is not there; returns how it ended.

    What the step writes goes where this process writes, and it belongs to the process group of this one, so that whoever stops this
    process, or measures its memory, means both.
    """
    try:
        python = environment_python(Requirements.of(claim["node"]["options"]["env"], project.folder), cache)
    except GatelineError as error:
        return {"outcome": Outcome.FAILED, "detail": str(error)[:_DETAIL_CHARACTERS_MAX], "retry": False}
    url = client.address()
    variables = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}  # noqa: TID251 - a child inherits what its user has set
    with tempfile.TemporaryFile() as job, tempfile.TemporaryFile() as result:
        job.write(json.dumps({"step": {**claim, "inside": True}}).encode())
        job.seek(0)
        words = [str(python), "-m", "gateline.sdk.running.zygote", "job", str(job.fileno()), str(result.fileno()), str(project.folder), url]
        done = subprocess.run(
            words, pass_fds=[job.fileno(), result.fileno()], stdin=subprocess.DEVNULL, check=False, cwd=project.folder,
            env={**variables, "GATELINE_URL": url, "GATELINE_TOKEN": client.token},
        )  # fmt: skip
        result.seek(0)
        content = result.read()
    try:
        found: dict[str, Any] = json.loads(content)
    except ValueError:
        how = f"was killed by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"ended with status {done.returncode}"
        return {"outcome": Outcome.EXITED, "detail": f"Its process in the environment of the step {how} without a result."}
    return found
