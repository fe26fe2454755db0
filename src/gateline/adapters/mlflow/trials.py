"""The trials of searches as runs of MLflow, written in this process."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateline.adapters.mlflow.guard import internally
from gateline.adapters.mlflow.search import mlflow_error
from gateline.kernel.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateline.adapters.mlflow.loading import Loaded

_MILLISECOND = 1_000
_BATCH = 1_000
_NAME_TAG = "mlflow.runName"
_PARENT_TAG = "mlflow.parentRunId"


class ShownTrials:
    """Makes and writes the runs.

    Args:
        loaded: Returns MLflow, or None before it is loaded.
    """

    def __init__(self, loaded: Callable[[], Loaded | None]) -> None:
        self._loaded = loaded

    def ready(self) -> bool:
        """Return whether MLflow is loaded."""
        return self._loaded() is not None

    def find(self, experiment: str, tag: str, value: str) -> str:
        """Return the id of the run with that tag, or nothing."""
        from mlflow.entities import ViewType

        with self._writing(f"Run with {tag} {value} was not looked for") as tracking:
            found = tracking.search_runs([self._experiment(tracking, experiment)], f"tags.`{tag}` = '{value}'", ViewType.ALL, max_results=1)
            return str(found[0].info.run_id) if found else ""

    def make(self, experiment: str, name: str, *, tags: Mapping[str, str], params: Mapping[str, str], started_at: int, parent: str) -> str:
        """Make a run and return its id."""
        from mlflow.entities import Param, RunTag

        wanted = {**tags, _NAME_TAG: name} | ({_PARENT_TAG: parent} if parent else {})
        with self._writing(f"Run '{name}' was not made") as tracking:
            labels = [RunTag(key, value) for key, value in wanted.items()]
            run = tracking.create_run(self._experiment(tracking, experiment), None, started_at // _MILLISECOND, labels, name)
            run_id: str = run.info.run_id
            tracking.log_batch(run_id, [], [Param(key, value) for key, value in params.items()], [])
            return run_id

    def log(self, run_id: str, values: Sequence[tuple[str, float, int, int]]) -> None:
        """Log metrics: name, value, microseconds since 1970, step."""
        from mlflow.entities import Metric

        metrics = [Metric(name, value, at // _MILLISECOND, step) for name, value, at, step in values]
        with self._writing(f"Values of run {run_id} were not logged") as tracking:
            for start in range(0, len(metrics), _BATCH):
                tracking.log_batch(run_id, metrics[start : start + _BATCH], [], [])

    def alive(self, run_ids: Sequence[str]) -> None:
        """Say that runs are under way, so that they are not closed for their silence."""
        loaded = self._loaded()
        if loaded is not None:
            loaded.liveness.wrote(run_ids)

    def end(self, run_id: str, status: str, ended_at: int, tags: Mapping[str, str]) -> None:
        """End a run."""
        from mlflow.entities import RunStatus, RunTag

        with self._writing(f"Run {run_id} was not ended") as tracking:
            tracking.log_batch(run_id, [], [], [RunTag(key, value) for key, value in tags.items()])
            tracking.update_run_info(run_id, RunStatus.from_string(status), ended_at // _MILLISECOND, None)

    @contextmanager
    def _writing(self, failure: str) -> Iterator[Any]:
        """Yield MLflow's store; what it refuses becomes an error of ours."""
        from mlflow.exceptions import MlflowException

        loaded = self._loaded()
        if loaded is None:
            raise Unavailable("MLflow is not ready.", next_step="Try again in a moment.")
        try:
            with internally():
                yield loaded.tracking
        except MlflowException as error:
            raise mlflow_error(error, failure) from error

    def _experiment(self, tracking: Any, name: str) -> str:
        """Return the id of an experiment, made when it does not exist; clients may make it at the same time."""
        from mlflow.exceptions import MlflowException

        found = tracking.get_experiment_by_name(name)
        if found is None:
            try:
                return str(tracking.create_experiment(name))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = tracking.get_experiment_by_name(name)
        return str(found.experiment_id)
