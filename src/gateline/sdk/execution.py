"""Running a pipeline: each step under its key, reused when the same was computed before, recorded through the API."""

from __future__ import annotations

import json
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import canonical_bytes
from gateline.kernel.errors import GatelineError, StepFailed
from gateline.pipelines import decision, fill
from gateline.sdk.fingerprint import code_digest, environment_digest, key_argument, step_key

if TYPE_CHECKING:
    from gateline.sdk.client import Client
    from gateline.sdk.drawing import Graph, Node
    from gateline.sdk.project import Project

_HEARTBEAT_SECONDS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a running step may know of its run.

    Attributes:
        client: The client the run is recorded with.
        project: The project it belongs to.
        run_id: Id of the pipeline run.
        keys: The key of each step that ran so far, for the record of what a result was made from.
        artifacts: The digest of what each step returned so far.
    """

    client: Client
    project: Project
    run_id: str
    keys: dict[str, str]
    artifacts: dict[str, str]


_current: ContextVar[Context | None] = ContextVar("gateline_run", default=None)


def context() -> Context:
    """Return the context of the running step.

    Raises:
        StepFailed: no recorded run is under way; plain calls have no context.
    """
    found = _current.get()
    if found is None:
        raise StepFailed("This code needs a recorded pipeline run.", next_step="Start it with: gateline run PIPELINE")
    return found


class Execution:
    """One runner's execution of one claimed run.

    Args:
        client: Client with the permission pipeline:work.
        project: Where the pipeline is defined.
        run: The claimed run, as the API returned it.
        runner: Name under which the run was claimed.
    """

    def __init__(self, client: Client, project: Project, run: dict[str, Any], runner: str) -> None:
        self._client = client
        self._project = project
        self._runner = runner
        self._run = run
        self._environment = environment_digest()
        self._context = Context(client=client, project=project, run_id=run["id"], keys={}, artifacts={})
        self._cache = project.folder / ".gateline-cache"

    def execute(self) -> dict[str, Any]:
        """Run every step and close the run; return the closed run. A failing step closes it as failed, naming step and cause."""
        done = threading.Event()
        beat = threading.Thread(target=self._beat, args=(done,), daemon=True)
        beat.start()
        result, failure = {}, ""
        try:
            graph = self._project.pipeline(self._run["pipeline"]).graph(**self._run["parameters"])
            found = self._steps(graph)
            result = found if isinstance(found, dict) else {}
        except GatelineError as error:
            failure = str(error)
        finally:
            done.set()
            beat.join()
        body = {"runner": self._runner, "result": result, "failure": failure}
        closed: dict[str, Any] = self._client.post(f"/pipeline-runs/{self._run['id']}/finish", json=body)
        return closed

    def _beat(self, done: threading.Event) -> None:
        while not done.wait(_HEARTBEAT_SECONDS):
            try:
                self._client.post(f"/pipeline-runs/{self._run['id']}/heartbeat", json={"runner": self._runner})
            except GatelineError:
                return

    def _steps(self, graph: Graph) -> Any:
        token = _current.set(self._context)
        artifacts: dict[str, dict[str, Any]] = {}
        values: dict[str, Any] = {}
        try:
            graph.plan()
            for node in graph.nodes:
                if not node.plan.needs() <= artifacts.keys() or not self._wanted(node, artifacts, values):
                    continue  # skipped
                artifacts[node.name] = self._step(node, artifacts, values)
                self._context.artifacts[node.name] = artifacts[node.name]["sha256"]
            found = graph.output is not None and graph.output["node"] in artifacts
            return self._value(graph.output["node"], artifacts, values) if graph.output is not None and found else None
        finally:
            _current.reset(token)

    def _wanted(self, node: Node, artifacts: dict[str, dict[str, Any]], values: dict[str, Any]) -> bool:
        when = node.plan.when
        return when is None or decision(self._value(when["node"], artifacts, values), when["node"])

    def _step(self, node: Node, artifacts: dict[str, dict[str, Any]], values: dict[str, Any]) -> dict[str, Any]:
        """Reuse or run one step and return its artifact."""
        if node.plan.over is not None or len(node.plan.outputs) > 1:
            raise StepFailed(f"Step '{node.name}' is mapped or has several outputs.", next_step="Run the pipeline with .run(…).")
        inputs = {
            name: key_argument(one, lambda of, _: {"artifact": artifacts[of]["sha256"], "kind": artifacts[of]["kind"]}, str)
            for name, one in node.plan.arguments.items()
        }
        options = node.plan.options
        key = step_key(
            code=code_digest(node.function, self._project.folder), environment=self._environment, arguments=inputs, seed=options.seed,
            run_id="" if options.cache else self._run["id"],
        )  # fmt: skip
        self._context.keys[node.name] = key
        path = f"/pipeline-runs/{self._run['id']}/steps/{node.name}"
        started = self._client.post(f"{path}/start", json={"runner": self._runner, "key": key})
        if started["artifact"] is not None:
            artifact: dict[str, Any] = started["artifact"]
            return artifact
        arguments = {name: fill(one, lambda of, _: self._value(of, artifacts, values), str) for name, one in node.plan.arguments.items()}
        try:
            values[node.name] = node.function(**arguments)
        except GatelineError as error:
            raise StepFailed(f"Step '{node.name}' failed: {error}") from error
        except Exception as error:
            raise StepFailed(f"Step '{node.name}' failed with {type(error).__name__}: {error}") from error
        stored = self._store(values[node.name])
        finished = self._client.post(f"{path}/finish", json={"runner": self._runner, "artifact": stored})
        recorded: dict[str, Any] = finished["artifact"]
        return recorded

    def _value(self, name: str, artifacts: dict[str, dict[str, Any]], values: dict[str, Any]) -> Any:
        """Return what a node stands for: as it was just computed, or read back from its artifact."""
        if name not in values:
            values[name] = self._load(artifacts[name])
        return values[name]

    def _store(self, value: Any) -> dict[str, Any]:
        """Upload a result: a Polars frame as Parquet, a path as its bytes, anything else as canonical JSON."""
        if isinstance(value, Path):
            return {"kind": "file", "sha256": self._client.upload(value)}
        if type(value).__module__.partition(".")[0] == "polars":
            self._cache.mkdir(exist_ok=True)
            path = self._cache / f"{self._run['id']}.parquet"
            value.write_parquet(path, compression="zstd", statistics=False)
            try:
                return {"kind": "frame", "sha256": self._client.upload(path)}
            finally:
                path.unlink()
        return {"kind": "json", "sha256": self._client.upload(canonical_bytes(value))}

    def _load(self, artifact: dict[str, Any]) -> Any:
        """Read a result back from its artifact."""
        path = self._cache / str(artifact["sha256"])
        if not path.exists():
            self._client.download(artifact["sha256"], path)
        if artifact["kind"] == "frame":
            import polars as pl

            return pl.read_parquet(path)
        return path if artifact["kind"] == "file" else json.loads(path.read_bytes())
