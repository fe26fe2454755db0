"""Writes our decisions into MLflow's registry, so that MLflow's clients and UI read them where they look: versions and aliases.

Called in-process, never over HTTP. Every call may be repeated.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateline.adapters.mlflow.guard import internally
from gateline.kernel.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateline.adapters.mlflow.loading import Loaded


def tell_model(loaded: Loaded, model_id: str, name: str, version: int | str) -> None:
    """Let a logged model know of a version made of it, unless it does; MLflow, told twice, would forget the other versions."""
    known = loaded.tracking.get_logged_model(model_id).tags.get("mlflow.modelVersions")
    if not any((one["name"], str(one["version"])) == (name, str(version)) for one in json.loads(known or "[]")):
        loaded.tracking.set_model_versions_tags(name, version, model_id)


class Projection:
    """Our registry as MLflow shows it.

    Args:
        loaded: Returns MLflow once it is loaded; raises Unavailable before that.
    """

    def __init__(self, loaded: Callable[[], Loaded]) -> None:
        self._loaded = loaded

    def version(self, name: str, run_id: str, *, logged_model: str = "model", tags: Mapping[str, str] | None = None) -> str:
        """Return the number of the MLflow version that points at the run's logged model, made when it does not exist yet.

        Args:
            name: Name of the registered model; created when it does not exist.
            run_id: The run that logged the model.
            logged_model: Name under which the run logged it.
            tags: Tags of the version, such as {"gateline.model_version": "flight-delay@3"}.

        Raises:
            NotFound: the run logged no model of that name.
            Unavailable: MLflow is still loading.
        """
        from mlflow.entities.model_registry import ModelVersionTag

        loaded = self._loaded()
        model_id = self._model_id(run_id, logged_model)
        source = f"models:/{model_id}"
        with internally():
            self._ensure_model(name)
            versions = loaded.registry.search_model_versions(f"name = '{name}' and run_id = '{run_id}'", max_results=1_000)
            location = loaded.tracking.get_logged_model(model_id).artifact_location
            # one that still names the folder is a version whose making was cut short
            existing = next((one for one in versions if one.source in {source, location}), None)
            if existing is None:
                existing = loaded.registry.create_model_version(name, source, run_id, model_id=model_id)
            elif existing.source != source:
                loaded.registry.set_source(name, existing.version, source)
            tell_model(loaded, model_id, name, existing.version)
            for key, value in (tags or {}).items():
                if existing.tags.get(key) != value:
                    loaded.registry.set_model_version_tag(name, existing.version, ModelVersionTag(key, value))
        return str(existing.version)

    def alias(self, name: str, alias: str, version: str | None) -> None:
        """Point the alias at the version, or remove it when the version is None.

        Raises:
            NotFound: MLflow's registry has no such model or version.
            Unavailable: MLflow is still loading.
        """
        from mlflow.exceptions import MlflowException

        registry = self._loaded().registry
        with internally():
            try:
                current = {key: str(value) for key, value in registry.get_registered_model(name).aliases.items()}
                if current.get(alias) == version:
                    return
                if version is None:
                    registry.delete_registered_model_alias(name, alias)
                else:
                    registry.set_registered_model_alias(name, alias, version)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                raise NotFound(f"MLflow's registry: {error.message}", next_step="Project the version first.") from error

    def _model_id(self, run_id: str, logged_model: str) -> str:
        from mlflow.exceptions import MlflowException

        tracking = self._loaded().tracking
        try:
            experiment_id = tracking.get_run(run_id).info.experiment_id
        except MlflowException as error:
            raise NotFound(f"MLflow has no run {run_id}.", next_step="List runs with: gateline tracking list.") from error
        found = tracking.search_logged_models(experiment_ids=[experiment_id], filter_string=f"source_run_id = '{run_id}'")
        named = [one for one in found if one.name == logged_model]
        if not named:
            raise NotFound(
                f"Run {run_id} logged no model '{logged_model}'; it logged: {', '.join(sorted(one.name for one in found)) or 'none'}.",
                next_step="Log the model in the run, for instance with TrackedRun.log_lightgbm.",
            )
        model_id: str = max(named, key=lambda one: one.creation_timestamp).model_id
        return model_id

    def _ensure_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        registry = self._loaded().registry
        try:
            registry.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            registry.create_registered_model(name)
