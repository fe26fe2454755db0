"""What a run was: its parameters, metrics, inputs, models and files, and the frozen record of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gateline.kernel.canonical import digest, number
from gateline.kernel.run_names import COMMIT_TAG, ENVIRONMENT_FILE

FINISHED = "FINISHED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFile:
    """One file of a run: hex SHA-256 of its bytes, and their number."""

    sha256: str
    size_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"sha256": self.sha256, "size_bytes": self.size_bytes}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetUse:
    """A dataset the run says it read.

    Attributes:
        name: Name of the dataset.
        digest: What the client gave as digest; MLflow keeps at most 36 characters.
        sha256: The full digest of the dataset version, when the client gave one.
        version: Id of the dataset version (`flights@1`), when the client gave one.
        context: What it was used for: training, eval, …
    """

    name: str
    digest: str
    sha256: str
    version: str
    context: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"name": self.name, "digest": self.digest, "sha256": self.sha256, "version": self.version, "context": self.context}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedModel:
    """A model the run produced; `files` are relative to the model's own folder."""

    model_id: str
    name: str
    files: Mapping[str, ArtifactFile]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"model_id": self.model_id, "name": self.name, "files": _files(self.files)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """A run as its source tells it.

    Attributes:
        run_id: Its id in MLflow.
        experiment: Name of its experiment.
        name: Its name for people.
        status: RUNNING, SCHEDULED, FINISHED, FAILED or KILLED.
        user: The principal that created it, as authenticated.
        started_at: UTC microseconds.
        ended_at: UTC microseconds; None while it runs.
        params: Parameters as logged (text).
        tags: Tags at this moment.
        metrics: The last value of each metric; may be NaN. MLflow keeps an infinity as the greatest or least finite number.
        metric_points: Number of values logged over all metrics and steps.
        metric_history_digest: Digest of all of them, in order.
        inputs: The datasets it read.
        models: The models it produced.
        artifacts: Its other files, by path relative to the run's artifact folder.
    """

    run_id: str
    experiment: str
    name: str
    status: str
    user: str
    started_at: int
    ended_at: int | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    metric_points: int
    metric_history_digest: str
    inputs: tuple[DatasetUse, ...]
    models: tuple[LoggedModel, ...]
    artifacts: Mapping[str, ArtifactFile]

    @property
    def code_commit(self) -> str:
        """Git commit the run was started from; empty when unknown."""
        return self.tags.get(COMMIT_TAG, "")

    @property
    def environment_digest(self) -> str:
        """SHA-256 of the recorded environment; empty when none was recorded."""
        found = self.artifacts.get(ENVIRONMENT_FILE)
        return "" if found is None else found.sha256

    def facts(self) -> dict[str, Any]:
        """Return what is digested: every fact, with numbers that JSON cannot carry written as text."""
        return {
            "run_id": self.run_id,
            "experiment": self.experiment,
            "name": self.name,
            "status": self.status,
            "user": self.user,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "params": dict(self.params),
            "tags": dict(self.tags),
            "metrics": {name: number(value) for name, value in self.metrics.items()},
            "metric_points": self.metric_points,
            "metric_history_digest": self.metric_history_digest,
            "inputs": [one.as_dict() for one in self.inputs],
            "models": [one.as_dict() for one in self.models],
            "artifacts": _files(self.artifacts),
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the facts for JSON, with the commit and environment picked out."""
        return {**self.facts(), "code_commit": self.code_commit, "environment_digest": self.environment_digest}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSnapshot(RunFacts):
    """A run frozen in our records: it never changes, whatever happens in MLflow.

    Attributes:
        digest: Digest of every fact under the domain `run-snapshot/1`.
        frozen_at: UTC microseconds.
        frozen_by: The principal that asked for it.
    """

    digest: str
    frozen_at: int
    frozen_by: str

    def as_dict(self) -> dict[str, Any]:
        """Return every field for JSON."""
        facts = RunFacts.as_dict(self)
        return {**facts, "digest": self.digest, "frozen_at": self.frozen_at, "frozen_by": self.frozen_by}


def snapshot_of(facts: RunFacts, *, frozen_at: int, frozen_by: str) -> RunSnapshot:
    """Return the frozen form of a run with its digest."""
    values = {one.name: getattr(facts, one.name) for one in fields(RunFacts)}
    return RunSnapshot(**values, digest=run_digest(facts), frozen_at=frozen_at, frozen_by=frozen_by)


def run_digest(facts: RunFacts) -> str:
    """Return the digest of every fact of a run."""
    return digest("run-snapshot/1", facts.facts())


def snapshot_from(document: Mapping[str, Any], *, recorded: str, frozen_at: int, frozen_by: str) -> RunSnapshot:
    """Return the snapshot stored as `document` (the `facts()` of a run) under the digest `recorded`."""
    facts = dict(document)
    facts["metrics"] = {name: float(value) for name, value in facts["metrics"].items()}
    facts["inputs"] = tuple(DatasetUse(**one) for one in facts["inputs"])
    facts["models"] = tuple(
        LoggedModel(model_id=one["model_id"], name=one["name"], files=_files_from(one["files"])) for one in facts["models"]
    )
    facts["artifacts"] = _files_from(facts["artifacts"])
    return RunSnapshot(**facts, digest=recorded, frozen_at=frozen_at, frozen_by=frozen_by)


def _files(files: Mapping[str, ArtifactFile]) -> dict[str, Any]:
    return {path: file.as_dict() for path, file in files.items()}


def _files_from(document: Mapping[str, Any]) -> dict[str, ArtifactFile]:
    return {path: ArtifactFile(**file) for path, file in document.items()}
