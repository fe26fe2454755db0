"""Reads runs out of the embedded MLflow, in-process, and hashes their files where they lie.

Imports MLflow inside functions only: they are called once it is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateline.adapters.mlflow.seal import owner_of
from gateline.kernel.canonical import digest, sha256_file
from gateline.kernel.errors import NotFound
from gateline.tracking import DATASET_SHA256_TAG, DATASET_VERSION_TAG, ArtifactFile, DatasetUse, LoggedModel, RunFacts
from gateline.tracking.model import number

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from gateline.adapters.mlflow.loading import Loaded

_CONTEXT_TAG = "mlflow.data.context"
_UPLOADING = ".artifact.uploading."
_MODELS_MAX = 100
_MICROSECONDS = 1_000


class MlflowRuns:
    """The embedded MLflow as a source of runs (`gateline.tracking.RunSource`).

    Args:
        loaded: Returns MLflow once it is loaded; raises Unavailable before that.
        hold: Keeps a run from being written.
        folder: Where artifacts are kept.
    """

    def __init__(self, loaded: Callable[[], Loaded], hold: Callable[[str], AbstractContextManager[None]], folder: Path) -> None:
        self._loaded = loaded
        self._hold = hold
        self._folder = folder

    def hold(self, run_id: str) -> AbstractContextManager[None]:
        """Keep the run from being written while it is read; waits at most 30 seconds for writes under way."""
        return self._hold(run_id)

    def read(self, run_id: str, *, with_files: bool = True) -> RunFacts:
        """Return the run with the digest of its metric history and, unless told otherwise, of each of its files.

        Raises:
            NotFound: MLflow has no such run, or it was deleted there.
            Unavailable: MLflow is still loading.
        """
        from mlflow.exceptions import MlflowException

        tracking = self._loaded().tracking
        try:
            run = tracking.get_run(run_id)
            experiment = tracking.get_experiment(run.info.experiment_id).name
        except MlflowException as error:
            raise NotFound(f"MLflow has no run {run_id}.", next_step="List runs with: gateline tracking list.") from error
        if run.info.lifecycle_stage != "active":
            raise NotFound(f"Run {run_id} was deleted in MLflow.", next_step="Restore it there first.")
        points, history = self._history(run_id)
        return self._facts(run, experiment, points=points, history=history, with_files=with_files)

    def recent(self, *, experiment: str = "", limit: int = 50) -> list[RunFacts]:
        """Return runs without their files and metric history, newest first, optionally of one experiment.

        Raises:
            NotFound: there is no such experiment.
            Unavailable: MLflow is still loading.
        """
        from mlflow.entities import ViewType

        tracking = self._loaded().tracking
        if experiment:
            one = tracking.get_experiment_by_name(experiment)
            if one is None:
                raise NotFound(f"MLflow has no experiment '{experiment}'.")
            named = {one.experiment_id: one.name}
        else:
            named = {each.experiment_id: each.name for each in tracking.search_experiments(max_results=1_000)}
        runs = tracking.search_runs(list(named), "", ViewType.ACTIVE_ONLY, limit, ["attributes.start_time DESC"])
        return [self._facts(run, named[run.info.experiment_id], points=0, history="", with_files=False) for run in runs]

    def _facts(self, run: Any, experiment: str, *, points: int, history: str, with_files: bool) -> RunFacts:
        info = run.info
        return RunFacts(
            run_id=info.run_id,
            experiment=experiment,
            name=info.run_name or "",
            status=info.status,
            user=info.user_id or "",
            started_at=info.start_time * _MICROSECONDS,
            ended_at=None if info.end_time is None else info.end_time * _MICROSECONDS,
            params=dict(sorted(run.data.params.items())),
            tags=dict(sorted(run.data.tags.items())),
            metrics=dict(sorted(run.data.metrics.items())),
            metric_points=points,
            metric_history_digest=history,
            inputs=_inputs(run),
            models=self._models(info.experiment_id, info.run_id, with_files=with_files),
            artifacts=self._files(info.artifact_uri) if with_files else {},
        )

    def _history(self, run_id: str) -> tuple[int, str]:
        """Return the number of metric values of a run, and the digest of all of them in the order of key, step, time and value."""
        from mlflow.store.tracking.dbmodels.models import SqlMetric

        columns = (SqlMetric.key, SqlMetric.step, SqlMetric.timestamp, SqlMetric.value, SqlMetric.is_nan)
        with self._loaded().tracking.ManagedSessionMaker(read_only=True) as session:
            rows = session.query(*columns).filter(SqlMetric.run_uuid == run_id).order_by(*columns).all()
        points = [[row[0], row[1], row[2], "nan" if row[4] else number(row[3])] for row in rows]
        return len(points), digest("metric-history/1", points)

    def _models(self, experiment_id: str, run_id: str, *, with_files: bool) -> tuple[LoggedModel, ...]:
        found = self._loaded().tracking.search_logged_models(
            experiment_ids=[experiment_id], filter_string=f"source_run_id = '{run_id}'", max_results=_MODELS_MAX
        )
        return tuple(
            LoggedModel(
                model_id=model.model_id, name=model.name, files=self._files(model.artifact_location) if with_files else {}
            )
            for model in sorted(found, key=lambda one: (one.name, one.model_id))
        )  # fmt: skip

    def _files(self, location: str) -> dict[str, ArtifactFile]:
        """Return every file below an artifact location, by path relative to it."""
        relative = location.partition(":")[2].strip("/")
        if owner_of(relative) is None:
            raise NotFound(f"Artifact location '{location}' is not kept by this server.", next_step="Log the run again through Gateline.")
        root = self._folder / relative
        return {
            path.relative_to(root).as_posix(): ArtifactFile(sha256=sha256_file(path), size_bytes=path.stat().st_size)
            for path in sorted(root.rglob("*"))
            if path.is_file() and not path.name.startswith(_UPLOADING)
        }


def _inputs(run: Any) -> tuple[DatasetUse, ...]:
    found = []
    for one in run.inputs.dataset_inputs if run.inputs else ():
        tags = {tag.key: tag.value for tag in one.tags}
        found.append(
            DatasetUse(
                name=one.dataset.name,
                digest=one.dataset.digest,
                sha256=tags.get(DATASET_SHA256_TAG, ""),
                version=tags.get(DATASET_VERSION_TAG, ""),
                context=tags.get(_CONTEXT_TAG, ""),
            )
        )
    return tuple(sorted(found, key=lambda use: (use.name, use.digest, use.context)))
