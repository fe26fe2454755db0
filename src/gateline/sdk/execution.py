"""Executing one step: its arguments are read, its function is called, what it returns is kept."""

from __future__ import annotations

import contextlib
import importlib
import random  # noqa: TID251 - seeded for the user's code
import secrets
import shutil
import traceback
import typing
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import sha256_bytes, sha256_file
from gateline.kernel.errors import GatelineError, NotFound, StepFailed, Unavailable
from gateline.kernel.files import storage_errors
from gateline.pipelines import ArtifactKind, Outcome, PlanNode, StepOptions, StepOutput
from gateline.sdk.apart import carry_out_apart, code_in
from gateline.sdk.artifacts import pack, pack_document, unpack
from gateline.sdk.drawing import split_outputs
from gateline.sdk.fingerprint import StepCode, code_digest, environment_digest, read_code
from gateline.sdk.loading import file_state
from gateline.sdk.trials import RecordedStudy, try_out

if TYPE_CHECKING:
    from gateline.sdk.client import Client
    from gateline.sdk.project import Project

CACHE_FOLDER = ".gateline-cache"
_INLINE_BYTES_MAX = 64 << 10
_DETAIL_CHARACTERS_MAX = 4_000


class Premature(BaseException):
    """A step that was given ahead asks for the server, which has to be told first of those before it. It is then executed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a running step may know of its run.

    Attributes:
        connection: The client the run is recorded with.
        project: The project it belongs to.
        run_id: Id of the pipeline run.
        node: Name of the step in the graph.
        index: Which item of a mapped step this is; 0 for others.
        attempt: How often the step was begun, this time included.
        scratch: Where `folder` comes to lie.
        ahead: Whether the server does not know yet of steps before this one.
    """

    connection: Client
    project: Project
    run_id: str
    node: str
    index: int
    attempt: int
    scratch: Path
    ahead: bool = False

    @property
    def client(self) -> Client:
        """The client the run is recorded with. What came before this step is recorded when a step gets it."""
        if self.ahead:
            raise Premature
        return self.connection

    @property
    def folder(self) -> Path:
        """An empty folder of this attempt, made when it is first asked for and removed when the attempt is over."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        return self.scratch

    @property
    def idempotency_key(self) -> str:
        """The same in every attempt at this step of this run: a system that remembers it does a thing once."""
        return f"{self.run_id}/{self.node}/{self.index}"

    @property
    def artifacts(self) -> dict[str, str]:
        """The SHA-256 of what each step has returned so far, by the name of the step; of several outputs the first."""
        return {step["name"]: step["artifact"]["sha256"] for step in self._steps() if step["artifact"]}

    @property
    def keys(self) -> dict[str, str]:
        """The key of each step that has begun so far, by the name of the step."""
        return {step["name"]: step["key"] for step in self._steps() if step["key"]}

    def _steps(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get(f"/pipeline-runs/{self.run_id}")["steps"]
        return found


_codes: dict[Callable[..., Any], tuple[StepCode, dict[Path, list[int]]]] = {}
_current: ContextVar[Context | None] = ContextVar("gateline_run", default=None)


def running_step() -> Context | None:
    """Return the context of the running step; None outside of recorded runs."""
    return _current.get()


def context() -> Context:
    """Return the context of the running step.

    Raises:
        StepFailed: no recorded run is under way; plain calls have no context.
    """
    found = _current.get()
    if found is None:
        raise StepFailed("This code needs a recorded pipeline run.", next_step="Start it with: gateline run PIPELINE")
    return found


def draw(project: Project, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan of a run with the digests of its code and environment, or the `failure`."""
    try:
        graph = project.pipeline(run["pipeline"]).graph(**run["parameters"])
        plan = _placed(graph.plan(), project)
        digests = {function: code_digest(function, project.folder) for function in {node.function for node in graph.nodes}}
        codes = {node.name: code_in(digests[node.function], node.plan.options, project) for node in graph.nodes}
        return {"plan": plan, "codes": codes, "environment": environment_digest()}
    except GatelineError as error:
        return {"failure": _plain(str(error))}
    except Exception as error:  # the boundary to the user's code
        traceback.print_exc()
        return {"failure": f"Pipeline '{run['pipeline']}' cannot be drawn: {_told(error)}"}


def _placed(plan: dict[str, Any], project: Project) -> dict[str, Any]:
    """Return a plan whose steps run where `[executors]` of gateline.toml says, by the name of the node or of the step."""
    declared = project.settings.get("executors", {})
    for node in plan["nodes"]:
        node["options"]["executor"] = declared.get(node["name"], declared.get(node["step"], node["options"]["executor"]))
    return plan


def carry_out(client: Client, project: Project, claim: Mapping[str, Any], *, ahead: bool = False) -> dict[str, Any]:
    """Execute a claimed step and return how it ended: `outcome`, `artifacts`, `detail`, `retry`. Raises Premature for a step ahead."""
    if claim["node"]["options"].get("env") is not None and not claim.get("inside"):
        if ahead:
            raise Premature  # what it does there is not seen here
        return carry_out_apart(client, project, claim, project.folder / CACHE_FOLDER)
    cache = project.folder / CACHE_FOLDER
    scratch = cache / "attempts" / secrets.token_hex(8)
    node = claim["node"]
    known = Context(
        connection=client, project=project, run_id=claim["run_id"], node=node["name"], index=claim["index"], attempt=claim["attempt"],
        scratch=scratch, ahead=ahead,
    )  # fmt: skip
    token = _current.set(known)
    try:
        with storage_errors(scratch):
            scratch.mkdir(parents=True)
        function: Callable[..., Any] = project.load_step(node["reference"])
        if claim["code"] and code_in(_code_of(function, project.folder), _node(node).options, project) != claim["code"]:
            return _changed(claim)
        return {"outcome": Outcome.SUCCEEDED, "artifacts": _Attempt(known, cache).execute(function, claim)}
    except Unavailable as error:
        return {"outcome": Outcome.LOST, "detail": _plain(f"The server was away: {error}")}
    except GatelineError as error:
        traceback.print_exc()
        return {"outcome": Outcome.FAILED, "detail": _plain(str(error))}
    except Exception as error:  # the boundary to the user's code
        traceback.print_exc()
        return {"outcome": Outcome.FAILED, "detail": _told(error)}
    finally:
        _current.reset(token)
        if scratch.exists():
            shutil.rmtree(scratch, ignore_errors=True)


class _Attempt:
    """One execution of a step."""

    def __init__(self, known: Context, cache: Path) -> None:
        self._known = known
        self._cache = cache

    def execute(self, function: Callable[..., Any], claim: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Call the function and keep what it returns."""
        node = _node(claim["node"])
        hints = _hints(function)
        arguments = {name: self._filled(argument, hints.get(name)) for name, argument in claim["arguments"].items()}
        _seed(node.options.seed)
        returned = split_outputs(node, self._tried(function, arguments, node) if node.search else function(**arguments))
        return [self._kept(returned[output.name], output, node.step) for output in node.outputs]

    def _tried(self, function: Callable[..., Any], arguments: dict[str, Any], node: PlanNode) -> dict[str, Any]:
        """Carry out a trial of a search."""
        known = self._known
        study = RecordedStudy(client=known.client, run_id=known.run_id, node=known.node, attempt=known.attempt)
        return try_out(function, arguments, node.search["argument"] if node.search else "", study)

    def _filled(self, argument: Mapping[str, Any], wanted: Any) -> Any:
        """Return the value of an argument."""
        if "artifact" in argument:
            return self._loaded(argument["artifact"], wanted)
        if "list" in argument:
            return [self._filled(one, None) for one in argument["list"]]
        if "fields" in argument:
            return {name: self._filled(one, None) for name, one in argument["fields"].items()}
        return argument["value"]

    def _loaded(self, artifact: Mapping[str, Any], wanted: Any) -> Any:
        """Read an artifact, from the folder of those that were here before or from the server."""
        path = self._cache / str(artifact["sha256"])
        if not path.is_file() or sha256_file(path) != artifact["sha256"]:
            try:
                self._known.connection.download(artifact["sha256"], path)
            except NotFound as error:
                raise StepFailed(
                    f"An input of step '{self._known.node}' is no longer stored: {error.message}",
                    next_step=f"Compute it again with: gateline pipeline retry {self._known.run_id}",
                ) from error
        return unpack(ArtifactKind(artifact["kind"]), path, self._known.connection.download, wanted=wanted)

    def _kept(self, value: Any, output: StepOutput, step: str) -> dict[str, Any]:
        """Hand a result to the server: with the report when it is small, as an upload when not."""
        document = pack_document(value, output, step)
        if document is not None and len(document.content) <= _INLINE_BYTES_MAX:
            for part in document.parts.values():
                self._known.connection.upload(part)
            self._remember(document.content)
            return {"name": output.name, "kind": document.kind, "content": document.content.decode()}
        written = self._known.folder / f"output-{output.name}"
        packed = pack(value, output, step, written)
        for path in (*packed.parts.values(), packed.path):
            self._known.connection.upload(path)
        if packed.path == written:
            written.replace(self._cache / packed.sha256)
        return {"name": output.name, "kind": packed.kind, "sha256": packed.sha256}

    def _remember(self, content: bytes) -> None:
        """Keep a small result here too, for the steps that follow on this machine; those that do not find it whole ask the server."""
        path = self._cache / sha256_bytes(content)
        with contextlib.suppress(OSError):
            if not path.exists():
                self._cache.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def _code_of(function: Callable[..., Any], folder: Path) -> str:
    """Return the digest of a step's code, read again only when one of its files has changed."""
    known = _codes.get(function)
    if known is None or any(file_state(path) != state for path, state in known[1].items()):
        code = read_code(function, folder)
        known = _codes[function] = code, {path: file_state(path) for path in code.files}
        code.check_loaded()
    return known[0].digest


def _node(node: Mapping[str, Any]) -> PlanNode:
    outputs = tuple(StepOutput(name=one["name"], kind=one["kind"] and ArtifactKind(one["kind"])) for one in node["outputs"])
    rest = {name: value for name, value in node.items() if name not in {"options", "outputs"}}
    return PlanNode(**rest, options=StepOptions(**node["options"]), outputs=outputs)


def _changed(claim: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "outcome": Outcome.FAILED, "retry": False,
        "detail": f"The code of step '{claim['node']['name']}' changed after the run was drawn. Run it as it is now with: "
        f"gateline pipeline retry {claim['run_id']}",
    }  # fmt: skip


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of the parameters; none when a name in them is for type checkers only."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return {}


def _seed(seed: int | None) -> None:
    """Seed the generators of Python and numpy; also of a numpy that the step imports only later."""
    if seed is None:
        return
    random.seed(seed)
    importlib.import_module("numpy").random.seed(seed)  # noqa: TID251 - heavy, so only where a step asks for it


def _told(error: BaseException) -> str:
    try:
        return _plain(f"{type(error).__name__}: {error}")
    except Exception:
        return type(error).__name__


def _plain(text: str) -> str:
    """Return a text as JSON and databases can carry it, cut to its begin."""
    return text[:_DETAIL_CHARACTERS_MAX].encode(errors="backslashreplace").decode().replace("\0", "\\0")
