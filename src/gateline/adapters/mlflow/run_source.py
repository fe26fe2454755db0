"""Reads runs out of the embedded MLflow, in-process, and hashes their files where they lie.

Imports MLflow inside functions only: they are called once it is loaded.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from gateline.adapters.mlflow.guard import Acting, acting_as
from gateline.adapters.mlflow.seal import owner_of
from gateline.adapters.mlflow.search import mlflow_error, search_runs
from gateline.kernel.canonical import digest, number, sha256_file
from gateline.kernel.errors import NotFound
from gateline.kernel.run_names import DATASET_SHA256_TAG, DATASET_VERSION_TAG
from gateline.tracking import (
    ArtifactFile,
    DatasetUse,
    LoggedModel,
    MetricHistory,
    MetricPoint,
    RunFacts,
    RunPage,
    sample,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from gateline.adapters.mlflow.loading import Loaded
    from gateline.adapters.mlflow.seal import RunSeal
    from gateline.tracking import RunQuery

_CONTEXT_TAG = "mlflow.data.context"
_UPLOADING = ".artifact.uploading."
_MODELS_MAX = 100
_EXPERIMENTS_MAX = 10_000
_CONTENT_BYTES_MAX = 16 << 20
_MICROSECONDS = 1_000


class MlflowRuns:
    """The embedded MLflow as a source of runs (`gateline.tracking.RunSource`).

    Args:
        loaded: Returns MLflow once it is loaded; raises Unavailable before that.
        seal: Keeps a run from being written while it is read, and refuses to write a frozen one.
        folder: Where artifacts are kept.
    """

    def __init__(self, loaded: Callable[[], Loaded], seal: RunSeal, folder: Path) -> None:
        self._loaded = loaded
        self._hold = seal.hold
        self._writing = seal.writing
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
        run = self._active(run_id)
        experiment = self._loaded().tracking.get_experiment(run.info.experiment_id).name
        points, history = self._history(run_id)
        models = self._models(run.info.experiment_id, run_id, with_files=with_files)
        files = self._files(run.info.artifact_uri) if with_files else {}
        return self._facts(run, experiment, points=points, history=history, models=models, files=files)

    def _active(self, run_id: str) -> Any:
        """Return MLflow's run, which exists and was not deleted."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._loaded().tracking.get_run(run_id)
        except MlflowException as error:
            raise NotFound(f"MLflow has no run {run_id[:64]}.", next_step="List runs with: gateline tracking list.") from error
        if run.info.lifecycle_stage != "active":
            raise NotFound(f"Run {run_id} was deleted in MLflow.", next_step="Restore it there first.")
        return run

    def search(self, query: RunQuery) -> RunPage:
        """Return a page of runs without their files and metric histories.

        Raises:
            InvalidInput: filter, order or page token is wrong.
            NotFound: there is no such experiment.
            Unavailable: MLflow is still loading.
        """
        tracking = self._loaded().tracking
        if query.experiment:
            one = tracking.get_experiment_by_name(query.experiment)
            if one is None:
                raise NotFound(f"MLflow has no experiment '{query.experiment}'.")
            named = {one.experiment_id: one.name}
        else:
            named = {each.experiment_id: each.name for each in tracking.search_experiments(max_results=_EXPERIMENTS_MAX)}
        found, token = search_runs(tracking, list(named), query)
        models = self._model_names([run.info.run_id for run in found])
        runs = tuple(
            self._facts(run, named[run.info.experiment_id], points=0, history="", models=models.get(run.info.run_id, ()), files={})
            for run in found
        )
        return RunPage(runs=runs, next_page_token=token)

    def history(self, run_id: str, name: str, *, limit: int) -> MetricHistory:
        """Return the values of a metric, sampled when they are more than `limit`. MLflow's greatest number stands for an infinity.

        Raises:
            NotFound: there is no such run, or it has no such metric.
            Unavailable: MLflow is still loading.
        """
        from mlflow.store.tracking.dbmodels.models import SqlMetric
        from sqlalchemy import func, select

        self._active(run_id)
        columns = (SqlMetric.step, SqlMetric.timestamp, SqlMetric.value, SqlMetric.is_nan)
        mine = (SqlMetric.run_uuid == run_id, SqlMetric.key == name)
        with self._loaded().tracking.ManagedSessionMaker(read_only=True) as session:
            count = session.execute(select(func.count()).select_from(SqlMetric).where(*mine)).scalar_one()
            rows = session.execute(select(*columns).where(*mine).order_by(*columns).limit(count).execution_options(yield_per=10_000))
            points = (MetricPoint(step=row[0], at=row[1] * _MICROSECONDS, value=_value(row[2], is_nan=row[3])) for row in rows)
            kept = sample(points, count, limit)
        if not count:
            raise NotFound(f"Run {run_id} has no metric '{name[:256]}'.", next_step=f"See what it has: gateline tracking show {run_id}")
        return MetricHistory(run_id=run_id, name=name, count=count, sampled=len(kept) < count, points=tuple(kept))

    def content(self, run_id: str, path: str, *, model_id: str = "") -> bytes | None:
        """Return the bytes of a file of the run, or of a model it produced; None when there is none or it is larger than 16 MiB."""
        location = self._active(run_id).info.artifact_uri
        if model_id:
            location = self._loaded().tracking.get_logged_model(model_id).artifact_location
        root = self._root(location)
        file = root / path
        if not file.is_file() or not file.resolve().is_relative_to(root.resolve()) or file.stat().st_size > _CONTENT_BYTES_MAX:
            return None
        return file.read_bytes()

    def annotate(self, actor: str, run_id: str, tags: Mapping[str, str | None]) -> None:
        """Set tags in the name of `actor`, and remove those whose value is None; all new values or none are set.

        Raises:
            InvalidInput: MLflow refuses a key or value.
            Denied: a tag is reserved, or the run is frozen.
            NotFound: there is no such run.
            Unavailable: MLflow is still loading.
        """
        from mlflow.entities import RunTag
        from mlflow.exceptions import MlflowException

        tracking, present = self._loaded().tracking, self._active(run_id).data.tags
        try:
            with acting_as(Acting(name=actor, internal=False, request="in process")), self._writing(run_id, "Setting tags"):
                tracking.log_batch(run_id, [], [], [RunTag(key, value) for key, value in tags.items() if value is not None])
                for key in (key for key, value in tags.items() if value is None and key in present):
                    tracking.delete_tag(run_id, key)
        except MlflowException as error:
            raise mlflow_error(error, f"Run {run_id} was not changed") from error

    def _facts(
        self,
        run: Any,
        experiment: str,
        *,
        points: int,
        history: str,
        models: tuple[LoggedModel, ...],
        files: Mapping[str, ArtifactFile],
    ) -> RunFacts:
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
            models=models,
            artifacts=files,
        )

    def _history(self, run_id: str) -> tuple[int, str]:
        """Return the number of metric values of a run, and the digest of all of them in the order of key, step, time and value."""
        from mlflow.store.tracking.dbmodels.models import SqlMetric

        columns = (SqlMetric.key, SqlMetric.step, SqlMetric.timestamp, SqlMetric.value, SqlMetric.is_nan)
        with self._loaded().tracking.ManagedSessionMaker(read_only=True) as session:
            rows = session.query(*columns).filter(SqlMetric.run_uuid == run_id).order_by(*columns).all()
        points = [[row[0], row[1], row[2], "nan" if row[4] else number(row[3])] for row in rows]
        return len(points), digest("metric-history/1", points)

    def _model_names(self, run_ids: list[str]) -> dict[str, tuple[LoggedModel, ...]]:
        """Return the models of each run, without their files, by one query."""
        from mlflow.store.tracking.dbmodels.models import SqlLoggedModel
        from sqlalchemy import select

        columns = (SqlLoggedModel.source_run_id, SqlLoggedModel.name, SqlLoggedModel.model_id)
        wanted = (SqlLoggedModel.source_run_id.in_(run_ids), SqlLoggedModel.lifecycle_stage == "active")
        found: dict[str, tuple[LoggedModel, ...]] = {}
        with self._loaded().tracking.ManagedSessionMaker(read_only=True) as session:
            for run_id, name, model_id in session.execute(select(*columns).where(*wanted).order_by(*columns)):
                found[run_id] = (*found.get(run_id, ()), LoggedModel(model_id=model_id, name=name, files={}))
        return found

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
        root = self._root(location)
        return {
            path.relative_to(root).as_posix(): ArtifactFile(sha256=sha256_file(path), size_bytes=path.stat().st_size)
            for path in sorted(root.rglob("*"))
            if path.is_file() and not path.name.startswith(_UPLOADING)
        }

    def _root(self, location: str) -> Path:
        """Return the folder of an artifact location."""
        relative = location.partition(":")[2].strip("/")
        if owner_of(relative) is None:
            raise NotFound(
                f"Artifact location '{location}' is not kept by this server.",
                next_step="Log the run again with the tracking address of this server, …/mlflow.",
            )
        return self._folder / relative


def _value(value: float, *, is_nan: bool) -> float:
    """Return a value as it was logged: MLflow keeps NaN beside the number, and an infinity as the number of greatest magnitude."""
    if is_nan:
        return math.nan
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value


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
