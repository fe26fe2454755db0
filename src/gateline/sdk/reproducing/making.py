"""Making a version again, from the recipe to the grade."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.errors import GatelineError, StepFailed
from gateline.kernel.names import split_version_id
from gateline.sdk.execution import CACHE_FOLDER
from gateline.sdk.mlflow_client import wait_until_ready
from gateline.sdk.reproducing.code import rebuild_code
from gateline.sdk.reproducing.settings import EnvironmentChoice, rebuild_environment, rebuild_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateline.sdk.client import Client

_FOLDER = "reproductions"
_CLOSING_SECONDS_MAX = 60.0


def reproduce(
    client: Client,
    version: str,
    project: Path,
    *,
    environment: EnvironmentChoice = EnvironmentChoice.AUTO,
    keep: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Make a model version again and return the graded record, as JSON.

    Code, environment and settings are rebuilt aside, the steps that the version's run was made from are carried out again without
    reusing anything, and the server compares and grades. What cannot be rebuilt is recorded too, as R0.

    Args:
        client: With the permissions pipeline:run and pipeline:work.
        version: Its id, such as `flight-delay@3`.
        project: The project folder; its git repository holds the recorded commit.
        environment: Where it is retrained.
        keep: Whether the folder with the code stays.
        tell: Hears of each stage, a sentence each.

    Raises:
        NotFound: there is no such version.
        Conflict: nothing records how it was made.
        Unavailable: the server, or its MLflow, does not answer.
        ConfigurationError: an environment has to be made, and there is no uv.
    """
    name, number = split_version_id(version)
    path = f"/models/{name}/versions/{number}"
    client.address()  # in process, asking for the address is what starts MLflow
    wait_until_ready(client)
    recipe = client.get(f"{path}/recipe")
    cache = project.resolve() / CACHE_FOLDER
    (cache / _FOLDER).mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{name}-{number}-", dir=cache / _FOLDER))
    rebuilt: dict[str, str] = {}
    stage = "code"
    try:
        folder, rebuilt["code"] = rebuild_code(recipe, project.resolve(), aside / "code")
        tell(rebuilt["code"])
        stage = "environment"
        python, rebuilt["environment"] = rebuild_environment(recipe, environment, cache)
        tell(rebuilt["environment"])
    except StepFailed as error:
        _remove(aside)
        failure = {"stage": stage, "name": stage, "detail": str(error)}
        return _graded(client, path, {"failure": failure, "rebuilt": rebuilt})
    except BaseException:
        _remove(aside)
        raise
    try:
        variables, processors, rebuilt["settings"] = rebuild_variables(recipe, python)
        tell(rebuilt["settings"])
        run_id = _retrain(client, recipe, folder, python, variables, processors, tell)
    finally:
        if not keep:
            _remove(aside)
    tell("The server compares.")
    return _graded(client, path, {"pipeline_run": run_id, "rebuilt": rebuilt} if _was_drawn(client, run_id) else _undrawn(rebuilt))


def _retrain(
    client: Client, recipe: Mapping[str, Any], folder: Path, python: Path, variables: Mapping[str, str], processors: int,
    tell: Callable[[str], None],
) -> str:  # fmt: skip
    """Carry the steps out in a process of their own and return the id of the pipeline run, which is over."""
    name = f"reproduction-{secrets.token_hex(8)}"  # no runner has a project of this name, so that none but ours takes the run
    body = {"parameters": recipe["parameters"], "reason": f"Makes {recipe['model_version']} again.", "project": name, "request_key": name}
    run_id = str(client.post(f"/pipelines/{recipe['pipeline']}/runs", json=body)["id"])
    tell(f"Pipeline run {run_id} retrains up to {' and '.join(recipe['steps'])}.")
    url = client.address()
    words = [str(python), "-m", "gateline.sdk.reproducing.retrain", str(folder), url, run_id, name, str(processors)]
    words += recipe["steps"]
    given = {**variables, "GATELINE_URL": url, "GATELINE_TOKEN": client.token}
    try:
        done = subprocess.run(words, cwd=folder, env=given, stdin=subprocess.DEVNULL, check=False)
    except BaseException:
        client.post(f"/pipeline-runs/{run_id}/cancel")
        raise
    if not client.get(f"/pipeline-runs/{run_id}")["over"]:
        tell(f"The process that retrained ended with status {done.returncode}.")
        client.post(f"/pipeline-runs/{run_id}/cancel")
        client.post("/pipeline-work/withdraw", json={"runner": name})
    deadline = time.monotonic() + _CLOSING_SECONDS_MAX
    while not client.get(f"/pipeline-runs/{run_id}")["over"] and time.monotonic() < deadline:
        time.sleep(0.2)
    return run_id


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _was_drawn(client: Client, run_id: str) -> bool:
    """Return whether a run has a plan, or says why it has none."""
    return bool(client.get(f"/pipeline-runs/{run_id}/plan") or client.get(f"/pipeline-runs/{run_id}")["failure"])


def _undrawn(rebuilt: Mapping[str, str]) -> dict[str, Any]:
    detail = "The process that retrains ended before it had drawn the pipeline; what it wrote says why."
    return {"failure": {"stage": "environment", "name": "interpreter", "detail": detail}, "rebuilt": rebuilt}


def _graded(client: Client, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = client.post(f"{path}/reproductions", json=body)
    except GatelineError as error:
        error.add_note("The retraining itself is recorded; its grade is not.")
        raise
    return found
