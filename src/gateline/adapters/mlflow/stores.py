"""MLflow's own tracking store with our gates in it, so that no route, UI call or batch goes around.

Imported by the loader only: it imports MLflow.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from mlflow.entities import RunTag
from mlflow.store.tracking.dbmodels.models import SqlRun
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore
from typing_extensions import override

from gateline.adapters.mlflow.guard import USER_TAG

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from gateline.adapters.mlflow.guard import Guard
    from gateline.adapters.mlflow.liveness import Liveness
    from gateline.adapters.mlflow.seal import RunSeal


def _keys(tags: Any) -> list[str]:
    return [tag.key for tag in tags or ()]


class GateTrackingStore(TrackingStore):
    """Runs, experiments and logged models behind the gates.

    Args:
        url: SQLAlchemy URL of MLflow's database.
        artifact_root: What run artifact locations begin with.
        guard: Refuses and records.
        seal: Tells which runs may still be written.
        registered: Tells whether any version in MLflow's registry rests on one of these runs.

    Attributes:
        liveness: Learns which runs their client has ended.
    """

    def __init__(self, url: str, artifact_root: str, *, guard: Guard, seal: RunSeal, registered: Callable[[list[str]], bool]) -> None:
        self._guard = guard
        self._seal = seal
        self._registered = registered
        self.liveness: Liveness | None = None
        super().__init__(url, artifact_root)

    def _model_writing(self, model_id: str, what: str) -> AbstractContextManager[None]:
        run_id = self.get_logged_model(model_id, allow_deleted=True).source_run_id
        return self._seal.writing(run_id, f"{what} of logged model {model_id}") if run_id else nullcontext()

    def _keep(self, what: str, run_ids: list[str], subject: str) -> None:
        """Refuse to delete when a run is frozen or registered."""
        if any(self._seal.frozen(run_id) for run_id in run_ids) or self._registered(run_ids):
            self._seal.refuse_sealed(what, subject=subject)

    @override
    def create_experiment(self, name: Any, artifact_location: Any = None, tags: Any = None) -> Any:
        self._guard.tags(_keys(tags), subject=f"experiment '{name}'")
        if artifact_location:
            self._guard.only_internal(
                f"Artifact location '{artifact_location}' for experiment '{name}'",
                subject=str(name),
                reason="artifacts are kept where Gateline can seal them.",
                next_step="Create the experiment without an artifact location.",
            )
        return super().create_experiment(name, artifact_location, tags)

    @override
    def delete_experiment(self, experiment_id: Any) -> Any:
        with self.ManagedSessionMaker(read_only=True) as session:
            found = session.query(SqlRun.run_uuid).filter(SqlRun.experiment_id == int(experiment_id)).all()
        self._keep(f"Deleting experiment {experiment_id}", [row[0] for row in found], f"experiment {experiment_id}")
        return super().delete_experiment(experiment_id)

    @override
    def set_experiment_tag(self, experiment_id: Any, tag: Any) -> Any:
        self._guard.tags([tag.key], subject=f"experiment {experiment_id}")
        return super().set_experiment_tag(experiment_id, tag)

    @override
    def delete_experiment_tag(self, experiment_id: Any, key: Any) -> Any:
        self._guard.tags([key], subject=f"experiment {experiment_id}")
        return super().delete_experiment_tag(experiment_id, key)

    @override
    def create_run(self, experiment_id: Any, user_id: Any, start_time: Any, tags: Any, run_name: Any) -> Any:
        """Create the run in the name of the principal that asks, whatever user the client claims."""
        self._guard.tags(_keys(tags), subject="a new run")
        user = self._guard.acting.name
        others = [tag for tag in tags or () if tag.key != USER_TAG]
        return super().create_run(experiment_id, user, start_time, [*others, RunTag(USER_TAG, user)], run_name)

    @override
    def update_run_info(self, run_id: Any, run_status: Any, end_time: Any, run_name: Any) -> Any:
        with self._seal.writing(run_id, "Updating status or name"):
            updated = super().update_run_info(run_id, run_status, end_time, run_name)
            if run_status is not None and self.liveness is not None:
                self.liveness.ended(run_id)
            return updated

    @override
    def delete_run(self, run_id: Any) -> Any:
        self._keep(f"Deleting run {run_id}", [run_id], run_id)
        with self._seal.writing(run_id, "Deletion"):
            return super().delete_run(run_id)

    @override
    def log_metric(self, run_id: Any, metric: Any) -> Any:
        with self._seal.writing(run_id, "Logging a metric"):
            return super().log_metric(run_id, metric)

    @override
    def log_param(self, run_id: Any, param: Any) -> Any:
        with self._seal.writing(run_id, "Logging a parameter"):
            return super().log_param(run_id, param)

    @override
    def set_tag(self, run_id: Any, tag: Any) -> Any:
        self._guard.tags([tag.key], subject=f"run {run_id}")
        self._guard.user_tag([tag], subject=f"run {run_id}")
        return super().set_tag(run_id, tag)

    @override
    def delete_tag(self, run_id: Any, key: Any) -> Any:
        self._guard.tags([key], subject=f"run {run_id}")
        return super().delete_tag(run_id, key)

    @override
    def log_batch(self, run_id: Any, metrics: Any, params: Any, tags: Any) -> Any:
        self._guard.tags(_keys(tags), subject=f"run {run_id}")
        self._guard.user_tag(tags or (), subject=f"run {run_id}")
        if not metrics and not params:
            return super().log_batch(run_id, metrics, params, tags)
        with self._seal.writing(run_id, "Logging a batch"):
            return super().log_batch(run_id, metrics, params, tags)

    @override
    def record_logged_model(self, run_id: Any, mlflow_model: Any) -> Any:
        with self._seal.writing(run_id, "Recording a model"):
            return super().record_logged_model(run_id, mlflow_model)

    @override
    def log_inputs(self, run_id: Any, datasets: Any = None, models: Any = None) -> Any:
        with self._seal.writing(run_id, "Logging inputs"):
            return super().log_inputs(run_id, datasets, models)

    @override
    def log_outputs(self, run_id: Any, models: Any) -> Any:
        with self._seal.writing(run_id, "Logging outputs"):
            return super().log_outputs(run_id, models)

    @override
    def create_logged_model(
        self, experiment_id: Any, name: Any = None, source_run_id: Any = None, tags: Any = None, params: Any = None, model_type: Any = None
    ) -> Any:
        self._guard.tags(_keys(tags), subject="a new logged model")
        with self._seal.writing(source_run_id, "Adding a logged model") if source_run_id else nullcontext():
            return super().create_logged_model(experiment_id, name, source_run_id, tags, params, model_type)

    @override
    def log_logged_model_params(self, model_id: Any, params: Any) -> Any:
        with self._model_writing(model_id, "Logging parameters"):
            return super().log_logged_model_params(model_id, params)

    @override
    def finalize_logged_model(self, model_id: Any, status: Any) -> Any:
        with self._model_writing(model_id, "Changing the status"):
            return super().finalize_logged_model(model_id, status)

    @override
    def delete_logged_model(self, model_id: Any) -> Any:
        run_id = self.get_logged_model(model_id).source_run_id
        self._keep(f"Deleting logged model {model_id}", [run_id] if run_id else [], model_id)
        return super().delete_logged_model(model_id)

    @override
    def set_logged_model_tags(self, model_id: Any, tags: Any) -> Any:
        self._guard.tags(_keys(tags), subject=f"logged model {model_id}")
        return super().set_logged_model_tags(model_id, tags)

    @override
    def delete_logged_model_tag(self, model_id: Any, key: Any) -> Any:
        self._guard.tags([key], subject=f"logged model {model_id}")
        return super().delete_logged_model_tag(model_id, key)
