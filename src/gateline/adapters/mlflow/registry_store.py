"""MLflow's model registry with our gates in it. Imported by the loader only: it imports MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
from typing_extensions import override

if TYPE_CHECKING:
    from gateline.adapters.mlflow.guard import Guard
    from gateline.adapters.mlflow.stores import GateTrackingStore

_DELETED = "Deleted_Internal"


def _keys(tags: Any) -> list[str]:
    return [tag.key for tag in tags or ()]


class GateRegistryStore(RegistryStore):
    """MLflow's model registry behind the gates: a projection of ours, where users may add but not decide.

    Args:
        url: SQLAlchemy URL of MLflow's database.
        guard: Refuses and records.
    """

    tracking: GateTrackingStore

    def __init__(self, url: str, *, guard: Guard) -> None:
        self._guard = guard
        super().__init__(url)

    def rests_on(self, run_ids: list[str]) -> bool:
        """Return whether a version that was not deleted comes from one of the runs."""
        if not run_ids:
            return False
        with self.ManagedSessionMaker(read_only=True) as session:
            query = session.query(SqlModelVersion.version).filter(
                SqlModelVersion.run_id.in_(run_ids), SqlModelVersion.current_stage != _DELETED
            )
            return query.first() is not None

    def locations_with(self, owner_id: str) -> list[str]:
        """Return where versions keep their files, for those whose location holds the id of a run or logged model."""
        with self.ManagedSessionMaker(read_only=True) as session:
            found = session.query(SqlModelVersion.storage_location).filter(
                SqlModelVersion.storage_location.contains(owner_id, autoescape=True), SqlModelVersion.current_stage != _DELETED
            )
            return [row[0] for row in found]

    def set_source(self, name: str, version: int | str, source: str) -> None:
        """Let a version name its logged model (`models:/m-…`) and not the folder of its files."""
        with self.ManagedSessionMaker(read_only=False) as session:
            self._get_sql_model_version(session, name, version).source = source

    def _never(self, what: str, name: str) -> None:
        self._guard.only_internal(
            what,
            subject=name,
            reason="records and ledger refer to it.",
            next_step="Retire the version in Gateline instead; what was decided stays on record.",
        )

    @override
    def create_registered_model(self, name: Any, tags: Any = None, description: Any = None, deployment_job_id: Any = None) -> Any:
        self._guard.tags(_keys(tags), subject=f"model '{name}'")
        made = super().create_registered_model(name, tags, description, deployment_job_id)
        self._guard.changed("model created", subject=name)
        return made

    @override
    def update_registered_model(self, name: Any, description: Any, deployment_job_id: Any = None) -> Any:
        made = super().update_registered_model(name, description, deployment_job_id)
        self._guard.changed("model description changed", subject=name)
        return made

    @override
    def rename_registered_model(self, name: Any, new_name: Any) -> Any:
        self._never(f"Renaming model '{name}' to '{new_name}'", name)
        made = super().rename_registered_model(name, new_name)
        self._guard.changed("model renamed", subject=name, facts={"new_name": new_name})
        return made

    @override
    def delete_registered_model(self, name: Any) -> Any:
        self._never(f"Deleting model '{name}'", name)
        super().delete_registered_model(name)
        self._guard.changed("model deleted", subject=name)

    @override
    def set_registered_model_tag(self, name: Any, tag: Any) -> Any:
        self._guard.tags([tag.key], subject=f"model '{name}'")
        super().set_registered_model_tag(name, tag)
        self._guard.changed("model tag set", subject=name, facts={"key": tag.key, "value": tag.value})

    @override
    def delete_registered_model_tag(self, name: Any, key: Any) -> Any:
        self._guard.tags([key], subject=f"model '{name}'")
        super().delete_registered_model_tag(name, key)
        self._guard.changed("model tag deleted", subject=name, facts={"key": key})

    @override
    def create_model_version(
        self,
        name: Any,
        source: Any,
        run_id: Any = None,
        tags: Any = None,
        run_link: Any = None,
        description: Any = None,
        local_model_path: Any = None,
        model_id: Any = None,
    ) -> Any:
        """Create the version; a `models:/m-…` source is resolved in our own store.

        MLflow would resolve it through the process-wide tracking address, which belongs to whoever set it last.
        """
        self._guard.tags(_keys(tags), subject=f"a new version of model '{name}'")
        location = source
        logged_id = source.removeprefix("models:/") if source.startswith("models:/m-") else model_id
        if logged_id:
            model = self.tracking.get_logged_model(logged_id)
            location = model.artifact_location if source.startswith("models:/m-") else source
            run_id = run_id or model.source_run_id
        made = super().create_model_version(name, location, run_id, tags, run_link, description, local_model_path, None)
        if location != source:
            self.set_source(name, made.version, source)
            made = self.get_model_version(name, made.version)
        self._guard.changed("version created", subject=f"{name}:{made.version}", facts={"run_id": run_id or "", "source": source})
        return made

    @override
    def update_model_version(self, name: Any, version: Any, description: Any = None) -> Any:
        made = super().update_model_version(name, version, description)
        self._guard.changed("version description changed", subject=f"{name}:{version}")
        return made

    @override
    def transition_model_version_stage(self, name: Any, version: Any, stage: Any, archive_existing_versions: Any) -> Any:
        self._guard.only_internal(
            f"Moving version {version} of model '{name}' to stage '{stage}'",
            subject=f"{name}:{version}",
            reason="a version's state follows its approval and release.",
            next_step="Register the version, have it approved (gateline model approve), then release it (gateline rollout start).",
        )
        made = super().transition_model_version_stage(name, version, stage, archive_existing_versions)
        self._guard.changed("version stage changed", subject=f"{name}:{version}", facts={"stage": stage})
        return made

    @override
    def delete_model_version(self, name: Any, version: Any) -> Any:
        self._never(f"Deleting version {version} of model '{name}'", f"{name}:{version}")
        super().delete_model_version(name, version)
        self._guard.changed("version deleted", subject=f"{name}:{version}")

    @override
    def set_model_version_tag(self, name: Any, version: Any, tag: Any) -> Any:
        self._guard.tags([tag.key], subject=f"version {name}:{version}")
        super().set_model_version_tag(name, version, tag)
        self._guard.changed("version tag set", subject=f"{name}:{version}", facts={"key": tag.key, "value": tag.value})

    @override
    def delete_model_version_tag(self, name: Any, version: Any, key: Any) -> Any:
        self._guard.tags([key], subject=f"version {name}:{version}")
        super().delete_model_version_tag(name, version, key)
        self._guard.changed("version tag deleted", subject=f"{name}:{version}", facts={"key": key})

    @override
    def set_registered_model_alias(self, name: Any, alias: Any, version: Any) -> Any:
        self._guard.alias("Setting", name, alias)
        super().set_registered_model_alias(name, alias, version)
        self._guard.changed("alias set", subject=name, facts={"alias": alias, "version": str(version)})

    @override
    def delete_registered_model_alias(self, name: Any, alias: Any) -> Any:
        self._guard.alias("Deleting", name, alias)
        super().delete_registered_model_alias(name, alias)
        self._guard.changed("alias deleted", subject=name, facts={"alias": alias})
