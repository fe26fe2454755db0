"""What is recorded around a run, whoever logs it: environment, code, price, and at its end what it used."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import canonical_bytes, sha256_bytes
from gateline.kernel.errors import InvalidInput, NotFound
from gateline.kernel.run_names import (
    COMMIT_TAG,
    ENVIRONMENT_FILE,
    ENVIRONMENT_TAG,
    FEATURE_SET_DIGEST_TAG,
    FEATURE_SET_TAG,
    FIT_DIGEST_TAG,
    FIT_TAG,
    PIPELINE_RUN_TAG,
    PIPELINE_STEP_TAG,
)
from gateline.sdk.environment import describe_environment, uncommitted_changes
from gateline.sdk.mlflow_client import field_of
from gateline.sdk.notebook.recording import OMITTED_TAG
from gateline.sdk.project import Project
from gateline.sdk.resources import Price, ResourceMeter

if TYPE_CHECKING:
    from collections.abc import Mapping

DIFF_FILE = "code.diff"
DIFF_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where a run happens.

    Attributes:
        environment: See `describe_environment`.
        price: What an hour of the machine costs, when the project says so.
        diff: The uncommitted changes, when they are to be kept; their SHA-256 is always recorded.
        diff_omitted: Why they are not kept although they were to be; empty otherwise.
        keep_notebook: Whether the cells that a notebook has executed are kept.
    """

    environment: dict[str, Any]
    price: Price | None
    diff: bytes
    diff_omitted: str
    keep_notebook: bool

    @classmethod
    def of(
        cls, folder: Path | None = None, *, seed: int | None = None, keep_diff: bool | None = None, keep_notebook: bool | None = None
    ) -> Surroundings:
        """Describe a project folder, the current one when none is given.

        Args:
            folder: The project folder; its gateline.toml declares price and whether changes are kept.
            seed: The seed of the run.
            keep_diff: Whether uncommitted changes are kept as the file `code.diff`. They may hold secrets, so they are not unless this or
                `[tracking] keep_diff = true` in gateline.toml says so.
            keep_notebook: Whether the cells that a notebook has executed are kept, secrets of known forms replaced; they are unless this or
                `[tracking] keep_notebook = false` in gateline.toml says otherwise.

        Raises:
            InvalidInput: gateline.toml is wrong.
        """
        folder = folder or Path.cwd()
        settings = _settings(folder)
        environment = describe_environment(folder, seed=seed)
        diff, omitted = b"", ""
        if _switch(settings, "keep_diff", otherwise=False) if keep_diff is None else keep_diff:
            diff, omitted = _diff(folder, environment["code"])
        kept = _switch(settings, "keep_notebook", otherwise=True) if keep_notebook is None else keep_notebook
        return cls(environment=environment, price=Price.declared(settings), diff=diff, diff_omitted=omitted, keep_notebook=kept)

    def files(self) -> dict[str, bytes]:
        """Return the files that the run logs."""
        return {ENVIRONMENT_FILE: canonical_bytes(self.environment)} | ({DIFF_FILE: self.diff} if self.diff else {})

    def tags(self, feature_set: Any = None, feature_fit: Any = None) -> dict[str, str]:
        """Return what people search runs by; the whole environment is an artifact."""
        environment, code = self.environment, self.environment["code"]
        found = {
            ENVIRONMENT_TAG: sha256_bytes(canonical_bytes(environment)),
            "environment.python": environment["python"],
            "environment.packages_sha256": environment["packages_sha256"],
            **{f"environment.{name}": value for name, value in environment["locks"].items()},
        }
        if code:
            found |= {COMMIT_TAG: code["commit"], "code.dirty": str(code["dirty"]).lower()}
            found |= {"code.diff_sha256": code["diff_sha256"]} if code["dirty"] else {}
        if self.diff_omitted:
            found["code.diff_omitted"] = self.diff_omitted
        if not self.keep_notebook:
            found[OMITTED_TAG] = "keep_notebook = false"
        if environment["seed"] is not None:
            found["seed"] = str(environment["seed"])
        if isinstance(feature_set, str):
            found[FEATURE_SET_TAG] = feature_set
        elif feature_set is not None:
            found |= {FEATURE_SET_TAG: str(field_of(feature_set, "id")), FEATURE_SET_DIGEST_TAG: str(field_of(feature_set, "digest"))}
        if feature_fit is not None:
            found |= {FIT_TAG: str(field_of(feature_fit, "id")), FIT_DIGEST_TAG: str(field_of(feature_fit, "digest"))}
        return found


def step_tags() -> dict[str, str]:
    """Return which step of which pipeline run this process carries out, as tags; empty outside of recorded runs."""
    running = sys.modules.get("gateline.sdk.execution")  # steps are carried out by it
    step = None if running is None else running.running_step()
    return {} if step is None else {PIPELINE_RUN_TAG: step.run_id, PIPELINE_STEP_TAG: step.node, "pipeline.index": str(step.index)}


def log_resources(client: Any, run_id: str, meter: ResourceMeter, price: Price | None) -> None:
    """Log what was used, as metrics and tags under `resources.`, in one request of MLflow's client."""
    from mlflow.entities import Metric, RunTag
    from mlflow.utils.time import get_current_time_millis

    now = get_current_time_millis()
    metrics = [Metric(name, float(value), now, 0) for name, value in meter.read(price).items()]
    client.log_batch(run_id, metrics=metrics, tags=[RunTag(key, value) for key, value in meter.tags(price).items()])


def log_files(client: Any, run_id: str, files: Mapping[str, bytes | Path]) -> None:
    """Log files under their paths, relative to the run's artifact folder ('served/model.txt').

    Raises:
        InvalidInput: a path is absolute or leaves the folder.
    """
    with tempfile.TemporaryDirectory(prefix="gateline-run-") as temporary:
        root = Path(temporary)
        for name, content in files.items():
            target = root / name
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise InvalidInput(f"'{name}' is no path inside the run's artifact folder.")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        client.log_artifacts(run_id, str(root))


def project_name(folder: Path) -> str:
    """Return the name of the project in a folder; empty when there is none."""
    found = _settings(folder).get("project", {}).get("name", "")
    return str(found)


def _settings(folder: Path) -> dict[str, Any]:
    try:
        return Project.load(folder).settings
    except NotFound:
        return {}


def _switch(settings: dict[str, Any], name: str, *, otherwise: bool) -> bool:
    """Return what `[tracking]` of gateline.toml says of a switch."""
    declared = settings.get("tracking", {})
    found = declared.get(name, otherwise) if isinstance(declared, dict) else declared
    if not isinstance(found, bool):
        raise InvalidInput(f"[tracking] of gateline.toml declares {name} = {found!r}.", next_step=f"Write {name} = true or false.")
    return found


def _diff(folder: Path, code: dict[str, Any]) -> tuple[bytes, str]:
    """Return the uncommitted changes, or nothing and why."""
    if not code or not code["dirty"]:
        return b"", ""
    changes = uncommitted_changes(folder)
    if len(changes) > DIFF_BYTES_MAX:
        return b"", f"{len(changes)} bytes are more than {DIFF_BYTES_MAX}"
    if hashlib.sha256(changes).hexdigest() != code["diff_sha256"]:
        return b"", "the checkout changed while it was read"
    return changes, ""
